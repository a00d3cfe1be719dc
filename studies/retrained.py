"""What an attacker that is trained again takes back from a defense.

python studies/retrained.py runs/agreement_9 --defense median     trains the missing attackers, and prints the table

Per seed, one attacker is trained against the frozen team and one against the same team with the defense, with equal
budgets and until the curve is flat: in stages, until one improves the mean return of its last fifth by less than a
share of what training has gained so far. The first attacker is evaluated with and without the defense, the second with
it. R-MACRL reports that retraining takes back 20 to 30% of the return (Xue et al., AAMAS 2022, arXiv 2108.03803).

Attackers lie below ROOT; a seed whose row is in ROOT/retrained.jsonl is done. Repeat the command to resume.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from agentcomm import api
from agentcomm.base.files import append_line
from agentcomm.base.seeds import derive
from agentcomm.evaluation.calibration import Clean, calibrate
from agentcomm.evaluation.play import play
from agentcomm.runs import policy_file
from agentcomm.runs.assembly import make_comms, make_world
from agentcomm.runs.choices import PLAIN_TRANSPORT, Choice, split_joined
from agentcomm.statistics import estimate
from agentcomm.training.ray_session import ray_session

STAGE, MOST, FLAT = 20_000, 4, 0.1  # env steps of a stage, stages at most, and the share of the gain that is flat
EPISODES, EPISODE_SEED = 512, 1_000_003
TRAINING = {"worlds": 64, "fragment": 10, "threads": 1, "evaluate_every": 0, "checkpoint_every": 16}
PPO = {"learning_rate": 0.003, "final_learning_rate": 0.003, "minibatch": 2048}
SCORES = ("clean", "clean, defended", "attacked", "attacked, defended", "retrained, defended")


def config(name: str, victim: Path, senders: int, norm: float, defenses: Sequence[Choice], seed: int) -> dict[str, Any]:
    """The run of one attacker, which controls all messages of the first few senders."""
    team = policy_file.load(victim)
    agents = team.policy.num_agents
    links = [[sender, other] for sender in range(senders) for other in range(agents) if other != sender]
    environment = {"name": "attacker", "victim": str(victim.resolve()), "links": links, "budget": {"norm": norm}}
    environment["defenses"] = [choice.model_dump(mode="json") for choice in defenses]
    training = TRAINING | {"ppo": PPO}
    evaluation = {"recordings": 0}
    return {
        "name": name,
        "environment": environment,
        "policy": {"name": "mappo"},
        "control": False,
        "seeds": [seed],
        "training": training,
        "evaluation": evaluation,
    }


def train(made: dict[str, Any], root: Path, length: int) -> tuple[Path, int, bool]:
    """Train an attacker until its curve is flat; returns its policy's folder, env steps, and whether it is flat.

    Args:
        made: Its config.
        root: Where its run lies.
        length: Env steps of a stage.
    """
    seed, last = made["seeds"][0], None
    folder = root / made["name"] / "teams" / f"team-{seed}"
    for stage in range(1, MOST + 1):
        steps = stage * length
        if trained_for(folder) < steps:  # not before an earlier call was stopped
            api.train(made, [f"training.env_steps={steps}"], root, resume=True, progress=False)
        returns = curve(folder, steps)
        now = mean_of_last_fifth(returns)
        if last is not None and now - last < FLAT * max(now - returns[0], 1e-9):
            return folder / "policy", steps, True
        last = now
    return folder / "policy", steps, False


def progress(folder: Path) -> list[dict[str, Any]]:
    """What is recorded of each iteration of an attacker's training; empty before it."""
    path = folder / "progress.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def trained_for(folder: Path) -> int:
    """Env steps for which an attacker was trained."""
    return max((row["env_steps"] for row in progress(folder)), default=0)


def curve(folder: Path, steps: int) -> list[float]:
    """The attacker's mean return in each iteration up to a stage of as many env steps."""
    rows, found = progress(folder), []
    for row in rows:
        if row.get("episode_return") is not None:
            found.append(row["episode_return"])
        if row["env_steps"] >= steps:
            break
    return found


def mean_of_last_fifth(values: Sequence[float]) -> float:
    """Mean of the last fifth of the values, at least one."""
    tail = values[-max(len(values) // 5, 1) :]
    return sum(tail) / len(tail)


def score(victim: Path, attacker: Path | None, defenses: Sequence[Choice]) -> float:
    """The team's mean return over episodes that all cells of its seed share."""
    saved = policy_file.load(victim)
    attacks = (
        [] if attacker is None else [Choice.model_validate({"name": "learned", "policy": str(attacker.resolve())})]
    )
    with closing(make_world(saved.environment, EPISODES, torch.device("cpu"))) as world:
        comms = make_comms(world, saved.policy, attacks, defenses, derive(EPISODE_SEED, "retrained"))
        calibrate(comms.network.defenses, Clean(world, saved.policy, PLAIN_TRANSPORT))
        return float(play(world, saved.policy, comms, EPISODE_SEED).total_reward.mean())


def one(
    victim: Path, seed: int, senders: int, norm: float, defenses: tuple[Choice, ...], root: Path, stage: int
) -> dict[str, Any]:
    """The row of one seed."""
    plain, *trained = train(config(f"plain-{seed}", victim, senders, norm, (), seed), root, stage)
    again, *retrained = train(config(f"defended-{seed}", victim, senders, norm, defenses, seed), root, stage)
    cells = ((None, ()), (None, defenses), (plain, ()), (plain, defenses), (again, defenses))
    scores = [score(victim, attacker, group) for attacker, group in cells]
    return {
        "seed": seed,
        "victim": str(victim),
        "defenses": "+".join(choice.label for choice in defenses),
        "senders": senders,
        "norm": norm,
        "scores": dict(zip(SCORES, scores, strict=True)),
        "env_steps": {"plain": trained[0], "defended": retrained[0]},
        "flat": {"plain": trained[1], "defended": retrained[1]},
    }


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Mean returns over seeds with 95% intervals, and what retraining takes back."""
    lines = []
    for name in SCORES:
        found = estimate({row["seed"]: row["scores"][name] for row in rows})
        lines.append(f"{name:<22}{found.value:8.3f}  {interval(found.interval)}")
    lost = {row["seed"]: row["scores"][SCORES[3]] - row["scores"][SCORES[4]] for row in rows}
    averted = {row["seed"]: row["scores"][SCORES[3]] - row["scores"][SCORES[2]] for row in rows}
    back = estimate(lost)
    lines.append(f"{'taken back':<22}{back.value:8.3f}  {interval(back.interval)}")
    total = sum(averted.values())
    if total > 0:
        lines.append(f"{100 * sum(lost.values()) / total:.0f}% of the return that the defense had averted")
    flat = sum(all(row["flat"].values()) for row in rows)
    lines.append(f"{flat} of {len(rows)} seeds whose curves are flat after at most {MOST} stages")
    return "\n".join(lines)


def interval(ends: tuple[float, float] | None) -> str:
    """An interval as text; empty for too few seeds."""
    return "" if ends is None else f"[{ends[0]:.3f}, {ends[1]:.3f}]"


def main(
    run: Annotated[Path, typer.Argument(help="folder of the attacked teams' run")],
    defense: Annotated[str, typer.Option(help="defenses, joined with +")] = "median",
    senders: Annotated[int, typer.Option(help="senders whose messages the attacker controls")] = 3,
    norm: Annotated[float, typer.Option(help="largest change of a payload entry")] = 2.0,
    seeds: Annotated[str, typer.Option(help="training seeds of the teams")] = "0,1,2,3,4",
    root: Annotated[Path, typer.Option(help="where attackers and rows lie")] = Path("runs/retrained"),
    stage: Annotated[int, typer.Option(help=f"env steps of a stage of training, of {MOST} at most")] = STAGE,
) -> None:
    """Train the attackers that are missing, and print what retraining takes back."""
    root.mkdir(parents=True, exist_ok=True)
    path, defenses = root / "retrained.jsonl", tuple(Choice.parse(text) for text in split_joined(defense))
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    done = {row["seed"]: row for row in rows}
    with ray_session(root / "ray.log"):
        for seed in (int(text) for text in seeds.split(",")):
            victim = run / "teams" / f"team-{seed}" / "policy"
            if seed not in done:
                done[seed] = one(victim, seed, senders, norm, defenses, root, stage)
                append_line(path, done[seed])
            typer.echo(json.dumps(done[seed]))
    typer.echo(table(list(done.values())))


if __name__ == "__main__":
    typer.run(main)
