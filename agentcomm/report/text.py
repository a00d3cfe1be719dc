"""Numbers and names as text."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from agentcomm.statistics import Estimate

DASH = "\N{EM DASH}"
# An attack that is its own control, such as random noise, resists nothing: it may do harm, but none beyond the control.
OUTCOMES = {"success": "better than its control", "resisted": "no better than its control"}


def fixed(value: float, digits: int) -> str:
    """A number with a Unicode minus sign and no negative zero; a dash for NaN."""
    if not math.isfinite(value):
        return DASH
    text = f"{value:.{digits}f}"
    return text.lstrip("-") if float(text) == 0 else text.replace("-", "\N{MINUS SIGN}")


def signed(value: float, digits: int) -> str:
    """Like :func:`fixed` with an explicit plus sign."""
    text = fixed(value, digits)
    return f"+{text}" if value > 0 and float(f"{value:.{digits}f}") != 0 else text


def percent(fraction: float) -> str:
    """A share as whole percent."""
    return f"{fixed(100 * fraction, 0)}%" if math.isfinite(fraction) else DASH


def span(estimate: Estimate, digits: int, scale: float = 1.0, suffix: str = "") -> str:
    """The interval as ``6.5 to 6.9``, with one more digit if its ends would look equal; empty without an interval."""
    if estimate.interval is None or not estimate.known:
        return ""
    low, high = (fixed(scale * end, digits) for end in estimate.interval)
    if low == high and scale == 1.0:
        low, high = (fixed(scale * end, digits + 1) for end in estimate.interval)
    return f"{low} to {high}{suffix}"


def between(estimate: Estimate, digits: int, by_seed: Mapping[int, float] | None = None, first: bool = False) -> str:
    """The interval in brackets, or with too few seeds the single values; ``first`` says what the interval is."""
    if text := span(estimate, digits):
        return f" ({text}{f'; 95% interval over {estimate.seeds} seeds' if first else ''})"
    if by_seed and estimate.seeds > 1:
        values = [fixed(v, digits) for v in by_seed.values() if math.isfinite(v)]
        alike = estimate.seeds > 3 and len(set(values)) == 1
        return f" (all {estimate.seeds} seeds alike)" if alike else f" (seeds: {', '.join(values)})"
    return " (one seed)" if estimate.seeds == 1 and first else ""


def small(text: str) -> Markup:
    """Brackets in small letters, after a narrow space that does not break."""
    return Markup(" <small>{}</small>").format(text.strip()) if text else Markup("")


def several(count: int, noun: str) -> str:
    """``1 cell``, ``3 cells``."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def counted(outcomes: Mapping[str, int]) -> str:
    """Numbers of cells by the outcome of their attack."""
    return ", ".join(f"{count} {OUTCOMES.get(name, name)}" for name, count in outcomes.items())


def named(labels: Sequence[str]) -> Markup:
    """Labels as code, joined by commas and ``and``."""
    return listed([Markup("<code>{}</code>").format(label) for label in labels])


def listed(parts: Sequence[Markup]) -> Markup:
    """Parts joined by commas and ``and``."""
    if len(parts) < 2:
        return parts[0] if parts else Markup("")
    return Markup("{} and {}").format(Markup(", ").join(parts[:-1]), parts[-1])


def assumption(assumes: Mapping[str, Any]) -> str:
    """What an attack presupposes of its victims, such as ``obedience 1.0``; empty if nothing."""
    words = [str(k).replace("_", " ") if v is True else f"{str(k).replace('_', ' ')} {v}" for k, v in assumes.items()]
    return ", ".join(words)
