"""Whether numbers in text have decimal points or commas."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from cop_zarr.errors import InputError

DIGITS = re.compile(r"\s*[+-]?[\d.,]*\d[\d.,]*([eE][+-]?\d+)?\s*")
GROUP = re.compile(r"\s*[+-]?[1-9]\d{0,2}([.,]\d{3})+\s*")
GROUPS = re.compile(r"\s*[+-]?[1-9]\d{0,2}(?:(,\d{3})+\.\d*|(\.\d{3})+,\d*)\s*")


def is_number(text: str) -> bool:
    """Whether a text is a number, with whatever marks."""
    return bool(DIGITS.fullmatch(text))


def _mark(text: str) -> str:
    """The decimal mark that a number shows: point, comma, "?" if its comma may group thousands, or none."""
    commas, points = text.count(","), text.count(".")
    if commas and points:
        return max(",.", key=text.rfind) if GROUPS.fullmatch(text) else ""
    grouped = GROUP.fullmatch(text)
    if commas + points > 1:
        return ("." if commas else ",") if grouped else ""
    if commas:
        return "?" if grouped else ","
    return "." if points and not grouped else ""


def find_decimal_mark(path: Path, separator: str, names: Sequence[str], values: list[list[str]]) -> str:
    """The decimal mark, from columns that are mostly numbers.

    In files separated by commas it is a point: ``"3,4"`` may be a list there.
    """
    if separator == ",":
        return "."
    seen: dict[str, tuple[str, str]] = {}
    for name, column in zip(names, zip(*values, strict=False), strict=False):
        texts = [text for text in column if text.strip()]
        numbers = [text for text in texts if is_number(text)]
        if 2 * len(numbers) >= len(texts):
            for text in numbers:
                seen.setdefault(_mark(text), (name, text))
    comma, point, unclear = (seen.get(mark) for mark in (",", ".", "?"))
    if comma and point:
        raise InputError(
            f"{path} has decimal commas ({comma[1]!r} in {comma[0]!r}) and points ({point[1]!r} in "
            f"{point[0]!r}); say which are of numbers with decimal=',' or decimal='.'"
        )
    if unclear and not (comma or point):
        name, text = unclear
        raise InputError(
            f"{path} has {text!r} in {name!r}, whose comma may be a decimal comma (decimal=',') or group "
            "thousands (decimal='.'); choose one"
        )
    return "," if comma else "."
