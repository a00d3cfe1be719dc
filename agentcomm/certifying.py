"""The function ``certify`` of the Python API."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from agentcomm.base.documents import read_rows
from agentcomm.base.errors import ConfigError, RunError
from agentcomm.base.files import write_text, writing
from agentcomm.base.inputs import looking_in
from agentcomm.base.source import path_hash
from agentcomm.base.text import shorten
from agentcomm.runs.conditions import Conditions
from agentcomm.runs.folder import Run
from agentcomm.runs.given import Given, group_of, run_of

FILE = "certificates.jsonl"


def certify(
    run: Run | str | os.PathLike[str],
    attack_links: Sequence[int] = (1,),
    attack_nodes: Sequence[int] = (),
    defense: Given | Sequence[Given] | None = None,
    episodes: int = 64,
    injects: bool = False,
    decisions: str = "greedy",
    trust: bool = False,
) -> list[dict[str, Any]]:
    """Certify what attackers on messages cannot change in a team's clean episodes, team by team.

    The rows are written to ``certificates.jsonl`` in the run's folder, in place of earlier ones about the same.

    Args:
        run: A run or its folder.
        attack_links: Numbers C of links that an attacker controls; of a vote, links of each receiver.
        attack_nodes: Numbers C of nodes that an attacker controls.
        defense: Defenses of the team; a certificate of votes needs ``ensemble`` or ``smoothing``.
        episodes: Clean episodes, which begin as those of evaluation do.
        injects: Whether an attacker on links may also send when the sender does not.
        decisions: ``greedy`` or ``sampled`` actions.
        trust: As for :func:`agentcomm.evaluate`.

    Returns:
        One row per team, certificate and attacker: how many ``decisions`` there were, how many are ``certified``
        against the worst attacker, and what the certificate adds to that.

    Raises:
        AgentcommError: If no team is trained, or an argument is invalid.
    """
    for name, given in (("attack_links", attack_links), ("attack_nodes", attack_nodes)):
        if any(isinstance(count, bool) or not isinstance(count, int) or count < 1 for count in given):
            raise ConfigError(f"{name}: must be whole numbers from 1 (got {shorten(list(given))})")
    if isinstance(episodes, bool) or not isinstance(episodes, int) or episodes < 1:
        raise ConfigError(f"episodes: must be a whole number from 1 (got {shorten(episodes)})")
    if decisions not in ("greedy", "sampled"):
        raise ConfigError(f"decisions: must be greedy or sampled (got {shorten(decisions)})")
    run = run_of(run if isinstance(run, Run) else Path(run), trust)
    seeds = [seed for variant, seed in run.trained() if variant == "team"]
    if not seeds:
        raise RunError(f"{run.path} has no trained team yet; run `agentcomm train {run.path / 'config.yaml'} --resume`")
    group = () if defense is None else tuple(run.adopt("defense", choice) for choice in group_of(defense))
    with looking_in(run.places()), writing(run.path, "no certificate is written"):
        from agentcomm.certificates.measure import certificates
        from agentcomm.evaluation.cells import Cell

        under = Conditions(transport=run.config.transport, decisions=decisions)
        rows: list[dict[str, Any]] = []
        for seed in seeds:
            cell = Cell("team", seed, None, group, episodes, run.config.evaluation.seed, under)
            cell = cell.canonical(run.config.environment)
            weights = path_hash(run.policy("team", seed) / "policy.safetensors")
            found = certificates(run, cell, attack_links, attack_nodes, injects)
            rows += [row | {"weights": weights} for row in found]
        _write(run, rows)
    return rows


def _write(run: Run, rows: list[dict[str, Any]]) -> None:
    """Add rows to the run's file in place of earlier ones about the same."""
    path = run.path / FILE
    team = ("certificate", "variant", "seed", "defenses", "episodes", "episode_seed", "conditions")
    about = (*team, "attacker", "count", "injects")

    def key(row: dict[str, Any]) -> tuple[Any, ...]:
        return tuple(row.get(name) for name in about)

    new = {key(row) for row in rows}
    with run.lock():
        kept = [row for row in read_rows(path, None, str(path), run.path)[0] if key(row) not in new]
        write_text(path, "".join(json.dumps(row, allow_nan=False) + "\n" for row in [*kept, *rows]))
