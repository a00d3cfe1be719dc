"""Measures how a checkout is built: sizes, import circles, and the walk of one message through its files.

python -m benchmarks.structure                       this checkout
python -m benchmarks.structure --before f1526a3      beside a commit (or another checkout); writes structure.md
"""

from __future__ import annotations

import ast
import itertools
import json
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Annotated

import typer

from studies.imports import circles, import_graph

HERE = Path(__file__).resolve().parents[1]
PACKAGES = ("agentcomm", "envs", "policies", "attacks")
LONG_FUNCTION, LONG_FILE = 60, 350  # lines
RAYS_OWN = ("env_runner.py", "learner.py")  # Ray calls their methods get_state and set_state
# Files touched by a change: in the commits named, and in the same change after the rebuild.
TOUCHED: tuple[tuple[str, str, int, int, str], ...] = (
    ("a hook: sensors, with the attack force_gate", "82a8266", 18, 8, "5"),
    ("a hook: rewards, with the attack backdoor", "d9525b8", 12, 4, "5"),
    ("a hook: actions, with the attack covert and the defense warden", "2c61793", 12, 5, "5, and 4 for a defense's"),
    ("an option: obedience", "b223128", 24, 9, "1, and where it acts (obedience: 2)"),
    ("an attack: partial (its part of the commit)", "4bc8566", 4, 0, "0"),
    ("a defense: codeword (its part of the commit)", "219317f", 5, 0, "0"),
)
# Rooms that files of the checkout before the rebuild belong to, so that both walks go through the same rooms.
ROOMS = {
    "network": ("network", "path", "transit", "ledger", "objects"),
    "guards": ("guard", "held", "conduct", "permits", "effects", "copies", "sensors", "action_guard"),
    "wire": ("identity", "envelope", "seals", "wire"),
    "contracts": ("traffic", "channel", "codec"),
    "base": ("memory",),
    "step": ("actuators",),
}
OLD_ROOMS = {f"agentcomm/messages/{name}.py": room for room, names in ROOMS.items() for name in names}
OLD_ROOMS |= {f"agentcomm/{name}.py": "contracts" for name in ("defense", "threats", "policy", "world", "forging")}
NETWORK = ("agentcomm/network/network.py", "agentcomm/messages/network.py")
SHARED = ("base", "contracts")  # data and helpers, used wherever a message is


@dataclass(frozen=True)
class Function:
    """A function or method: where it stands, its name and its lines, and whether it is a table."""

    where: str
    name: str
    lines: int
    table: bool


def functions(tree: ast.AST, where: str) -> Iterator[Function]:
    """All functions of a file. Tables are those that consist of one literal, or whose arguments are most of them."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            assert node.end_lineno is not None
            lines = node.end_lineno - node.lineno + 1
            literals = [s for s in node.body if isinstance(getattr(s, "value", None), (ast.Dict, ast.List, ast.Tuple))]
            listed = sum((s.end_lineno or 0) - s.lineno + 1 for s in literals) + node.body[0].lineno - node.lineno
            yield Function(where, node.name, lines, 2 * listed > lines)


def room_of(file: str) -> str:
    """The room of a file: the folder below agentcomm/, or the package of a plug-in."""
    parts = Path(file).parts
    if file in OLD_ROOMS:
        return OLD_ROOMS[file]
    return parts[0] if parts[0] != "agentcomm" else parts[1].removesuffix(".py")


def in_a_row(places: Sequence[str]) -> list[str]:
    """Places visited, each stay once."""
    return [place for place, _ in itertools.groupby(places)]


def announce(root: Path, folder: Path) -> None:
    """Write the entry points of a checkout into a folder, so that they are found where the folder is on the path."""
    info = folder / "agentcomm-0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: agentcomm\nVersion: 0\n")
    points = tomllib.loads((root / "pyproject.toml").read_text())["project"]["entry-points"]
    lines = [f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in each.items()) for group, each in points.items()]
    (info / "entry_points.txt").write_text("\n".join(lines))


def walk(root: Path) -> list[str]:
    """Files that one message goes through in a checkout (``benchmarks/walk.py``)."""
    with tempfile.TemporaryDirectory() as folder:
        announce(root, Path(folder))
        script = HERE / "benchmarks" / "walk.py"
        environment = os.environ | {"PYTHONPATH": os.pathsep.join((folder, str(root)))}
        command = [sys.executable, "-P", str(script), str(root)]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the walk of a message failed:\n{done.stderr}")
    files: list[str] = json.loads(done.stdout)
    return files


def measure(root: Path) -> dict[str, str]:
    """All figures of a checkout, by their descriptions."""
    sources = {
        path.relative_to(root).as_posix(): path.read_text(encoding="utf-8")
        for package in PACKAGES
        for path in sorted((root / package).rglob("*.py"))
    }
    trees = {name: ast.parse(source) for name, source in sources.items()}
    return _sizes(root, sources, trees) | _imports(trees) | _habits(trees) | _walked(walk(root))


def _sizes(root: Path, sources: dict[str, str], trees: dict[str, ast.Module]) -> dict[str, str]:
    lines = {name: len(source.splitlines()) for name, source in sources.items()}
    tests = [len(path.read_text(encoding="utf-8").splitlines()) for path in (root / "tests").rglob("*.py")]
    longest = max(lines, key=lambda name: lines[name])
    every = [f for name, tree in trees.items() for f in functions(tree, name) if not f.table]
    slow = max(every, key=lambda f: f.lines)
    total, count = sum(lines.values()), len(lines)
    attacks = [n for name, n in lines.items() if name.startswith("attacks/") and not name.endswith("__init__.py")]
    loose = [name for name in lines if name.startswith("agentcomm/") and name.count("/") == 1]
    return {
        "files of the package and its plug-ins": f"{count}",
        "their lines": f"{total:,}",
        "files and lines of tests": f"{len(tests)}, {sum(tests):,}",
        "longest file": f"{lines[longest]} lines (`{longest}`)",
        f"files above {LONG_FILE} lines": f"{sum(n > LONG_FILE for n in lines.values())}",
        "longest function that is no table": f"{slow.lines} lines (`{slow.name}` in `{slow.where}`)",
        f"functions above {LONG_FUNCTION} lines": f"{sum(f.lines > LONG_FUNCTION for f in every)}",
        "files at the top of `agentcomm/`": f"{len(loose)}",
        "median lines of a file of `attacks/`": f"{statistics.median(attacks):g}",
    }


def _imports(trees: dict[str, ast.Module]) -> dict[str, str]:
    out = {}
    for what, with_types in (("at run time", False), ("with imports for types", True)):
        found = circles(import_graph(trees, with_types))
        largest = max(map(len, found), default=0)
        out[f"modules in import circles, {what}"] = f"{sum(map(len, found))} (largest circle: {largest})"
    return out


def _habits(trees: dict[str, ast.Module]) -> dict[str, str]:
    asserts = kept = 0
    for name, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Assert) and name.startswith("attacks/"):
                asserts += "is not None" in ast.unparse(node.test)
            if isinstance(node, ast.FunctionDef) and node.name in ("get_state", "snapshot"):
                kept += name != "agentcomm/base/state.py" and Path(name).name not in RAYS_OWN
    tree = next(tree for name, tree in trees.items() if name in NETWORK)
    exchange = next(n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and n.name == "exchange")
    stored = {n.id for n in ast.walk(exchange) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    body = (exchange.end_lineno or 0) - exchange.body[1].lineno + 1
    return {
        "`assert ... is not None` in `attacks/`": f"{asserts}",
        "hand-written `get_state` or `snapshot`": f"{kept}",
        "lines of `Network.exchange` below its docstring": f"{body}",
        "its local names": f"{len(stored)}",
    }


def _walked(files: list[str]) -> dict[str, str]:
    rooms = [room_of(file) for file in files]
    own_files = in_a_row([file for file, room in zip(files, rooms, strict=True) if room not in SHARED])
    own_rooms = in_a_row([room for room in rooms if room not in SHARED])

    def says(stays: list[str]) -> str:
        return f"{len(set(stays))} entered, {len(stays) - len(set(stays))} returns"

    most = max(set(own_files), key=lambda file: (own_files.count(file), file))
    return {
        "one message: files": f"{says(files)}",
        "one message: files but contracts and base": says(own_files),
        "one message: rooms but contracts and base": says(own_rooms),
        "one message: most visits to one of these files": f"{own_files.count(most)} (`{most}`)",
    }


def commit_of(root: Path) -> str:
    """Short hash of what is checked out."""
    command = ["git", "-C", str(root), "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def unpack(commit: str, folder: Path) -> None:
    """Write the files of a commit of this repository into a folder."""
    command = ["git", "-C", str(HERE), "archive", commit]
    packed = subprocess.run(command, capture_output=True, check=True).stdout
    with tarfile.open(fileobj=BytesIO(packed)) as archive:
        archive.extractall(folder, filter="data")


def page(columns: dict[str, dict[str, str]]) -> str:
    """The tables in Markdown; columns by heading."""
    names = list(next(iter(columns.values())))
    rows = [f"| {name} | " + " | ".join(figures[name] for figures in columns.values()) + " |" for name in names]
    touched = [f"| {what} | `{commit}` | {all_} | {changed} | {now} |" for what, commit, all_, changed, now in TOUCHED]
    return "\n".join(
        [
            "# Structure\n",
            "Written by `python -m benchmarks.structure --before f1526a3`, the commit before the house was rebuilt.\n",
            "| | " + " | ".join(columns) + " |",
            "|---" * (len(columns) + 1) + "|",
            *rows,
            "",
            "A return is a visit to a file, or room, that the message had left before. Rooms are the folders of"
            " `agentcomm/` and the packages of plug-ins; files of the older commit count for the room they went to."
            " Contracts and base hold the data that every room handles.\n",
            "## Files touched by a change\n",
            "| change | commit | files before | of these, existing ones of `agentcomm/` | existing ones now |",
            "|---|---|---|---|---|",
            *touched,
            "",
            "Now: an attack's hook changes `contracts/attack.py`, `contracts/views.py`, `step/adversary.py`, the place"
            " that calls it and `conformance/hooks.py`, and adds a guard; a defense's changes `contracts/defense.py`,"
            " `contracts/verdicts.py`, the place that calls it and `conformance/defenses.py`. An option is a field of"
            " `runs/conditions.py` and its use. An attack or a defense is a file, an entry point and a test"
            " (`agentcomm/defenses/median.py`). Counted by reading: these changes were not made a second time.\n",
        ]
    )


def main(
    checkout: Annotated[Path, typer.Argument(help="folder of the checkout to measure")] = HERE,
    before: Annotated[str, typer.Option(help="commit of this repository to compare with, or a folder")] = "",
) -> None:
    """Print the figures of a checkout; with ``--before`` write them into benchmarks/structure.md, too."""
    columns = {}
    with tempfile.TemporaryDirectory() as folder:
        if before and Path(before).is_dir():
            columns[f"before (`{commit_of(Path(before))}`)"] = measure(Path(before).resolve())
        elif before:
            unpack(before, Path(folder))
            columns[f"before (`{before}`)"] = measure(Path(folder).resolve())
    columns[f"`{commit_of(checkout)}`"] = measure(checkout.resolve())
    text = page(columns)
    print(text)
    if before:
        (HERE / "benchmarks" / "structure.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
