"""Numbers and names as text."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup

from agentcomm.evaluation.statistics import Estimate


def fixed(value: float, digits: int) -> str:
    """A number with a Unicode minus sign and no negative zero; a dash for NaN."""
    if not math.isfinite(value):
        return "\N{EM DASH}"
    text = f"{value:.{digits}f}"
    return text.lstrip("-") if float(text) == 0 else text.replace("-", "\N{MINUS SIGN}")


def signed(value: float, digits: int) -> str:
    """Like :func:`fixed` with an explicit plus sign."""
    text = fixed(value, digits)
    return f"+{text}" if value > 0 and float(f"{value:.{digits}f}") != 0 else text


def percent(fraction: float) -> str:
    """A share as whole percent."""
    return f"{fixed(100 * fraction, 0)}%" if math.isfinite(fraction) else "\N{EM DASH}"


def span(estimate: Estimate, digits: int, scale: float = 1.0, suffix: str = "") -> str:
    """The interval as ``6.5 to 6.9``, with one more digit if its ends would look equal; empty without an interval."""
    if estimate.interval is None or not estimate.known:
        return ""
    low, high = (fixed(scale * end, digits) for end in estimate.interval)
    if low == high and scale == 1.0:
        low, high = (fixed(scale * end, digits + 1) for end in estimate.interval)
    return f"{low} to {high}{suffix}"


def named(labels: Sequence[str]) -> Markup:
    """Labels as code, joined by commas and ``and``."""
    codes = [Markup("<code>{}</code>").format(label) for label in labels]
    if len(codes) < 2:
        return codes[0] if codes else Markup("")
    return Markup("{} and {}").format(Markup(", ").join(codes[:-1]), codes[-1])
