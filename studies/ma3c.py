"""Trains a team and a population of attackers against each other, generation after generation.

python studies/ma3c.py studies/teams/capture.yaml --seeds 0,1,2

After MA3C (Yuan et al., Frontiers of Computer Science 2024, arXiv 2305.05116). The team is trained without an attack
first. In each generation, new attackers are trained against the frozen team and enter the population; the team then
continues its training against it, one attacker per world and episode, or none (attack ``population``). Attackers differ
in what they may do (:data:`KINDS`). Two attackers are as far apart as the share of the team's decisions that differ
under them in the same episodes, in place of MA3C's distance in a learned embedding of trajectories: a new attacker that
is close to a member takes its place if it does more harm, and is dropped otherwise; of more members than fit, the
oldest leaves.

Runs lie in ROOT/seed-S, ``team-G`` and ``attacker-G-K``. A generation whose row is in ROOT/generations.jsonl is done,
and training resumes from its last checkpoint: repeat the command. The last generation's team is evaluated like any
other: its policy is ROOT/seed-S/team-G/teams/team-S/policy.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from retrained import PPO, TRAINING
from torch import Tensor

from agentcomm import api
from agentcomm.base import arrays, manifest
from agentcomm.base.documents import read_rows
from agentcomm.base.files import append_line, new_folder
from agentcomm.base.seeds import derive
from agentcomm.evaluation.play import play
from agentcomm.runs import policy_file
from agentcomm.runs.assembly import make_comms, make_world
from agentcomm.runs.choices import Choice
from agentcomm.runs.config import load
from agentcomm.runs.folder import Run
from agentcomm.step.loop import StepRecord
from agentcomm.training import checkpoint
from agentcomm.training.ray_session import ray_session

Config = dict[str, Any]
# What attackers may do: bend every message a little, few of them at will, as few as possible, or suppress messages.
KINDS: tuple[Config, ...] = (
    {"power": "modify", "budget": {"norm": 0.5}},
    {"power": "drop", "budget": {"per_episode": 12}},
    {"power": "modify", "budget": {"norm": 2.0, "per_episode": 12}},
    {"power": "modify", "budget": {"norm": 1.0}, "price": 0.02},
)
NOVEL = 0.05  # share of decisions by which a new attacker differs from all members
SPARED = 0.2  # share of episodes without an attack
EPISODES, EPISODE_SEED = 256, 1_000_003


@dataclass(frozen=True)
class Behavior:
    """What a team does under an attack.

    Attributes:
        action: [B, T, N] int64.
        acting: [B, T] bool, steps of running episodes.
        mean_return: The team's mean return.
    """

    action: Tensor
    acting: Tensor
    mean_return: float

    def distance(self, other: Behavior) -> float:
        """Share of the decisions that are taken under this or the other attack and differ."""
        steps = max(self.action.shape[1], other.action.shape[1])
        (a, x), (b, y) = (one.padded(steps) for one in (self, other))
        either = (x | y).unsqueeze(-1).expand_as(a)
        return float((((a != b) | (x != y).unsqueeze(-1)) & either).sum() / either.sum())

    def padded(self, steps: int) -> tuple[Tensor, Tensor]:
        """Actions and running steps of as many steps."""
        more = steps - self.action.shape[1]
        pad = torch.nn.functional.pad
        return pad(self.action, (0, 0, 0, more), value=-1), pad(self.acting, (0, more), value=False)


def behavior(team: Path, attack: Choice | None) -> Behavior:
    """What the team in a policy's folder does in episodes that all attackers share."""
    saved, steps = policy_file.load(team), list[StepRecord]()
    with closing(make_world(saved.environment, EPISODES, torch.device("cpu"))) as world:
        attacks = [] if attack is None else [attack]
        comms = make_comms(world, saved.policy, attacks, (), derive(EPISODE_SEED, "ma3c"))
        episodes = play(world, saved.policy, comms, EPISODE_SEED, follow=steps.append)
    action, acting = torch.stack([s.decision.action for s in steps], 1), torch.stack([s.running for s in steps], 1)
    return Behavior(action, acting, float(episodes.total_reward.mean()))


def chosen(kind: Config, policy: Path) -> Choice:
    """The attack that a trained attacker carries out."""
    name = "mask" if kind["power"] == "drop" else "learned"
    return Choice.model_validate({"name": name, "policy": str(policy.resolve())})


def admitted(population: list[Choice], new: list[Choice], team: Path, most: int) -> list[Choice]:
    """The population with new attackers, the oldest first.

    Args:
        population: Members so far.
        new: Trained attackers.
        team: The team's policy.
        most: Most members.
    """
    known = {attack.label: behavior(team, attack) for attack in (*population, *new)}
    for attack in new:
        mine = known[attack.label]
        distances = [mine.distance(known[member.label]) for member in population]
        nearest = int(np.argmin(distances)) if distances else 0
        if not distances or distances[nearest] >= NOVEL:
            population = [*population, attack]
        elif mine.mean_return < known[population[nearest].label].mean_return:
            population = [*population[:nearest], *population[nearest + 1 :], attack]
    return population[-most:]


def carry(before: Run, run: Path, seed: int) -> None:
    """Let a team continue from another run's last checkpoint: same weights and optimizers, new episodes."""
    start = checkpoint.latest(before.team("team", seed))
    assert start is not None
    target = checkpoint.folder(run / "teams" / f"team-{seed}") / start.name
    if checkpoint.latest(target.parents[1]) is not None:
        return
    facts = checkpoint.check(start)
    state = arrays.load(start / checkpoint.STRUCTURE, start / checkpoint.ARRAYS, None)
    target.parent.mkdir(parents=True, exist_ok=True)
    with new_folder(target) as folder:
        # Episodes under way belong to the earlier population.
        arrays.save(state | {"runners": {}}, folder / checkpoint.STRUCTURE, folder / checkpoint.ARRAYS)
        shutil.copy(start / checkpoint.PROGRESS, folder)
        manifest.seal(folder, checkpoint.CHECKPOINT, **vars(facts))


def attacker(name: str, kind: Config, victim: Path, seed: int) -> Config:
    """The run of one attacker, which is on the path of all links."""
    environment = {"name": "attacker", "victim": str(victim.resolve()), **kind}
    training = TRAINING | {"ppo": PPO}
    about = {"name": name, "environment": environment, "policy": {"name": "mappo"}, "seeds": [seed]}
    return about | {"control": False, "training": training, "evaluation": {"recordings": 0}}


@dataclass(frozen=True)
class Plan:
    """How long to train.

    Attributes:
        generations: Generations after the first team.
        attackers: New attackers per generation.
        most: Most attackers in the population.
        first: Env steps of the first team.
        further: Env steps of the team per generation.
        attack: Env steps of an attacker.
    """

    generations: int
    attackers: int
    most: int
    first: int
    further: int
    attack: int


def team(base: Config, seed: int, root: Path, plan: Plan, at: int, population: list[Choice]) -> Run:
    """Train the team of a generation, which continues from the one before it."""
    made = base | {"name": f"team-{at}", "seeds": [seed], "control": False}
    if population:
        members = [member.model_dump(mode="json") for member in population]
        made |= {"attacks": [{"name": "population", "spared": SPARED, "attacks": members}]}
    steps = plan.first + at * plan.further
    if at:
        carry(Run(root / f"team-{at - 1}", load(root / f"team-{at - 1}" / "config.yaml")), root / f"team-{at}", seed)
    return api.train(made, [f"training.env_steps={steps}"], root, resume=True, progress=False)


def generation(
    base: Config, seed: int, root: Path, plan: Plan, at: int, population: list[Choice]
) -> tuple[list[Choice], dict[str, Any]]:
    """Train the attackers of a generation, and then the team; returns the population and a row.

    Args:
        base: Config of the teams.
        seed: Training seed.
        root: Where the runs of this seed lie.
        plan: How long to train.
        at: Number of the generation, from 1.
        population: Members so far.
    """
    before = Run(root / f"team-{at - 1}", load(root / f"team-{at - 1}" / "config.yaml")).policy("team", seed)
    new = []
    for number in range(plan.attackers):
        kind = KINDS[((at - 1) * plan.attackers + number) % len(KINDS)]
        made = attacker(f"attacker-{at}-{number}", kind, before, seed)
        run = api.train(made, [f"training.env_steps={plan.attack}"], root, resume=True, progress=False)
        new.append(chosen(kind, run.policy("team", seed)))
    population = admitted(population, new, before, plan.most)
    after = team(base, seed, root, plan, at, population).policy("team", seed)
    scores = {}
    for name, policy in (("before", before), ("after", after)):
        returns = [behavior(policy, attack).mean_return for attack in (None, *population)]
        scores[name] = {"clean": returns[0], "attacked": returns[1:]}
    members = [member.model_dump(mode="json") for member in population]
    return population, {"seed": seed, "generation": at, "population": members, "scores": scores}


def evolve(base: Config, seed: int, root: Path, plan: Plan, tell: Callable[[str], None]) -> None:
    """Train one seed up to the last generation.

    Args:
        base: Config of the teams.
        seed: Training seed.
        root: Where everything lies.
        plan: How long to train.
        tell: Told about each generation.
    """
    path, runs = root / "generations.jsonl", root / f"seed-{seed}"
    rows = read_rows(path, None, str(path))[0] if path.exists() else []
    done = {row["generation"]: row for row in rows if row["seed"] == seed}
    team(base, seed, runs, plan, 0, [])
    population: list[Choice] = []
    for at in range(1, plan.generations + 1):
        if at not in done:
            population, done[at] = generation(base, seed, runs, plan, at, population)
            append_line(path, done[at])
        population = [Choice.model_validate(member) for member in done[at]["population"]]
        before, after = done[at]["scores"]["before"], done[at]["scores"]["after"]
        tell(
            f"seed {seed}, generation {at} of {plan.generations}, {len(population)} attackers: return"
            f" {before['clean']:.3f} -> {after['clean']:.3f} without an attack,"
            f" {min(before['attacked']):.3f} -> {min(after['attacked']):.3f} under the worst"
        )


def main(
    config: Annotated[Path, typer.Argument(help="config of the teams, such as studies/teams/capture.yaml")],
    seeds: Annotated[str, typer.Option(help="training seeds, joined with commas")] = "0",
    root: Annotated[Path, typer.Option(help="where everything lies")] = Path("runs/ma3c"),
    generations: Annotated[int, typer.Option(help="generations after the first team")] = 3,
    attackers: Annotated[int, typer.Option(help="new attackers per generation")] = 2,
    most: Annotated[int, typer.Option(help="most attackers in the population")] = 4,
    first: Annotated[int, typer.Option(help="env steps of the team before the first generation")] = 400_000,
    further: Annotated[int, typer.Option(help="env steps of the team per generation")] = 80_000,
    attack: Annotated[int, typer.Option(help="env steps of an attacker")] = 30_000,
) -> None:
    """Train what is missing, and print each generation."""
    root.mkdir(parents=True, exist_ok=True)
    base = load(config).model_dump(mode="json")
    plan = Plan(generations, attackers, most, first, further, attack)
    todo, start = [int(text) for text in seeds.split(",")], time.monotonic()
    with ray_session(root / "ray.log"):
        for number, seed in enumerate(todo, 1):
            evolve(base, seed, root, plan, typer.echo)
            left = (time.monotonic() - start) / number * (len(todo) - number)
            typer.echo(f"{number} of {len(todo)} seeds, {left / 60:.0f} more minutes")


if __name__ == "__main__":
    typer.run(main)
