"""What the nodes of a cluster get of a run, as bytes, and how they prove that they have the same code and files."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from agentcomm.base.errors import RayError
from agentcomm.base.inputs import find_input
from agentcomm.base.registry import Axis
from agentcomm.base.source import PACKAGE, core_hash, hash_of
from agentcomm.base.versions import versions
from agentcomm.evaluation.identity import Identities, Identity, differences
from agentcomm.runs.choices import Choice, build
from agentcomm.runs.folder import Run

FOLDER = "run"  # of the run's files on a node
Files = dict[str, bytes]  # by path relative to the parent of the run's folder
Choices = Iterable[tuple[Axis, Choice]]


def pack(run: Run, choices: Choices, more: Mapping[Path, Path] | None = None) -> Files:
    """The run's config, and the input files of plug-ins that lie beside the run.

    Args:
        run: The run.
        choices: The plug-ins.
        more: Further files and folders, by path relative to the run's folder.
    """
    found = {Path("config.yaml"): run.path / "config.yaml"} | dict(more or {})
    for axis, choice in {(axis, choice.model_dump_json()): (axis, choice) for axis, choice in choices}.values():
        paths = [Path(path) for path in build(axis, choice).inputs()]
        found |= {path: find_input(path) for path in paths if not path.is_absolute()}
    return {os.path.normpath(Path(FOLDER, name)): data for to, at in found.items() for name, data in _read(to, at)}


def read_folder(folder: Path) -> Files:
    """The files in a folder."""
    return {str(name): content for name, content in _read(Path(), folder)}


def _read(to: Path, at: Path) -> Iterator[tuple[Path, bytes]]:
    """The files at a path, with the names that they get on a node."""
    for file in sorted(at.rglob("*")) if at.is_dir() else [at]:
        if file.is_file():
            yield to / file.relative_to(at) if file != at else to, file.read_bytes()


def unpack(files: Files, folder: Path) -> Path:
    """Write packed files below a folder; returns the folder of the run."""
    for name, content in files.items():
        path = Path(folder, "runs", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return Path(folder, "runs", FOLDER)


class TrainingIdentity(Identities):
    """Hashes of all that training depends on besides the config: code, versions, and files that plug-ins read.

    Args:
        run: The run.
    """

    def of_run(self) -> Identity:
        """Version and code of every plug-in, contents of every file read, the testbed's code, and of its packages.

        Raises:
            AgentcommError: If a plug-in is unknown.
        """
        own = hash_of(path.read_bytes() for path in sorted((PACKAGE / "training").glob("*.py")))
        found = versions() | {"agentcomm": f"{core_hash()} {own}"}
        for axis, choice in self.all_choices():
            found |= self._plugin(axis, choice.model_dump_json())
        return found

    def all_choices(self) -> Iterator[tuple[Axis, Choice]]:
        """All plug-ins of training; a phase of a schedule may read other files than the config."""
        config = self.run.config
        yield "policy", config.policy
        if topology := config.policy.arguments.get("topology"):
            yield "topology", Choice.model_validate(topology)
        setup = config.setup
        phases = [end for phase in config.training.schedule for end in setup.ends(phase)]
        for one in (setup, *phases):
            yield "environment", one.environment
            yield from (("attack", attack) for attack in one.attacks)
            yield from (("defense", defense) for defense in one.defenses)
            yield from (("channel", channel) for channel in one.channels)
            if one.transport.codec is not None:
                yield "codec", one.transport.codec


def check_node(node: str, found: Identity, expected: Identity) -> None:
    """Check that a node has the code and files of this machine.

    Raises:
        RayError: If it has others.
    """
    if different := differences(found, expected):
        raise RayError(
            f"node {node} has other code or files than this machine ({different}); install the same"
            " versions on all nodes, and put input files beside the run or at the same path everywhere"
        )
