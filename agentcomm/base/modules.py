"""Modules that register plug-ins: finding their files without running them, and importing them."""

from __future__ import annotations

import hashlib
import importlib
import sys
from collections.abc import Iterable
from importlib.machinery import PathFinder
from pathlib import Path

from agentcomm.base.calling import described
from agentcomm.base.errors import ConfigError


def find_module(name: str, folders: Iterable[str] = ()) -> Path | None:
    """The file of a module, or the ``__init__.py`` of a package; nothing is run. None if it is not found.

    Args:
        name: Full name of the module.
        folders: Folders to look in before the import path and the working directory.
    """
    places: list[str] | None = [*folders, *sys.path, str(Path.cwd())]
    found = None
    for part in name.split("."):
        found = PathFinder.find_spec(part, places) if places else None
        if found is None:
            return None
        places = list(found.submodule_search_locations or ())
    return Path(found.origin) if found is not None and found.origin else None


def home_of(name: str, file: Path) -> Path:
    """The folder on the import path that a module is in."""
    depth = name.count(".") + (file.name == "__init__.py")
    return file.absolute().parents[depth]


def module_hash(name: str, file: Path) -> str:
    """SHA-256 over the module's file or, for a package, over all Python files of its outermost package."""
    top = home_of(name, file) / name.partition(".")[0]
    files = sorted(path for path in top.rglob("*.py") if path.is_file()) if top.is_dir() else [file]
    whole = hashlib.sha256()
    for path in files:
        content = path.read_bytes()
        whole.update(f"{path.relative_to(top.parent)} {len(content)}\n".encode() + content)
    return whole.hexdigest()


def is_installed(file: Path) -> bool:
    """Whether a module belongs to an installed package."""
    return bool({"site-packages", "dist-packages"} & set(file.parts)) or file.is_relative_to(sys.base_prefix)


def import_modules(names: Iterable[str], folders: Iterable[str] = ()) -> None:
    """Import modules that register plug-ins.

    Args:
        names: Full names.
        folders: Folders to look in first; the working directory comes last.

    Raises:
        ConfigError: If a module cannot be imported.
    """
    folders = list(folders)
    for name in names:
        if name in sys.modules:
            continue
        file = find_module(name, folders)
        if file is not None and (home := str(home_of(name, file))) not in sys.path:
            sys.path.append(home)
        before = list(sys.path)
        if file is not None and find_module(name) != file:  # another module of this name comes first
            sys.path.insert(0, str(home_of(name, file)))
        try:
            importlib.import_module(name)
        except (Exception, SystemExit) as error:  # a plug-in's module may raise anything
            raise ConfigError(f"plugins: cannot import {name!r}: {described(error)}") from error
        finally:
            sys.path[:] = before
