"""Measures attacks on what teams learn: hijacked graphs, forced gates, backdoors. Measured cells are kept.

python studies/run.py hijack --seeds 3    trains under attack; likewise backdoor. Gates are those of commformer
python studies/threats_learned.py         measures what is missing in docs/threats/<page>.jsonl
python studies/threats_learned_page.py    writes docs/threats/<page>.md: edge_hijack, gate_forcing, backdoor
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any, Literal

import pages
import torch
import typer
from run import ROOT, run_name, studies_of, study
from torch import Tensor

from agentcomm import api
from agentcomm.base.documents import read_rows
from agentcomm.base.files import append_line
from agentcomm.base.seeds import derive
from agentcomm.contracts.policy import CommPolicy
from agentcomm.contracts.world import World
from agentcomm.evaluation import metrics
from agentcomm.evaluation.play import play
from agentcomm.runs import policy_file
from agentcomm.runs.assembly import make_comms, make_world
from agentcomm.runs.choices import Choice
from agentcomm.runs.policy_file import SavedPolicy
from agentcomm.step.adversary import Adversary
from agentcomm.step.comms import Comms
from agentcomm.step.loop import StepRecord

EPISODES, SEED, SEEDS = 512, 1000003, (0, 1, 2)
GATES = Path("commformer") / "gates-action_0.03"
# Teams trained without an attack, and longer, with which those of `hijack capture` are compared.
CLEAN = Path("commformer") / "predator_capture_prey-learned"
Row = dict[str, Any]
Reads = Literal["all", "gates", "rest"]
# Attacks on gates, and what reads the forged sensors: the whole policy, only its gates, or all but its gates.
FORCED: dict[str, tuple[Row, Reads]] = {
    "control": ({"goal": "closed", "run_as": "control"}, "all"),
    "shut": ({"goal": "closed"}, "all"),
    "open": ({"goal": "open"}, "all"),
    "guess": ({"guess": True}, "all"),
    "shut, one in four": ({"goal": "closed", "probability": 0.25}, "all"),
    "open, one in four": ({"goal": "open", "probability": 0.25}, "all"),
    "guess, one in four": ({"guess": True, "probability": 0.25}, "all"),
    "shut, gates only": ({"goal": "closed"}, "gates"),
    "open, gates only": ({"goal": "open"}, "gates"),
    "guess, gates only": ({"guess": True}, "gates"),
    "shut, all but gates": ({"goal": "closed"}, "rest"),
}


def teams(folder: str, root: Path) -> Iterator[tuple[str, str, int, SavedPolicy]]:
    """Study, team, seed and policy of all trained teams of a folder's studies, and of the clean ones."""
    for name in studies_of(folder):
        for team in study(folder, name)["teams"]:
            path = root / folder / run_name(name, team)
            if (path / "config.yaml").exists():
                run = api.open_run(path)
                for variant, seed in run.trained():
                    yield name, team, seed, policy_file.load(run.policy(variant, seed))
    if folder == "hijack" and (root / CLEAN / "config.yaml").exists():
        run = api.open_run(root / CLEAN)
        for seed in SEEDS:
            yield "capture", "nothing", seed, policy_file.load(run.policy("team", seed))


def of_study(folder: str, name: str, team: str) -> Row:
    """Arguments of the attack that a team was trained under."""
    trained = study(folder, name)["teams"]
    found: Row = trained[team if team in trained else "noop_control"]["attacks"][0]
    return {key: value for key, value in found.items() if key != "name"}


def comms_for(saved: SavedPolicy, world: World, name: str, arguments: Row | None, clipped: bool = False) -> Comms:
    """A team's message layer, with or without an attack, and with or without the defense `clip`."""
    attacks = [] if arguments is None else [Choice.model_validate({"name": name, **arguments})]
    defenses = [Choice(name="clip")] if clipped else []
    return make_comms(world, saved.policy, attacks, defenses, seed=derive(SEED, "network"))


def hijacked(saved: SavedPolicy, node: int, lie: Row | None) -> Row:
    """Measure who listens to the node, and how the team does when that node lies."""
    world = make_world(saved.environment, EPISODES)
    arguments = None if lie is None else {key: value for key, value in lie.items() if key != "name"}
    comms = comms_for(
        saved, world, "" if lie is None else lie["name"], None if arguments is None else {**arguments, "node": node}
    )
    source = saved.policy.topology.graph(None, 1).source[0]
    with closing(world):
        found = metrics.measure(play(world, saved.policy, comms, SEED))
    graph = [[int(j in heard) for j in range(len(source))] for heard in source.tolist()]
    return {"metrics": found, "graph": graph, "node": node, "env_steps": saved.details["env_steps"]}


LIES: dict[str, Row | None] = {
    "nothing": None,
    "control": {"name": "tamper", "how": "flip", "run_as": "control"},
    "flip": {"name": "tamper", "how": "flip"},
    "worst": {"name": "gradient", "goal": "worst", "epsilon": 3.0, "steps": 5},
}


def forced(saved: SavedPolicy, arguments: Row, reads: Reads) -> Row:
    """Measure gates and team while an attacker controls their sensors."""
    world = make_world(saved.environment, EPISODES)
    comms = comms_for(saved, world, "force_gate", arguments)
    if reads != "all":
        split(saved.policy, comms.adversary, reads)
    shown, before = torch.zeros((), dtype=torch.int64), torch.zeros(EPISODES, dtype=torch.int64)

    def follow(record: StepRecord) -> None:  # steps after an episode has ended do not count
        now = comms.adversary.guards[0].total
        shown.add_(((now - before) * record.running).sum())
        before.copy_(now)

    with closing(world):
        played = play(world, saved.policy, comms, SEED, follow=follow)
    saved.policy.__dict__.pop("listen", None)
    return {"metrics": metrics.measure(played) | {"readings_per_step": int(shown) / int(played.length.sum())}}


def split(policy: CommPolicy, adversary: Adversary, reads: Reads) -> None:
    """Let only the gates, or everything but the gates, read forged sensors."""
    on_observations, listen = adversary.on_observations, policy.listen

    def divided(observation: Tensor, world: World, step: Tensor, team: CommPolicy) -> Tensor:
        policy.__dict__["listen"] = listen  # the attack predicts the real gates
        forged = on_observations(observation, world, step, team)
        gated, seen = (forged, observation) if reads == "gates" else (observation, forged)
        policy.__dict__["listen"] = lambda hidden: listen(policy.encode(gated))
        return seen

    adversary.on_observations = divided


def triggered(saved: SavedPolicy, learned: Row, arguments: Row | None, clipped: bool) -> Row:
    """Measure the team's return, and how often members other than the node take the target action."""
    node, action = learned.get("node", 0), learned.get("action", 0)
    world = make_world(saved.environment, EPISODES)
    taken, asked = torch.zeros((), dtype=torch.int64), torch.zeros((), dtype=torch.int64)

    def follow(record: StepRecord) -> None:
        others = record.running.unsqueeze(1) & record.step.active
        others[:, node] = False
        taken.add_(((record.decision.action == action) & others).sum())
        asked.add_(others.sum())

    comms = comms_for(saved, world, "backdoor", arguments, clipped)
    with closing(world):
        found = metrics.measure(play(world, saved.policy, comms, SEED, follow=follow))
    return {"metrics": found | {"target": int(taken) / max(int(asked), 1)}, "env_steps": saved.details["env_steps"]}


def measure(name: str, key: Row, rows: list[Row], by: Callable[[], Row]) -> None:
    """Measure a cell unless it is recorded."""
    if any(all(row.get(k) == v for k, v in key.items()) for row in rows):
        return
    row = key | {"episodes": EPISODES} | by()
    path = pages.DOCS / "threats" / f"{name}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    append_line(path, row)
    rows.append(row)
    typer.echo(f"{name}: {', '.join(map(str, key.values()))}")


def cells(name: str) -> list[Row]:
    """The recorded cells."""
    path = pages.DOCS / "threats" / f"{name}.jsonl"
    return read_rows(path, None, str(path))[0]


def main(root: Annotated[Path, typer.Option(help="where folders of runs lie")] = ROOT) -> None:
    """Measure the cells that are missing."""
    torch.set_num_threads(1)
    rows = cells("gate_forcing")
    if (root / GATES / "config.yaml").exists():
        run = api.open_run(root / GATES)
        for seed in SEEDS:
            for form, (arguments, reads) in FORCED.items():
                key = {"form": form, "seed": seed}
                measure(
                    "gate_forcing",
                    key,
                    rows,
                    lambda s=seed, a=arguments, r=reads: forced(policy_file.load(run.policy("team", s)), a, r),
                )
    rows = cells("edge_hijack")
    for name, team, seed, saved in teams("hijack", root):
        for lie, arguments in LIES.items():
            key = {"study": name, "team": team, "seed": seed, "lie": lie}
            node = of_study("hijack", name, team)["node"]
            measure("edge_hijack", key, rows, lambda s=saved, n=node, a=arguments: hijacked(s, n, a))
    rows = cells("backdoor")
    for name, team, seed, saved in teams("backdoor", root):
        learned = of_study("backdoor", name, team)
        asks = {key: value for key, value in learned.items() if key != "run_as"} | {"share": 1.0}
        forms = {"nothing": None, "control": asks | {"run_as": "control"}, "trigger": asks, "trigger, clipped": asks}
        forms["other pattern"] = asks | {"pattern": 1}
        for form, given in forms.items():
            key = {"study": name, "team": team, "seed": seed, "form": form}
            measure("backdoor", key, rows, lambda s=saved, b=learned, a=given, c="clip" in form: triggered(s, b, a, c))


if __name__ == "__main__":
    typer.run(main)
