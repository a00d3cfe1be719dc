"""Hashes of source code, from which it is seen whether a plug-in or the testbed has changed since a result was made."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import inspect
import subprocess
import sys
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from types import ModuleType

PACKAGE = Path(__file__).parents[1]
# Folders through which every cell passes, and folders of the package with plug-ins.
CORE = ("base", "contracts", "wire", "guards", "directory", "network", "step", "runs", "evaluation", "metrics")
PLUGINS = ("channels", "codecs", "defenses", "pettingzoo")


@lru_cache(1)
def core_hash() -> str:
    """Hash of the testbed's code that evaluates cells, without plug-ins."""
    files = sorted(path for folder in CORE for path in (PACKAGE / folder).rglob("*.py"))
    return hash_of(str(path.relative_to(PACKAGE)).encode() + path.read_bytes() for path in files)


@lru_cache(1)
def revision() -> tuple[str | None, bool | None]:
    """Git commit of the source tree that this code runs from, and whether tracked files differ from it.

    Asks git once per process. Both are None if the code was installed without a repository, or git is missing.
    """
    root = PACKAGE.parent
    if _git(root, "ls-files", "--error-unmatch", str(PACKAGE / "__init__.py")) is None:
        return None, None  # a repository around the folder in which agentcomm is installed is not its own
    commit, changed = _git(root, "rev-parse", "HEAD"), _git(root, "status", "--porcelain", "--untracked-files=no")
    return (None, None) if commit is None or changed is None else (commit, bool(changed))


def _git(folder: Path, *words: str) -> str | None:
    """What git answers; None if it fails."""
    command = ["git", "-C", str(folder), *words]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def code_hash(plugin: type) -> str:
    """Hash of a plug-in's module and of the modules that it imports, without the core and installed libraries.

    A class without a source file, as in a notebook, is hashed by its own source if that is known.
    """
    found: dict[str, bytes] = {}
    _collect(sys.modules.get(plugin.__module__), plugin.__module__.partition(".")[0], found)
    if not found:
        try:
            found[plugin.__qualname__] = inspect.getsource(plugin).encode()
        except (OSError, TypeError):
            found[plugin.__qualname__] = b""
    return hash_of(name.encode() + source for name, source in sorted(found.items()))


def imported_hash(name: str) -> str:
    """Hash of a module and of what it imports, as of a plug-in; of nothing if it has not been imported."""
    found: dict[str, bytes] = {}
    _collect(sys.modules.get(name), name.partition(".")[0], found)
    return hash_of(module.encode() + source for module, source in sorted(found.items()))


def path_hash(path: Path) -> str:
    """Hash of a file, or of all files in a folder with their names; ``missing`` if there is neither."""
    if path.is_file():
        return hash_of([path.read_bytes()])
    if not path.is_dir():
        return "missing"
    files = sorted(file for file in path.rglob("*") if file.is_file())
    return hash_of(str(file.relative_to(path)).encode() + file.read_bytes() for file in files)


def hash_of(parts: Iterable[bytes]) -> str:
    """Hash of a sequence of byte strings, as 16 hexadecimal digits of SHA-256."""
    whole = hashlib.sha256()
    for part in parts:
        whole.update(len(part).to_bytes(8, "big"))
        whole.update(part)
    return whole.hexdigest()[:16]


def _collect(module: ModuleType | None, package: str, found: dict[str, bytes]) -> None:
    """Add the source of a module, and of the modules it imports, to ``found``."""
    file = getattr(module, "__file__", None)
    if module is None or module.__name__ in found or file is None or not _counts(Path(file), module.__name__, package):
        return
    source = Path(file).read_bytes()
    found[module.__name__] = source
    for name in _imports(source, module.__package__ or ""):
        _collect(sys.modules.get(name), package, found)


def _counts(file: Path, name: str, package: str) -> bool:
    """Whether a module's source counts: plug-ins and modules of their own, but not the core or installed libraries."""
    if file.suffix != ".py" or not file.is_file():
        return False
    if PACKAGE in file.parents:
        return file.relative_to(PACKAGE).parts[0] in PLUGINS
    top = name.partition(".")[0]
    if top in sys.stdlib_module_names:
        return False
    installed = {"site-packages", "dist-packages"} & set(file.parts)
    return not installed or top in (package, "attacks", "envs", "policies")


@lru_cache(1024)
def _imports(source: bytes, package: str) -> tuple[str, ...]:
    """Full names of all modules that a source may import; the cells of a grid ask for the same sources again."""
    return tuple(_imported(source, package))


def _imported(source: bytes, package: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            base = importlib.util.resolve_name(base, package) if node.level and package else base
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)
