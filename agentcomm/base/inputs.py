"""Input files of plug-ins, such as a trained attacker's policy or a codebook: where a path in a run's config is found.

A run records paths so that it can be moved: relative to its folder where they lead to the folder itself or to runs next
to it, and absolute otherwise. Whoever works with a run looks up its paths with :func:`find_input` while
:func:`looking_in` names the run's folder.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agentcomm.base.errors import FileError
from agentcomm.base.text import clip


class InputPath:
    """Marks a field of a plug-in's config as a path that the plug-in reads: ``Annotated[str, InputPath()]``."""


def is_path(field: Any) -> bool:
    """Whether a field of a plug-in's config is marked as a path."""
    return any(isinstance(mark, InputPath) for mark in field.metadata)


@dataclass(frozen=True)
class Places:
    """Where paths are looked up.

    Attributes:
        folders: Folders that relative paths may start from, before the working directory.
        within: Folder that must contain what is found, for a run that somebody else made; None for anywhere.
        given: Paths that the user gave, which may be anywhere.
    """

    folders: tuple[Path, ...] = ()
    within: Path | None = None
    given: frozenset[str] = frozenset()


_places: ContextVar[Places] = ContextVar("places", default=Places())  # noqa: B039 - it is frozen


@contextmanager
def looking_in(places: Places) -> Iterator[None]:
    """Look up paths in these places during the block."""
    token = _places.set(places)
    try:
        yield
    finally:
        _places.reset(token)


def find_input(path: str | Path) -> Path:
    """The file or folder that a path of the present run's config leads to; the path itself if there is none.

    Raises:
        FileError: If it is outside of a folder that somebody else made.
    """
    places = _places.get()
    known = (Path(os.path.normpath(folder / path)) for folder in places.folders)
    found = next((at for at in known if _exists(at)), Path(path))
    allowed = places.within is None or str(path) in places.given
    if places.within is None or allowed or found.resolve().is_relative_to(places.within.resolve()):
        return found
    raise FileError(
        f"the run in {places.within} was made by somebody else and reads {clip(str(path))}, which is outside of its"
        f" folder; repeat the command with --trust if that is right"
    )


def portable(path: str, folder: Path) -> str:
    """A path as it is recorded in a run's folder.

    Args:
        path: The path; a relative one starts from the working directory.
        folder: The run's folder, or a folder inside of a run.
    """
    absolute, here = os.path.abspath(path), os.path.abspath(folder)
    if Path(absolute).is_relative_to(os.path.dirname(here)):
        return os.path.relpath(absolute, here)
    return absolute


def located(path: str, folders: Iterable[Path]) -> str:
    """The absolute form of a recorded path: in the first folder that has it, otherwise in the first."""
    known = [os.path.abspath(folder / path) for folder in folders]
    return next((at for at in known if _exists(Path(at))), known[0])


def change_paths(config: type[Any], arguments: dict[str, Any], change: Callable[[str], str]) -> dict[str, Any]:
    """A plug-in's arguments with every path changed.

    Args:
        config: The plug-in's config.
        arguments: Arguments as in a run's config.
        change: Returns the new path.
    """
    out = dict(arguments)
    for name, field in config.model_fields.items():
        given = out.get(name)
        if isinstance(given, str) and is_path(field):
            out[name] = change(given)
    return out


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        return False
