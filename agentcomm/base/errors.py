"""User-fixable errors; the command line prints their text without a traceback."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches

from pydantic import ValidationError


class AgentcommError(Exception):
    """An error that the user can fix. The message names the field, the value and how to fix it."""


class ConfigError(AgentcommError):
    """A config that cannot be used."""


class PluginError(AgentcommError):
    """A plug-in that cannot be found or loaded."""


class CheckpointError(AgentcommError):
    """A checkpoint or exported policy that cannot be used."""


class RunError(AgentcommError):
    """A run folder in a state that does not allow what was asked."""


class FileError(AgentcommError):
    """A file or folder that cannot be read or written."""


class RayError(AgentcommError):
    """Ray did not start."""


class ThreatModelError(AgentcommError):
    """An attack reads something that neither its threat model nor the attacked team provides."""


class MessageError(AgentcommError):
    """Bytes that are not a valid message."""


class NumberError(AgentcommError):
    """A number that is not finite (NaN or infinite), reported where it arises."""


class HookError(AgentcommError):
    """Code of a plug-in raised an error or broke its contract; the message names the plug-in and the hook."""


class RequirementError(ConfigError):
    """A plug-in that needs something which its team, transport or environment does not have."""


class ConformanceError(AgentcommError, AssertionError):
    """A plug-in that breaks its contract, as found by a conformance check."""


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """A hint with the closest known names, or with all of them when none is close."""
    known = sorted(choices)
    close = get_close_matches(word, known, n=2)
    if close:
        return f"did you mean {' or '.join(repr(c) for c in close)}?"
    return f"known: {', '.join(known) or 'none'}"


def explain(error: ValidationError, what: str, known: Mapping[str, Iterable[str]] | None = None) -> str:
    """Turn a pydantic error into lines that name the field, the value and how to fix it.

    Args:
        error: The validation error.
        what: Name of what was read, for the first line ("config examples/demo.yaml").
        known: Field names allowed below a dotted prefix, for spelling hints; the empty
            prefix is the top level.
    """
    lines = [f"{what} cannot be used:"]
    for item in error.errors():
        path = ".".join(str(part) for part in item["loc"])
        if item["type"] == "extra_forbidden":
            parent, _, key = path.rpartition(".")
            hint = did_you_mean(key, (known or {}).get(parent, ()))
            lines.append(f"  {path}: unknown key; {hint}")
        elif path:
            lines.append(f"  {path}: {item['msg']} (got {item['input']!r})")
        else:  # a check of several fields, whose text names them
            lines.append(f"  {item['msg'].removeprefix('Value error, ')}")
    return "\n".join(lines)
