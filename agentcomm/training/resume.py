"""What is left to train in a run, checked before anything in its folder is changed."""

from __future__ import annotations

import os
from pathlib import Path

from agentcomm.base.errors import CheckpointError, RunError
from agentcomm.runs import policy_file
from agentcomm.runs.config import Variant
from agentcomm.runs.folder import Run, team_name, teams
from agentcomm.training import checkpoint


def unfinished(run: Run) -> list[tuple[Variant, int]]:
    """Teams that are not trained, not for long enough, or whose exported policy has to be exported again.

    Raises:
        CheckpointError: If the last checkpoint of such a team is damaged or of an older version, or if a damaged
            policy has no checkpoint from which to export it again.
        RunError: If a team has been trained for longer than the config says, or would have to be trained longer and has
            no checkpoint, or if links lead out of the folder.
    """
    _refuse_links(run.path)
    return [team for team in teams(run.config) if not _finished(run, *team)]


def _finished(run: Run, variant: Variant, seed: int) -> bool:
    goal, folder, policy = run.config.training.env_steps, run.team(variant, seed), run.policy(variant, seed)
    start = checkpoint.latest(folder)
    damage: CheckpointError | None = None
    trained = goal
    if policy.exists():
        try:
            stated = policy_file.read_about(policy).env_steps
            trained = goal if stated is None else stated
        except CheckpointError as error:
            damage = error
    if policy.exists() and damage is None and trained >= goal:
        _refuse_shorter(run, variant, seed, trained)
        return True
    if start is None:
        if damage is not None:
            raise CheckpointError(
                f"{damage}; but there is no checkpoint in {checkpoint.folder(folder)}: delete {folder} to train the"
                f" team again"
            )
        if policy.exists():
            raise RunError(
                f"{team_name(variant, seed)} has been trained for {trained:,} env steps and left no checkpoint in"
                f" {checkpoint.folder(folder)} from which to train up to training.env_steps={goal}; delete {folder} to"
                f" train the team from the start"
            )
        return False
    _refuse_shorter(run, variant, seed, checkpoint.check(start).env_steps)
    return False


def _refuse_shorter(run: Run, variant: Variant, seed: int, trained: int) -> None:
    """Refuse a config that shortens training to less than a team has already been trained for."""
    before, goal = run.config_before.training.env_steps, run.config.training.env_steps
    if goal < before and goal < trained:
        raise RunError(
            f"training.env_steps={goal} is less than the {trained:,} env steps that {team_name(variant, seed)} has"
            f" already been trained for; keep {before}, raise it, or give a new run another name (name=...)"
        )


def _refuse_links(run: Path) -> None:
    """Refuse a folder with links that lead out of it, where training would read or write."""
    inside = run.resolve()
    for parent, folders, files in os.walk(run):
        for name in (*folders, *files):
            path = Path(parent, name)
            if path.is_symlink() and not _leads_into(path, inside):
                raise RunError(f"{path} is a link that leads out of the run's folder; replace it by what it points to")


def _leads_into(link: Path, folder: Path) -> bool:
    try:
        return link.resolve().is_relative_to(folder)
    except (OSError, RuntimeError):  # a loop of links
        return False
