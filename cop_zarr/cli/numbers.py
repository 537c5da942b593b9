"""Options of several numbers, which may be one argument: ``--bbox 120,30,122,32``."""

from __future__ import annotations

import re

import click

BETWEEN = re.compile(r"[\s,;]+")


def split_numbers(text: str) -> list[str]:
    """The words of a text, which may have brackets around it.

    >>> split_numbers("-120, 30, -118, 32"), split_numbers("[120 30 122 32]")
    (['-120', '30', '-118', '32'], ['120', '30', '122', '32'])
    """
    return BETWEEN.split(text.strip(" \t\n,;[]()"))


def split_numbers_of(args: list[str], several: dict[str, click.Parameter]) -> list[str]:
    """Separate the numbers of some options, where they are joined by commas, blanks, or both."""
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
        while left and len(words) < option.nargs and not left[0].startswith("--"):
            words += split_numbers(left[0])
            left = left[1:]
        if len(words) != option.nargs:
            raise click.UsageError(
                f"{name} takes {option.nargs} numbers, {option.metavar}; got {' '.join(words) or 'none'}"
            )
        found += words
    return [*found, *left]
