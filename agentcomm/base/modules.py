"""Modules that register plug-ins: finding their files without running them, and importing them."""

from __future__ import annotations

import hashlib
import importlib
import os
import sys
from collections.abc import Iterable
from importlib.machinery import PathFinder
from pathlib import Path, PurePosixPath

from agentcomm.base.calling import described
from agentcomm.base.errors import ConfigError

_permitted: set[str] = set()


def permit(names: Iterable[str]) -> None:
    """Let plug-ins import these modules, which a config names that the user wrote or consented to."""
    _permitted.update(names)


def check_permitted(names: Iterable[str]) -> None:
    """Check that the user knows of the modules that a plug-in imports.

    Policy files and rows of cells contain plug-ins, too, and may come from somebody else.

    Raises:
        ConfigError: If no config in use names one of them.
    """
    if unknown := sorted(set(names) - _permitted):
        raise ConfigError(
            f"it would import {', '.join(map(repr, unknown))}, but no config in use names that module: use the config"
            " of the run that it belongs to, or name it in the config's plugins if you trust it"
        )


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
        _check_name(name, folders)
        file = find_module(name, folders)
        if file is not None and (home := str(home_of(name, file))) not in sys.path:
            sys.path.append(home)
        before, failed = list(sys.path), f"plugins: cannot import {name!r}"
        if file is not None and find_module(name) != file:  # another module of this name comes first
            sys.path.insert(0, str(home_of(name, file)))
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            missing = error.name is not None and f"{name}.".startswith(f"{error.name}.")  # not one that it imports
            raise ConfigError(f"{failed}: {_not_found(name, folders) if missing else described(error)}") from error
        except (Exception, SystemExit) as error:  # a plug-in's module may raise anything
            raise ConfigError(f"{failed}: {described(error)}") from error
        finally:
            sys.path[:] = before


def _check_name(name: str, folders: list[str]) -> None:
    """Check that a module is given by its name.

    Raises:
        ConfigError: If it is given as a file.
    """
    path = PurePosixPath(name.replace("\\", "/"))
    if len(path.parts) == 1 and (path.suffix != ".py" or find_module(name, folders) is not None):
        return
    path = path.with_suffix("") if path.suffix == ".py" else path
    if path.is_absolute() or ".." in path.parts:
        use = f"{path.name}, and put its folder ({path.parent}) on PYTHONPATH"
    else:
        use = ".".join(path.parts)
    raise ConfigError(
        f"plugins: {name!r} is a file; give the name of its module, without .py and with dots for slashes: {use}"
    )


def _not_found(name: str, folders: list[str]) -> str:
    """Where a module was looked for, and how it is found."""
    path = [folder for folder in os.environ.get("PYTHONPATH", "").split(os.pathsep) if folder]
    searched = dict.fromkeys((*folders, *path, str(Path.cwd())))
    return (
        f"there is no such module in {', '.join(searched)} or among installed packages; put"
        f" {name.replace('.', '/')}.py into one of these folders, or add the folder that holds it to PYTHONPATH"
    )
