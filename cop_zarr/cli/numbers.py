"""Options of several numbers, which may be one argument: ``--bbox 120,30,122,32``."""

from __future__ import annotations

import re

import click

BETWEEN = re.compile(r"[\s,;]+")


class Command(click.Command):
    """A command whose options of several numbers take these joined, too: by commas, blanks, or both."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Split numbers that are joined, then parse as click does."""
        several = {name: param for param in self.params if param.nargs > 1 for name in param.opts}
        return super().parse_args(ctx, _split(args, several))


def split_numbers(text: str) -> list[str]:
    """The words of a text, which may have brackets around it.

    >>> split_numbers("-120, 30, -118, 32"), split_numbers("[120 30 122 32]")
    (['-120', '30', '-118', '32'], ['120', '30', '122', '32'])
    """
    return BETWEEN.split(text.strip(" \t\n,;[]()"))


def _split(args: list[str], several: dict[str, click.Parameter]) -> list[str]:
    """Arguments with the values of some options as separate arguments."""
    found, left = list[str](), args
    while left and left[0] != "--":
        name, joined, value = left[0].partition("=")
        left = left[1:]
        if name not in several:
            found.append(f"{name}{joined}{value}")
            continue
        found.append(name)
        left = [value, *left] if joined else left
        option, words = several[name], list[str]()
        while left and len(words) < option.nargs:
            words += split_numbers(left[0])
            left = left[1:]
        if len(words) > option.nargs:
            raise click.UsageError(
                f"{name} takes {option.nargs} numbers, {option.metavar}; got {' '.join(words)}"
            )
        found += words
    return [*found, *left]
