"""Train teams in environments of other packages, and evaluate them under two attacks and a defense.

python studies/third_party.py                  everything that is missing, and the page
python studies/third_party.py spread lbf       two environments
python studies/third_party.py --steps 2000 --root /tmp/try spread    a trial, whose page is /tmp/try/third_party.md

All environments have the same policy, arguments of training and budget, none of which was tuned: the page shows that
they run, not how well they can be learned. Finished teams and cells are kept: run it again to resume.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from agentcomm import api
from agentcomm.base.errors import RunError
from agentcomm.contracts.continuous import Continuous
from agentcomm.contracts.discrete import Discrete
from agentcomm.runs.assembly import make_world
from agentcomm.runs.choices import Choice
from agentcomm.runs.config import RunConfig, parse
from agentcomm.runs.folder import Run, open_run

ROOT = Path("runs/third_party")
DOCS = Path(__file__).parents[1] / "docs"
MPE = "pettingzoo:mpe2.simple_{},max_steps=25"
# Their texts, by name. SMAX and VMAS need the extras smax and vmas.
ENVIRONMENTS = {
    "speaker_listener": MPE.format("speaker_listener_v4:parallel_env"),
    "reference": MPE.format("reference_v3:parallel_env"),
    "spread": MPE.format("spread_v3:parallel_env"),
    "spread_continuous": MPE.format("spread_v3:parallel_env") + ",arguments.continuous_actions=true",
    "crypto": MPE.format("crypto_v3:parallel_env"),
    "world_comm": MPE.format("world_comm_v3:parallel_env"),
    "pursuit": "pettingzoo:pettingzoo.sisl.pursuit_v5:parallel_env,max_steps=100",
    "multiwalker": "pettingzoo:pettingzoo.sisl.multiwalker_v9:parallel_env,max_steps=200",
    "lbf": "gymnasium:lbforaging:Foraging-8x8-2p-2f-v3,max_steps=50",
    "rware": "gymnasium:rware:rware-tiny-2ag-v2,max_steps=200",
    "battle": "pettingzoo:magent2.environments.battle_v4:parallel_env,arguments.map_size=16,max_steps=100",
    "smax": "pettingzoo:agentcomm.pettingzoo.smax:parallel_env,max_steps=100",
    "vmas": "pettingzoo:agentcomm.pettingzoo.vmas:parallel_env,arguments.scenario=discovery,max_steps=100",
}
OPTIONAL = ("smax", "vmas")
ATTACKS = ("drop", "noise:epsilon=4")
DEFENSE = "clip"
STEPS, EPISODES, PROCESSES = 50_000, 64, 2
console = Console()


def config(name: str, steps: int) -> RunConfig:
    """The config of an environment's run."""
    environment = Choice.parse(f"{ENVIRONMENTS[name]},processes={PROCESSES}")
    data: dict[str, Any] = {
        "name": name,
        "environment": environment.model_dump(),
        "policy": {"name": "commformer", "width": 32, "topology": {"name": "full"}},
        "training": {"env_steps": steps, "worlds": 16, "fragment": 32, "threads": 1, "evaluate_every": 0},
        "evaluation": {
            "attacks": list(ATTACKS),
            "defenses": [DEFENSE],
            "episodes": EPISODES,
            "recordings": 0,
            "decisions": "sampled",
        },
    }
    return parse(data, f"the config of {name}")


def run(name: str, steps: int, root: Path) -> Run:
    """Train and evaluate what is missing in an environment; ``seconds`` beside the run has what training took."""
    chosen = config(name, steps)
    try:
        done = open_run(root / name, trust=True)
        trained = len(done.trained()) == 2
    except RunError:
        trained = False
    if not trained:
        began = time.monotonic()
        done = api.train(chosen, root=root, resume=(root / name).exists(), trust=True)
        (root / f"{name}.seconds").write_text(f"{time.monotonic() - began:.0f}", encoding="utf-8")
    for row in api.evaluate(done):
        if row["status"] == "failed":
            console.print(f"failed: {name} {row['id']}: {row['error']}", markup=False)
    return done


def line(name: str, root: Path) -> str:
    """An environment's line of the table: returns of the team, clean and attacked, and of the control."""
    rows = [row for row in api.evaluate(open_run(root / name, trust=True)) if row["status"] == "ok"]

    def shown(variant: str = "team", attack: str | None = None, defended: bool = False) -> str:
        for row in rows:
            about = row["attack"] and row["attack"]["name"]
            if (row["variant"], about, bool(row["defenses"])) == (variant, attack, defended):
                return f"{row['metrics']['mean_return']:.2f}"
        return "-"

    with closing(make_world(config(name, STEPS).environment, 1)) as world:
        kind = {Discrete: "discrete", Continuous: "continuous"}.get(type(world.actions), "multi-discrete")
        team = f"{world.num_agents} | {kind}{', masks' if world.masks_actions else ''}"
    untrained = next((row["references"]["untrained"]["mean_return"] for row in rows if row.get("references")), None)
    drop, noise = (attack.partition(":")[0] for attack in ATTACKS)
    seconds = (root / f"{name}.seconds").read_text(encoding="utf-8")
    cells = [
        shown(),
        shown("control"),
        "-" if untrained is None else f"{untrained:.2f}",
        shown(attack=drop),
        shown(attack=noise),
        shown(defended=True),
        shown(attack=noise, defended=True),
        seconds,
    ]
    return f"| {name} | {team} | {' | '.join(cells)} |"


def page(names: Sequence[str], root: Path, steps: int) -> str:
    """The page."""
    lines = "\n".join(line(name, root) for name in names if (root / name).exists())
    commands = "\n".join(f"| {name} | `{ENVIRONMENTS[name]}` |" for name in names)
    return f"""# Environments of other packages

**Question.** Do environments that were written for other purposes train, and can they be attacked, as they are?

CommFormer with a full graph, one team each, trained for {steps:,} steps with the same arguments, none of which was
tuned, and the same team retrained without messages. Mean returns of the team in {EPISODES} episodes with sampled
actions; a single team says nothing about the next one. *Untrained* are the initial weights. The attacks drop all
messages, or add noise of norm 4 to them; the defense clips messages. With so small a budget, most teams have learned
little: read a row only where *team* is above *untrained*, and the value of messages only where *team* is above
*without messages*. In crypto, world_comm and battle some agents are opponents of others, so that a mean over all of
them says little.

| environment | agents | actions | team | without messages | untrained | drop | noise | clip | noise, clip | seconds |
|---|---|---|---|---|---|---|---|---|---|---|
{lines}

*Seconds* are what training of both teams took, in {PROCESSES} processes beside the one that learns.

## Environments

| environment | named by |
|---|---|
{commands}

`python studies/third_party.py` trains and evaluates what is missing, and writes this page.
"""


def main(
    names: Annotated[list[str] | None, typer.Argument(help=f"some of {', '.join(ENVIRONMENTS)}")] = None,
    steps: Annotated[int, typer.Option(help="environment steps of each team")] = STEPS,
    root: Annotated[Path, typer.Option(help="where runs lie")] = ROOT,
) -> None:
    """Train and evaluate what is missing, and write the page."""
    if unknown := set(names or ()) - set(ENVIRONMENTS):
        raise typer.BadParameter(f"there is no {', '.join(unknown)}; there are {', '.join(ENVIRONMENTS)}")
    chosen = names or [name for name in ENVIRONMENTS if name not in OPTIONAL]
    for name in chosen:
        console.print(name)
        run(name, steps, root)
    done = [name for name in ENVIRONMENTS if (root / f"{name}.seconds").exists()]
    target = DOCS if root == ROOT else root
    (target / "third_party.md").write_text(page(done, root, steps), encoding="utf-8")
    console.print(f"{target / 'third_party.md'} is written")


if __name__ == "__main__":
    typer.run(main)
