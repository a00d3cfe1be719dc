"""How far does the symbol of whisper come by messages alone? An agent can find it out in other ways as well.

A scheduler that sees all agents tells an agent something by whom it lets it hear. And in the channel airtime a message
that does not come says that somebody else listened to its sender: if the holder of a symbol listens to a sender that
nobody else does, its competitor knows the symbol.

Here an agent knows the symbol if it held it, or has heard an agent that knew it. Printed is the reward per step of
teams in which exactly these agents name it and the others pass.

python studies/spread.py    evaluates published teams, and writes studies/runs/whisper_spread/cells.jsonl
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import typer
from cells import RUNS, row_of
from scenarios import SPREAD, WHISPER

from agentcomm.base.files import write_text
from agentcomm.runs import policy_file
from agentcomm.runs.assembly import make_comms, make_world
from agentcomm.runs.config import load
from agentcomm.step.loop import TeamLoop

WORLDS, SYMBOLS = 4096, 4


@torch.no_grad()
def by_messages(run: Path, team: int, worlds: int = WORLDS) -> float:
    """Reward per step and agent if those who were reached by messages name the symbol and the others pass.

    Args:
        run: Folder of a published run on whisper, with one sender per agent and one exchange per step.
        team: Its seed.
        worlds: Number of episodes.
    """
    config = load(run / "config.yaml", trust=True)
    policy = policy_file.load(run / "teams" / f"team-{team}" / "policy").policy
    world = make_world(config.environment, worlds)
    loop = TeamLoop(world, policy, make_comms(world, policy, transport=config.transport))
    loop.reset(config.evaluation.seed)
    knows, shares = world.holding.clone(), []  # type: ignore[attr-defined]
    for _ in range(world.config.max_steps):
        record = loop.step()
        sender, heard = record.decision.links[..., 0], record.decision.inboxes[0].mask[..., 0]
        knows = knows | (knows.gather(1, sender) & heard)
        shares.append(float(knows.float().mean()))
        loop.finish(record)
    return 1 / SYMBOLS + (1 - 1 / SYMBOLS) * sum(shares) / len(shares)


def row(run: str, team: int, reward: float) -> dict[str, Any]:
    """The cell of a team."""
    return row_of(team, run, WORLDS, {"by_messages": reward})


def main() -> None:
    """Write the cells of all teams."""
    torch.set_num_threads(1)
    teams = [(task.run, team) for task in WHISPER for team in load(RUNS / task.run / "config.yaml").seeds]
    found = [row(run, team, by_messages(RUNS / run, team)) for run, team in teams]
    target = RUNS / SPREAD / "cells.jsonl"
    target.parent.mkdir(parents=True, exist_ok=True)
    write_text(target, "".join(json.dumps(one) + "\n" for one in found))
    typer.echo(f"Wrote {len(found)} cells to {target}")


if __name__ == "__main__":
    typer.run(main)
