"""A figure held against its bar."""

from __future__ import annotations

from dataclasses import dataclass

MB = 1e6


@dataclass(frozen=True)
class Finding:
    """One figure held against its bar.

    Attributes
    ----------
    case : str
        The row of the table that it belongs to.
    text : str
        The figure, in words.
    value : float or None
        The figure; None if it was not measured.
    bar : str
        What is demanded; empty if nothing is.
    met : bool or None
        Whether the demand is met; None if there is none, or nothing was measured.
    """

    case: str
    text: str
    value: float | None
    bar: str = ""
    met: bool | None = None

    @property
    def verdict(self) -> str:
        """In words; empty without a bar."""
        if not self.bar:
            return ""
        return {True: "met", False: "NOT MET", None: "not measured"}[self.met]


def at_most(case: str, value: float | None, what: str, limit: float) -> Finding:
    """A ratio that should not be above its limit."""
    bar = f"<= {limit:g}"
    if value is None:
        return Finding(case, f"{what}: not measured", None, bar)
    return Finding(case, f"{value:.2f} {what}", value, bar, value <= limit)


def at_least(case: str, value: float | None, what: str, limit: float) -> Finding:
    """A ratio that should not be below its limit; ``{}`` in the text is the figure."""
    bar = f">= {limit:g}"
    if value is None:
        return Finding(case, "not measured", None, bar)
    return Finding(case, what.format(value), value, bar, value >= limit)


def peak_below(case: str, peak_bytes: int, limit_mb: float) -> Finding:
    """A process's peak memory."""
    bar = f"< {limit_mb:g} MB"
    if not peak_bytes:
        return Finding(case, "peak not measured", None, bar)
    peak_mb = peak_bytes / MB
    return Finding(case, f"peak {peak_mb:.0f} MB", peak_mb, bar, peak_mb < limit_mb)
