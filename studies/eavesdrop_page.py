"""Writes docs/eavesdrop.md: what an eavesdropper, or a member, learns about a trained team.

python studies/eavesdrop_page.py                  measures existing teams (runs/commformer) and writes the page
python studies/eavesdrop_page.py --no-measure     writes the page from docs/eavesdrop/results.json
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import matplotlib.pyplot as plt
import torch
import typer
from pages import COLORS, DOCS, over_seeds, table, text
from run import ROOT

from agentcomm import api
from agentcomm.base.files import write_text
from agentcomm.evaluation.leakage import SOURCES, intercept, measure_covert_leak, measure_leakage
from agentcomm.runs import policy_file
from agentcomm.runs.choices import PLAIN_TRANSPORT, Choice
from agentcomm.runs.folder import Run

RUNS = {
    "gates that open when they are worth it": "gates-action_0.03",
    "gates always open": "predator_capture_prey-learned",
}
EPISODES = 2048
NAMES = {"clock": "name and time alone", "sizes": "sizes and times", "payloads": "payloads"}
CURIOUS, ACCOMPLICE, SEED = 0, 2, 1000003  # the curious member; the receiver of the leaking one
LEAK = {"8 bits, 0.01": {}, "32 bits, 0.1": {"bits": 32, "epsilon": 0.1}, "its control": {"run_as": "control"}}
Results = dict[str, dict[str, dict[str, dict[str, dict[str, Any]]]]]  # team, seed, fact, source


def insiders(run: Run, seed: int) -> dict[str, Any]:
    """What a curious member infers from its messages and from shuffled ones, and what a leaking one tells another."""
    heard = intercept(run, seed, EPISODES, attack=Choice.model_validate({"name": "infer", "node": CURIOUS}))
    others = [agent for agent in range(int(heard.agent.max()) + 1) if agent != CURIOUS]
    asked = {
        "heard": measure_leakage(heard, agents=others),
        "shuffled": measure_leakage(heard.shuffled(), agents=others),
    }
    saved = policy_file.load(run.policy("team", seed))
    leaking = int(saved.policy.topology.graph(None, 1).source[0, ACCOMPLICE, 0])
    told = {}
    for name, arguments in LEAK.items():
        attack = Choice.model_validate({"name": "leak", "node": leaking, **arguments})
        found = measure_covert_leak(saved, attack, ACCOMPLICE, EPISODES // 2, SEED, PLAIN_TRANSPORT)
        told[name] = {
            "accuracy": found.accuracy,
            "bits": found.bits,
            "return": float(found.episodes.total_reward.mean()),
        }
    return {
        "infer": {how: {fact: asdict(by["payloads"]) for fact, by in facts.items()} for how, facts in asked.items()},
        "leak": told,
    }


def measure(root: Path) -> dict[str, Any]:
    """Findings on every team of both runs, and of members of the teams whose gates are always open."""
    run = api.open_run(root / "commformer" / RUNS["gates always open"])
    seeds = [seed for variant, seed in run.trained() if variant == "team"]
    return {"outside": outside(root), "inside": {str(seed): insiders(run, seed) for seed in seeds}}


def outside(root: Path) -> Results:
    """Findings of an eavesdropper on all links."""
    out: Results = {}
    for name, folder in RUNS.items():
        run = api.open_run(root / "commformer" / folder)
        seeds = [seed for variant, seed in run.trained() if variant == "team"]
        out[name] = {
            str(seed): {
                fact: {source: asdict(finding) for source, finding in by_source.items()}
                for fact, by_source in measure_leakage(intercept(run, seed, EPISODES)).items()
            }
            for seed in seeds
        }
    return out


def values(r: Results, team: str, fact: str, source: str, key: str) -> list[float]:
    """One number per seed for which the fact was probed."""
    return [facts[fact][source][key] for facts in r[team].values() if fact in facts]


def facts_of(r: Results) -> list[str]:
    """All facts that were probed on any team."""
    return list(dict.fromkeys(fact for team in r.values() for facts in team.values() for fact in facts))


def tables(r: Results, team: str) -> str:
    """Accuracy and bits, by fact and source."""
    rows = []
    for fact in facts_of(r):
        prior = text(over_seeds(values(r, team, fact, "clock", "prior")), 3)
        cells = []
        for source in SOURCES:
            accuracy = text(over_seeds(values(r, team, fact, source, "accuracy")), 3)
            cells.append(f"{accuracy}, {over_seeds(values(r, team, fact, source, 'bits')).value:.2f} bits")
        rows.append([fact, prior, *cells])
    return table(("fact", "prior", *NAMES.values()), rows)


def figure(r: Results) -> str:
    """Plot the bits that each source reveals about each fact."""
    facts = facts_of(r)
    picture, panels = plt.subplots(1, len(r), figsize=(8.4, 2.9), sharex=True, sharey=True)
    for axes, team in zip(panels, r, strict=True):
        for place, source in enumerate(SOURCES):
            for number, fact in enumerate(facts):
                e = over_seeds(values(r, team, fact, source, "bits"))
                low, high = e.interval or (e.value, e.value)
                at = number + 0.25 * (place - 1)
                label = NAMES[source] if not number else None
                axes.barh(at, e.value, 0.22, color=COLORS[place], label=label)
                axes.plot([low, high], [at, at], color="black", lw=0.8)
        axes.set_title(team, fontsize=9)
        axes.set_yticks(range(len(facts)), facts)
        axes.set_xlabel("bits learned")
    panels[0].invert_yaxis()
    panels[0].legend(fontsize=7)
    (DOCS / "eavesdrop").mkdir(parents=True, exist_ok=True)
    picture.savefig(DOCS / "eavesdrop" / "bits.svg", bbox_inches="tight", metadata={"Date": None})
    plt.close(picture)
    return "![bits](eavesdrop/bits.svg)\n"


def inside(found: dict[str, Any]) -> str:
    """What members infer about each other, and what they leak."""
    rows = []
    for fact in dict.fromkeys(fact for seed in found.values() for fact in seed["infer"]["heard"]):
        known = [seed["infer"] for seed in found.values() if fact in seed["infer"]["heard"]]
        real, dealt = ([by[how][fact]["accuracy"] for by in known] for how in ("heard", "shuffled"))
        prior = [by["heard"][fact]["prior"] for by in known]
        bits = over_seeds([by["heard"][fact]["bits"] for by in known]).value
        rows.append([fact, *(text(over_seeds(v), 3) for v in (prior, dealt, real)), f"{bits:.2f}"])
    asked = table(("fact", "prior", "shuffled messages", "its messages", "bits"), rows)
    told = []
    for name in LEAK:
        each = [seed["leak"][name] for seed in found.values()]
        told.append([name, *(text(over_seeds([e[key] for e in each]), 3) for key in ("accuracy", "bits", "return"))])
    return f"""## From inside

A curious member (attack `infer`, agent {CURIOUS}) infers what others know from the messages that it receives. Its
control receives messages of the same agents and steps, shuffled among the episodes.

{asked}
A leaking member (attack `leak`) writes secret bits into the low digits of its ordinary messages and changes each number
by at most the stated amount; the blind agent, which hears it, reads them. The team's return does not reveal it.

{table(("hidden", "bits read correctly", "bits per step", "return"), told)}"""


def page(results: dict[str, Any]) -> str:
    """The page."""
    r: Results = results["outside"]
    parts = "\n".join(f"## Teams with {team}\n{len(r[team])} teams.\n\n{tables(r, team)}" for team in r)
    gated, seen = next(iter(r)), "sees the prey"
    sizes, payloads, prior = (
        over_seeds(values(r, gated, seen, source, key)).value
        for source, key in (("sizes", "accuracy"), ("payloads", "accuracy"), ("clock", "prior"))
    )
    return f"""# What an eavesdropper learns

An eavesdropper listens to all links of a trained team (attack `eavesdrop`, which reads and changes nothing) and wants
to know what agents know. A small network (`agentcomm/evaluation/probe.py`) is trained on half of {EPISODES} episodes
to predict a fact about an agent at a step, and tested on a held-out quarter. It knows the time, and the agent's name
unless the fact is the role. It also sees either the *payloads* of that agent's messages, or only the *sizes* of
messages to and from it in the last four steps, which encryption leaves visible. All messages of these teams have the
same length, so sizes only show which messages were sent, and when. *Prior* is the share of the most frequent class.
Bits are what the probe gains over the frequencies of the fact, a lower bound on the leakage.

`python studies/eavesdrop_page.py` writes this page: Predator-Capture-Prey, greedy decisions, means over teams with 95%
intervals.

{parts} {figure(r)} **Encryption does not hide what gates reveal.** An agent listens while it has not found the prey,
so whether messages arrive tells an eavesdropper whether the agent sees the prey: it is correct in {sizes:.1%} of all
cases, against {prior:.1%} a priori and {payloads:.1%} from payloads. Where gates are always open, sizes and times
reveal nothing beyond name and time, except for the role: agents that have no listeners send nothing. That is the
graph, which is visible to everyone.

{inside(results["inside"])}"""


def main(
    root: Annotated[Path, typer.Option(help="where folders of runs lie")] = ROOT,
    measuring: Annotated[bool, typer.Option("--measure/--no-measure", help="or only write the page")] = True,
) -> None:
    """Measure, and write docs/eavesdrop.md."""
    torch.set_num_threads(1)
    path = DOCS / "eavesdrop" / "results.json"
    if measuring:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(measure(root)))
    write_text(DOCS / "eavesdrop.md", page(json.loads(path.read_text(encoding="utf-8"))))


if __name__ == "__main__":
    typer.run(main)
