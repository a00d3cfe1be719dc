"""Compares attackers that were trained against frozen teams with random ones that have the same budget.

python studies/run.py commformer predator_capture_prey --team learned    trains the teams
python studies/run.py attackers --seeds 1                                trains an attacker per team and power
python studies/attackers.py                                              evaluates them
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from pages import DOCS
from run import ROOT

from agentcomm import api
from agentcomm.base.files import write_text
from agentcomm.contracts.outcome import Episodes
from agentcomm.evaluation.cells import Cell
from agentcomm.evaluation.play import play
from agentcomm.evaluation.setup import prepare
from agentcomm.runs.assembly import make_world
from agentcomm.runs.choices import Choice
from agentcomm.runs.policy_file import SavedPolicy, load

TEAMS, SEED = Path("commformer") / "predator_capture_prey-learned", 1000003
NORM, BUDGET = 0.5, 24
SEEDS = (0, 1, 2)
Results = dict[str, list[dict[str, float]]]


def choice(name: str, **arguments: Any) -> Choice:
    """An attack."""
    return Choice.model_validate({"name": name} | arguments)


def attacker(root: Path, power: str, seed: int) -> str:
    """Folder of an attacker's policy."""
    return str(root / "attackers" / f"learned-{power}_{seed}" / "teams" / "team-0" / "policy")


def attacks(root: Path, seed: int, saved: SavedPolicy) -> dict[str, list[Choice | None]]:
    """Attacks to evaluate on the team of a seed, by name; of several the mean is taken.

    In this task the blind agent's link matters most, so random and gradient attacks are also tried on that link alone.
    """
    with closing(make_world(saved.environment, 1)) as world:
        blind = world.num_agents - 1
    there = [[sender, blind] for sender in saved.policy.topology.graph(None, 1).source[0, blind].tolist()]
    others = [s for s in SEEDS if s != seed]
    few = {"per_episode": BUDGET}
    rewriting, masking = attacker(root, "rewriting", seed), attacker(root, "masking", seed)
    return {
        "no attack": [None],
        "rewriting: no-op control": [choice("learned", policy=rewriting, run_as="control")],
        "rewriting: random noise": [choice("noise", epsilon=NORM, budget=few)],
        "rewriting: random noise, blind agent's link": [choice("noise", epsilon=NORM, budget=few, links=there)],
        "rewriting: random choices of the same edits": [choice("learned", policy=rewriting, untrained=True)],
        "rewriting: learned": [choice("learned", policy=rewriting)],
        "rewriting: learned on another team": [
            choice("learned", policy=attacker(root, "rewriting", s)) for s in others
        ],
        "rewriting: learned, half the budget": [
            choice("learned", policy=rewriting, budget={"per_episode": BUDGET // 2})
        ],
        "rewriting: gradient (white box)": [choice("gradient", epsilon=NORM, budget=few)],
        "rewriting: gradient, blind agent's link": [choice("gradient", epsilon=NORM, budget=few, links=there)],
        "masking: no-op control": [choice("mask", policy=masking, run_as="control")],
        "masking: the first messages": [choice("drop", budget=few)],
        "masking: random messages": [choice("drop", probability=0.5, budget=few)],
        "masking: blind agent's link": [choice("drop", budget=few, links=there)],
        "masking: learned": [choice("mask", policy=masking)],
        "masking: learned on another team": [choice("mask", policy=attacker(root, "masking", s)) for s in others],
        "masking: learned, half the budget": [choice("mask", policy=masking, budget={"per_episode": BUDGET // 2})],
        "masking: all messages": [choice("drop")],
    }


def played(saved: SavedPolicy, seed: int, attack: Choice | None, count: int) -> tuple[Episodes, dict[str, int]]:
    """Episodes of a cell, and the violations that its guard counted."""
    cell = Cell("team", seed, attack, (), count, SEED)
    with prepare(cell, saved, count) as (world, policy, comms):
        episodes = play(world, policy, comms, SEED)
    return episodes, {rule: n for guard in comms.adversary.guards for rule, n in guard.violations.items()}


def seed_of(saved: SavedPolicy, seed: int, group: Sequence[Choice | None], count: int) -> dict[str, float]:
    """Means over a team's episodes: steps, success, return, messages touched, share of episodes made worse."""
    clean, _ = played(saved, seed, None, count)
    found = []
    for attack in group:
        episodes, violations = played(saved, seed, attack, count)
        # Blind attacks keep asking after their budget is spent; no other violation is expected.
        assert not violations.keys() - {"beyond the budget"}, violations
        touched = episodes.messages["tampered"] + episodes.messages["dropped"]
        found.append(
            {
                "steps": float(episodes.length.float().mean()),
                "success": float(episodes.success.float().mean()),
                "return": float(episodes.total_reward.mean()),
                "touched": float(touched.float().mean()),
                "most touched": float(touched.max()),
                "worse": float((episodes.total_reward < clean.total_reward - 1e-6).float().mean()),
            }
        )
    return {key: sum(f[key] for f in found) / len(found) for key in found[0]}


def measure(root: Path, path: Path, count: int) -> Results:
    """Measure what is not in the file yet."""
    run = api.open_run(root / TEAMS)
    out: Results = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    teams = {seed: load(run.policy("team", seed)) for seed in SEEDS}
    groups = {seed: attacks(root, seed, saved) for seed, saved in teams.items()}
    for name in groups[SEEDS[0]]:
        if name not in out:
            out[name] = [seed_of(saved, seed, groups[seed][name], count) for seed, saved in teams.items()]
            write_text(path, json.dumps(out, indent=1))
            typer.echo(f"{name} measured")
    return {name: out[name] for name in groups[SEEDS[0]]}


def main(
    root: Annotated[Path, typer.Option(help="where folders of runs lie")] = ROOT,
    count: Annotated[int, typer.Option("--episodes", help="episodes per team and attack")] = 1024,
) -> None:
    """Evaluate every attack on every team; studies/writeups_page.py writes the page."""
    torch.set_num_threads(1)
    measure(root, DOCS / "threats" / "attackers.json", count)


if __name__ == "__main__":
    typer.run(main)
