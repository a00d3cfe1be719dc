"""Copies a trained run into studies/runs/: config and policies, without checkpoints and paths of a machine.

python studies/publish.py runs/capture    writes studies/runs/capture
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Annotated

import typer

from agentcomm.base import manifest
from agentcomm.base.errors import AgentcommError, RunError
from agentcomm.base.files import write_text
from agentcomm.runs import policy_file
from agentcomm.runs.config import dump
from agentcomm.runs.folder import Run, open_run, teams
from agentcomm.runs.record import KEY, entry

RUNS = Path(__file__).parent / "runs"


def publish(source: Path, root: Path = RUNS) -> Path:
    """Copy a run.

    Args:
        source: Folder of the run, all of whose teams are trained.
        root: Where published runs lie.

    Returns:
        Folder of the published run; cells that it has are kept.

    Raises:
        RunError: If a team is not trained, or the run needs plug-ins of its own, which a copy would lack.
    """
    run = open_run(source)
    if run.config.plugins or run.config.plugin_folders:
        raise RunError(f"{source} names plug-in modules, which a published run cannot have")
    if missing := [f"{variant}-{seed}" for variant, seed in teams(run.config) if (variant, seed) not in run.trained()]:
        raise RunError(f"{source} has no trained {', '.join(missing)}; resume its training first")
    target = root / run.config.name
    shutil.rmtree(target / "teams", ignore_errors=True)
    for variant, seed in teams(run.config):
        _copy_policy(run, root, variant, seed)
    record = entry(target, (), ())
    record[KEY]["folder"] = _folder(target, root)
    write_text(target / "config.yaml", dump(run.config, record))
    return target


def _copy_policy(run: Run, root: Path, variant: policy_file.Variant, seed: int) -> None:
    """Copy a policy, and replace the folder in which it was written by its folder in the repository."""
    folder = root / run.config.name / "teams" / f"{variant}-{seed}" / "policy"
    about = policy_file.read_about(run.policy(variant, seed))
    shutil.copytree(run.policy(variant, seed), folder)
    about = about.model_copy(update={"folder": _folder(folder, root)})
    (folder / policy_file.ABOUT).write_text(json.dumps(about.model_dump(mode="json"), indent=1), encoding="utf-8")
    manifest.seal(folder, policy_file.POLICY)
    for path in folder.iterdir():
        path.chmod(0o644)


def _folder(path: Path, root: Path) -> str:
    """Where a folder lies in the repository, whatever machine it is on."""
    return (Path("studies", "runs") / path.relative_to(root)).as_posix()


def main(source: Annotated[list[Path], typer.Argument(help="folders of trained runs")]) -> None:
    """Copy trained runs into studies/runs/."""
    for folder in source:
        try:
            typer.echo(f"Published {publish(folder)}")
        except AgentcommError as error:
            raise typer.BadParameter(str(error)) from None


if __name__ == "__main__":
    typer.run(main)
