"""Progress in Weights & Biases; needs ``pip install 'agentcomm[wandb]'``.

Nothing leaves the machine unless the user sets ``WANDB_MODE=online``: files are in ``wandb/`` in the team's folder, and
``wandb sync`` uploads them. ``WANDB_PROJECT``, ``WANDB_ENTITY`` and the other variables of wandb hold.
"""

from __future__ import annotations

import os
from typing import Any

# Read when wandb is imported.
os.environ.setdefault("WANDB_MODE", "offline")
if os.environ["WANDB_MODE"] != "online":
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")

import wandb

from agentcomm.contracts.logger import LoggedTeam, Logger, Numbers


class WandbLogger(Logger):
    """A run of wandb per team, in the project ``agentcomm`` and the group of the run."""

    def __init__(self, team: LoggedTeam) -> None:
        # Quiet: our own screen shows progress. Git and the machine are in our parameters as far as they matter.
        settings = wandb.Settings(
            silent=True, console="off", disable_git=True, x_disable_stats=True, x_disable_machine_info=True
        )
        self._run: Any = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "agentcomm"),
            dir=str(team.folder),
            id=team.identity,
            resume="allow",
            reinit="create_new",  # teams may train side by side
            name=f"{team.run}/{team.name}",
            group=team.run,
            config=dict(team.parameters),
            settings=settings,
        )

    def write(self, row: Numbers) -> None:
        """Log a row at its env steps; wandb drops what it has of these already."""
        self._run.log(dict(row), step=int(row["env_steps"]))

    def close(self, finished: bool) -> None:
        """Write what is left."""
        self._run.finish(exit_code=0 if finished else 1)
