"""Messages in the words of the command line: ``--overwrite`` where Python says ``overwrite=True``."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable

import click

QUOTE = "'"
VALUE = r"True|None|'[^']*'|\{[^{}]*\}|-?\d+(?:,\d{3})*(?:\.\d+)?(?:e[+-]?\d+)?|"
SUBJECT = (
    r"^({names})(?= (?:must|needs|cannot|applies|/))"
    r"|(?<=without |outside )({names})\b|(?<=these )({names})\b"
)
"""Where a message names an argument without a value; elsewhere, the same word may be a column's."""


def in_options(message: str, command: click.Command, others: Iterable[click.Command] = ()) -> str:
    """Name options where a message names the arguments of Python that they are.

    They are those of a command, and of others for what it has no option for.
    """
    options = {
        str(param.name): max(param.opts, key=len)
        for each in (*others, command)
        for param in each.params
        if isinstance(param, click.Option)
    }
    if not options:
        return message
    names = "|".join(options)
    assigned = rf"(?<![\w./'-])({names})=({VALUE})"
    message = re.sub(assigned, lambda found: f"{options[found[1]]}{_given(found[2])}", message)
    return re.sub(SUBJECT.format(names=names), lambda found: options[found[0]], message)


def _given(value: str) -> str:
    """A value as it is typed after an option."""
    if value in {"", "True"}:
        return ""
    if value.startswith("{"):
        return " '" + value.replace("'", '"') + "'"
    return f" {'none' if value == 'None' else shlex.quote(value.strip(QUOTE))}"
