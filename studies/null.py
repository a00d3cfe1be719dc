"""A null experiment and known effects, on the real evaluation: do the statistics claim what is not, and find what is?

python studies/null.py    writes docs/null.md; takes a few minutes

Thirty scripted teams (``null_team.py``) ignore all messages, so no attack on messages and no defense can matter to
them; cells differ by decision noise alone. Claims as a page would make them are counted. Then three interventions
whose effect can be computed are estimated.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import binom

from agentcomm import api
from agentcomm.runs import policy_file
from agentcomm.runs.assembly import make_policy, make_world
from agentcomm.runs.config import parse
from agentcomm.runs.folder import create
from agentcomm.statistics import SHARE, SIGNIFICANT, Comparison, compare, family

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "null.md"
MEMBERS, STEPS, SEEDS, EPISODES = 5, 4, 30, 256
ATTACKS = ("drop", "noise", "replay", "impersonate", "tamper", "delay", "contradict", "flood")
DEFENSES = ("authenticate", "clip")
FAILURE, SHORT = 0.2, 2
Row = dict[str, Any]
Cells = dict[tuple[str, str, str], dict[int, float]]  # attack, defense, conditions -> success by seed


def config(seeds: int, episodes: int, noise: int) -> dict[str, Any]:
    """The run's config."""
    return {
        "name": "null",
        "environment": {
            "name": "agreement",
            "observation": "indices",
            "members": MEMBERS,
            "accuracy": 1.0,
            "max_steps": STEPS,
        },
        "policy": {"name": "deaf_voter", "noise": noise},
        "seeds": list(range(seeds)),
        "control": False,
        "evaluation": {"episodes": episodes, "recordings": 0},
        "plugins": ["null_team"],
        "plugin_folders": [str(HERE)],
    }


def evaluate(
    root: Path, seeds: int, episodes: int, noise: int, attacks: Sequence[str], defenses: Sequence[str]
) -> Cells:
    """Evaluate the grid, and the interventions whose effect is known; returns success by seed."""
    run = create(parse(config(seeds, episodes, noise), "studies/null.py").check(), root, trust=True)
    chosen = run.config
    for seed in chosen.seeds:
        policy = make_policy(chosen.policy, make_world(chosen.environment, 1), "team", seed)
        policy_file.save(run.policy("team", seed), policy, chosen.environment, chosen.policy, "team", seed, {})
    rows = api.evaluate(run, attacks, defenses, {}, trust=True, progress=False)
    known = {"environments": [{"failure": FAILURE}, {"max_steps": SHORT}]}
    rows += api.evaluate(run, ["stall"], [], known, trust=True, progress=False)
    found: Cells = defaultdict(dict)
    for row in {row["id"]: row for row in rows}.values():
        if row["status"] == "failed":
            raise RuntimeError(f"{row['id']}: {row['error']}")
        attack = row["attack"]["label"] if row["attack"] else "none"
        found[attack, row["defense_label"], row["conditions_label"]][row["seed"]] = row["metrics"]["success"]
    return found


def claims(cells: Cells) -> dict[str, Comparison]:
    """Every claim that a page would make of the null grid: attacks against clean, and defenses against none."""
    made = {}
    for (attack, defense, under), scores in cells.items():
        if under or attack == "stall":
            continue
        if attack != "none":
            made[f"{attack}, {defense}"] = compare(scores, cells["none", defense, ""], SHARE)
        elif defense != "none":
            made[f"cost of {defense}"] = compare(scores, cells["none", "none", ""], SHARE)
    return family(made)


def apart(cells: Cells) -> list[Comparison]:
    """Comparisons of disjoint pairs of cells, whose outcomes are independent of each other."""
    null = [scores for (attack, _, under), scores in cells.items() if not under and attack != "stall"]
    return [compare(one, other, SHARE) for one, other in zip(null[::2], null[1::2], strict=False)]


def success(chance: np.ndarray, steps: int = STEPS, failure: float = 0.0, stalled: int = 0) -> np.ndarray:
    """[..] chance of agreeing on the right answer, by the chance of a vote for it.

    All present members must vote alike. After each step, each of them fails with probability ``failure``, but one
    stays. A stalled member votes for the other symbol.
    """
    present = np.zeros((MEMBERS + 1, *chance.shape))
    present[MEMBERS] = 1.0
    right = np.zeros_like(chance)
    for _ in range(steps):
        after = np.zeros_like(present)
        for n in range(1, MEMBERS + 1):
            yes = chance ** (n - stalled) * (1 - chance) ** stalled
            no = (1 - chance) ** (n - stalled) * chance**stalled
            right += present[n] * yes
            going_on = present[n] * (1 - yes - no)
            for left in range(n + 1):
                after[max(left, 1)] += going_on * binom.pmf(left, n, 1 - failure)
        present = after
    return right


def truth(effect: Callable[[np.ndarray], np.ndarray]) -> float:
    """The mean over all teams of an effect, by the chance of a vote; chances are distributed evenly."""
    from null_team import LEAST, MOST

    middle = LEAST + (MOST - LEAST) * (np.arange(2000) + 0.5) / 2000
    return float(effect(middle).mean())


def known(cells: Cells) -> dict[str, tuple[Comparison, float]]:
    """Estimated and true change of the success rate by interventions whose effect can be computed."""
    clean = cells["none", "none", ""]
    under = {label: scores for (attack, _, label), scores in cells.items() if label and attack == "none"}
    failing = next(scores for label, scores in under.items() if "failure" in label)
    short = next(scores for label, scores in under.items() if "max_steps" in label)
    return {
        f"each member fails with probability {FAILURE} per step": (
            compare(failing, clean, SHARE),
            truth(lambda p: success(p, failure=FAILURE) - success(p)),
        ),
        f"{SHORT} steps instead of {STEPS}": (
            compare(short, clean, SHARE),
            truth(lambda p: success(p, steps=SHORT) - success(p)),
        ),
        "`stall`: one member votes for the other answer": (
            compare(cells["stall", "none", ""], clean, SHARE),
            truth(lambda p: success(p, stalled=1) - success(p)),
        ),
    }


def page(cells: Cells, seeds: int, episodes: int, seconds: float) -> str:
    """The page."""
    made, pairs = claims(cells), apart(cells)
    supported = [name for name, one in made.items() if one.supported]
    alone = sum(one.p <= SIGNIFICANT for one in made.values())
    rejected = sum(one.p <= SIGNIFICANT for one in pairs)
    adjusted = [one.p if one.adjusted is None else one.adjusted for one in made.values()]
    lines = [
        f"| claims of the grid that are supported (Holm) | {len(supported)} of {len(made)} |",
        f"| the same without adjustment, p <= 0.05; they share clean cells | {alone} of {len(made)} |",
        f"| disjoint pairs of cells with p <= 0.05 | {rejected} of {len(pairs)} |",
        f"| smallest p, and adjusted | {min(one.p for one in made.values()):.3f}, {min(adjusted):.2f} |",
    ]
    effects = []
    for name, (one, real) in known(cells).items():
        low, high = one.difference.interval or (np.nan, np.nan)
        covered = "yes" if low <= real <= high else "**no**"
        cells_ = (name, f"{real:+.3f}", f"{one.difference.value:+.3f}", f"{low:+.3f} to {high:+.3f}", covered)
        effects.append(f"| {' | '.join(cells_)} | {'yes' if one.supported else '**no**'} |")
    text = PAGE_TEXT.replace("SEEDS", str(seeds)).replace("EPISODES", str(episodes))
    text = text.replace(
        "GRID", f"{len(ATTACKS)} attacks on messages, each without defense and with {' and '.join(DEFENSES)}"
    )
    text = text.replace("SECONDS", f"{seconds:.0f}")
    return text.replace("CLAIMS", "\n".join(lines)).replace("EFFECTS", "\n".join(effects))


PAGE_TEXT = """# Null experiment and known effects

`python studies/null.py` evaluates SEEDS scripted teams with `agentcomm.evaluate` and applies the statistics of the
pages (`agentcomm/statistics/`). The teams vote by chance and ignore all messages. Measured in SECONDS s.

## Nothing is found where nothing is

GRID, EPISODES episodes per cell, success rate.
No attack on messages and no defense can matter to a team that reads none, but all cells differ by decision noise, and
teams differ in skill. At most 5% of the claims may be supported.

| | |
|---|---|
CLAIMS

## What is there is found

Change of the success rate, whose true mean over teams is computed from the rules of the environment:

| intervention | true | estimated | 95% interval | covered | supported |
|---|---|---|---|---|---|
EFFECTS
"""


def main() -> None:
    """Evaluate and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--episodes", type=int, default=EPISODES)
    parser.add_argument("--noise", type=int, default=0, help="seed of the decision noise")
    parser.add_argument("--output", type=Path, default=PAGE)
    asked = parser.parse_args()
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as root:
        cells = evaluate(Path(root), asked.seeds, asked.episodes, asked.noise, ATTACKS, DEFENSES)
    text = page(cells, asked.seeds, asked.episodes, time.perf_counter() - began)
    asked.output.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
