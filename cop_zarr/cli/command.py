"""How every command reads its arguments and prints its help: STORE first, ``--to`` for what is written."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from cop_zarr.cli.numbers import split_numbers_of


class Command(click.Command):
    """A command with examples in its help, whose options of several numbers may be joined."""

    def __init__(
        self,
        *args: Any,
        examples: Sequence[str] = (),
        former: Mapping[str, str] | None = None,
        **kwargs: Any,
    ) -> None:
        """``former`` are names of options that are not accepted any more, and what to give instead."""
        super().__init__(*args, **kwargs)
        self.examples = tuple(examples)
        self.former = dict(former or {})

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Split numbers that are joined, refuse arguments too many, then parse as click does."""
        if ctx.resilient_parsing:  # a shell completes what is not typed to its end
            return super().parse_args(ctx, args)
        for name in (arg.partition("=")[0] for arg in args):
            if name in self.former:
                raise click.UsageError(f"{name} is not an option any more; give {self.former[name]}", ctx)
        several = {name: param for param in self.params if param.nargs > 1 for name in param.opts}
        args = split_numbers_of(args, several)
        given, extra, _ = self.make_parser(ctx).parse_args(list(args))
        self._check_extra(ctx, args, given.get("store"), extra)
        try:
            return super().parse_args(ctx, list(args))
        except click.MissingParameter as error:
            if isinstance(error.param, click.Option):
                raise click.UsageError(_missing(error.param, args), ctx) from error
            raise

    def _check_extra(
        self, ctx: click.Context, args: list[str], store: str | None, extra: list[str]
    ) -> None:
        """Say how a place or an output is named, if that is what an argument too many may be."""
        if not extra:
            return
        advice = ""
        names = {name for param in self.params for name in param.opts}
        numbers = [word for word in (store or "", *extra) if _is_number(word)]
        if numbers:
            place = {2: "--point", 4: "--bbox"}.get(len(numbers))
            advice = f"; name a place by {place} {' '.join(numbers)}" if place in names else ""
        elif "--to" in names and "--to" not in args and len(extra) == 1:
            others = list(args)
            others.remove(extra[0])
            command = f"{ctx.command_path} {shlex.join([*others, '--to', extra[0]])}"
            advice = f"; name the output by --to: {command}"
        raise click.UsageError(f"{extra[0]!r} is an argument too many{advice}", ctx)

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """The arguments, what else must be given, then the options."""
        arguments = [param for param in self.params if isinstance(param, click.Argument)]
        pieces = [piece for param in arguments for piece in param.get_usage_pieces(ctx)]
        pieces += [
            f"{param.opts[0]} {param.metavar}"
            for param in self.params
            if param.required and isinstance(param, click.Option)
        ]
        return [*pieces, self.options_metavar or ""]

    def format_epilog(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Print the examples as they are typed."""
        if self.examples:
            with formatter.section("Examples"):
                indent = " " * formatter.current_indent
                formatter.write("".join(f"{indent}{example}\n" for example in self.examples))


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _missing(option: click.Option, args: list[str]) -> str:
    """Name an option that must be given, with the argument that may have been meant."""
    accepted = option.help or ""
    meant = [arg for arg in args if Path(arg).suffix and Path(arg).suffix in accepted]
    meant = [arg for arg in meant if not Path(arg).exists()]
    return f"name the output: {option.opts[0]} " + (meant[0] if meant else f"{option.metavar}. {accepted}")
