"""Text from elsewhere, made safe to print: values cut to a bounded length, control characters made visible."""

from __future__ import annotations

import reprlib
import signal
import unicodedata
from typing import Any

LONGEST = 100  # characters of a value in an error message

_short = reprlib.Repr()
_short.maxlevel, _short.maxstring, _short.maxother, _short.maxlong = 3, LONGEST, LONGEST, 40
_short.maxdict = _short.maxlist = _short.maxtuple = _short.maxset = _short.maxfrozenset = 6

# Categories of characters that a terminal obeys instead of showing them: control, format (among them those that
# change the direction of writing), surrogate, private, and separators of lines and paragraphs.
_OBEYED = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}


def shorten(value: Any, longest: int = LONGEST) -> str:
    """``repr(value)`` in bounded length and time, however large or deeply nested the value is."""
    text = visible(_short.repr(value))
    return text if len(text) <= longest else f"{text[: longest - 3]}..."


def visible(text: str) -> str:
    """The text with every character that a terminal would obey written as its escape, except for line ends and tabs."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(f"\\u{ord(c):04x}" if unicodedata.category(c) in _OBEYED and c not in "\n\t" else c for c in text)


def clip(text: str, longest: int = 300) -> str:
    """The text as one line of bounded length."""
    text = visible(text).replace("\n", " ")
    return text if len(text) <= longest else f"{text[: longest - 3]}..."


def reason(failed: BaseException) -> str:
    """Why an operation failed, in a short line without the paths that a message names anyway."""
    return clip((failed.strerror if isinstance(failed, OSError) else None) or str(failed) or type(failed).__name__)


def exit_text(code: int) -> str:
    """How a process ended, from its exit code as ``subprocess`` reports it."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"was ended by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")
