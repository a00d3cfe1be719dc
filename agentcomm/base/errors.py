"""User-fixable errors; the command line prints their text without a traceback."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from difflib import get_close_matches


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


class ProtocolError(AgentcommError):
    """A server of an agent protocol that cannot be reached, or that answers with an error."""


class NumberError(AgentcommError):
    """A number that is not finite (NaN or infinite), reported where it arises."""


class StatisticsError(AgentcommError):
    """Scores or arguments that a statistic is not defined for."""


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


class SeveralErrors(ConfigError):
    """Several mistakes at once; the text consists of theirs."""

    def __init__(self, errors: Iterable[AgentcommError]) -> None:
        self.errors = list({str(error): error for error in errors}.values())
        super().__init__("\n".join(map(str, self.errors)))


def together(*checks: Callable[[], object]) -> None:
    """Run all checks, and raise the errors of all of them at once.

    Raises:
        AgentcommError: The error if there is one; :class:`SeveralErrors` if there are several.
    """
    found: list[AgentcommError] = []
    for check in checks:
        try:
            check()
        except SeveralErrors as error:
            found += error.errors
        except AgentcommError as error:
            found.append(error)
    if found:
        several = SeveralErrors(found)
        raise several if len(several.errors) > 1 else found[0]
