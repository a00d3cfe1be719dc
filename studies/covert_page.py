"""Writes docs/covert.md: what a compromised agent can tell through its actions.

python studies/covert_page.py                  measures what docs/covert/results.json lacks and writes the page
python studies/covert_page.py --no-measure     writes the page from docs/covert/results.json
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import matplotlib.pyplot as plt
import numpy as np
import torch
import typer
from pages import COLORS, DOCS, over_seeds, table, text
from run import ROOT
from torch import Tensor

from agentcomm import api
from agentcomm.base.files import write_text
from agentcomm.base.seeds import derive
from agentcomm.contracts.policy import CommPolicy
from agentcomm.evaluation.play import play
from agentcomm.evaluation.statistics import bootstrap, percentile_interval
from agentcomm.runs import policy_file
from agentcomm.runs.assembly import make_comms, make_world
from agentcomm.runs.choices import Choice
from agentcomm.step.decide import decide
from agentcomm.step.loop import StepRecord
from attacks.insider.coupling import Listener, action_distributions, entropy, marginal_deviation

RUN = Path("commformer") / "predator_capture_prey-learned"
SEED, SECRETS = 1000003, 64
RANDOM = ((16, 8, 1.0), (64, 8, 1.0), (256, 16, 1.0), (64, 8, 0.1), (64, 16, 0.1))
WARDENS, HORIZONS, TEMPERATURES = (0.0, 0.05, 0.1, 0.2, 0.4), (8, 16, 32), (1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)
SESSION = 512
Results = dict[str, Any]


def tell(
    worlds: int, secrets: int, steps: int, concentration: float, eps: float = 0.0, assumed: float = 0.0
) -> Results:
    """Tell random secrets through actions of random policies over five actions, in all worlds at once."""
    g = torch.Generator().manual_seed(0)
    rng = np.random.default_rng(0)
    listener = Listener(worlds, secrets, assumed)
    truth = torch.full((worlds, secrets), 1 / secrets, dtype=torch.float64)  # an observer that knows the warden
    secret, everyone = torch.randint(secrets, (worlds,), generator=g), torch.arange(worlds)
    deviation, uncertain = 0.0, 0.0
    for _ in range(steps):
        policy = torch.as_tensor(rng.dirichlet(np.full(5, concentration), worlds))
        by_secret = action_distributions(listener.belief, policy)
        deviation = max(deviation, float(marginal_deviation(truth, by_secret, policy).max()))
        action = torch.multinomial(by_secret[everyone, secret], 1, generator=g).squeeze(1)
        resampled = torch.rand(worlds, generator=g) < eps
        action = torch.where(resampled, torch.multinomial(policy, 1, generator=g).squeeze(1), action)
        listener.see(policy, action)
        told = by_secret[everyone, :, action]
        truth = truth * ((1 - eps) * told + eps * policy[everyone, action].unsqueeze(1))
        truth = truth / truth.sum(1, keepdim=True)
        uncertain += float(entropy(policy).mean())
    decoded = float((listener.guess == secret).double().mean())
    return {"decoded": decoded, "bits": float(listener.bits.mean()), "entropy": uncertain, "deviation": deviation}


def soften(policy: CommPolicy, temperature: float) -> None:
    """Make a team act less deterministically: divide its logits by the temperature."""
    act = policy.act
    policy.act = lambda hidden: act(hidden) / temperature  # type: ignore[method-assign]


def episodes(
    folder: Path, node: int, secrets: int | None, count: int, temperature: float = 1.0, eps: float = 0.0
) -> Results:
    """Run a team whose actions are sampled, honest or with a covert channel, and decode the secret.

    The observer sees actions that count only, not those of an agent that has finished its part.
    """
    saved = policy_file.load(folder)
    world = make_world(saved.environment, count)
    soften(saved.policy, temperature)
    attacks, defenses = [], []
    if secrets is not None:
        attacks.append(Choice.model_validate({"name": "covert", "node": node, "messages": secrets, "resample": eps}))
    if eps:
        defenses.append(Choice.model_validate({"name": "warden", "probability": eps}))
    comms = make_comms(world, saved.policy, attacks, defenses, SEED)
    listener = Listener(count, secrets or 2, eps)
    uncertain, secret = torch.zeros(count, dtype=torch.float64), torch.full((count,), -1)

    def follow(record: StepRecord) -> None:
        policy = record.decision.logits[:, node].double().softmax(-1)
        seen = record.running & record.step.active[:, node]
        uncertain.add_(entropy(policy) * seen)
        if secrets is not None:
            listener.see(policy, record.decision.action[:, node], seen)
            secret.copy_(torch.where(record.running, comms.adversary.action_guards[0].secret, secret))

    generator = torch.Generator().manual_seed(derive(SEED, "decisions"))
    played = play(world, saved.policy, comms, SEED, generator=generator, follow=follow)
    out: Results = {"returns": played.total_reward.double(), "entropy": float(uncertain.mean())}
    out |= {"steps": float(played.length.double().mean()), "success": float(played.success.double().mean())}
    if secrets is not None:
        guard = comms.adversary.action_guards[0]
        out |= {
            "bits": float(listener.bits.mean()),
            "decoded": float((listener.guess == secret).double().mean()),
            "deviation": float(guard.deviation.max()),
            "violations": dict(guard.base.violations),
        }
    return out


def compare(folder: Path, node: int, secrets: int, count: int, temperature: float = 1.0, eps: float = 0.0) -> Results:
    """Run the same episodes with and without the channel, and compare their returns."""
    honest, covert = (episodes(folder, node, s, count, temperature, eps) for s in (None, secrets))
    difference: Tensor = covert.pop("returns") - (returns := honest.pop("returns"))
    drawn = bootstrap(difference.numpy(), np.random.default_rng(0))
    paired = {"honest": float(returns.mean()), "difference": float(difference.mean())}
    return covert | paired | {"interval": percentile_interval(drawn), "honest_steps": honest["steps"]}


@torch.no_grad()
def session(folder: Path, node: int, temperature: float, worlds: int) -> list[float]:
    """Share of secrets decoded after each step, for teams that keep one secret over many episodes.

    Guard and observer are not told that an episode has ended: the agent keeps its memory.
    """
    saved = policy_file.load(folder)
    policy, world = saved.policy.eval(), make_world(saved.environment, worlds)
    soften(policy, temperature)
    choice = Choice.model_validate({"name": "covert", "node": node, "messages": SECRETS})
    comms = make_comms(world, policy, [choice], seed=SEED)
    graph, seen = policy.topology.graph(None, worlds), world.reset(SEED)
    generator = torch.Generator().manual_seed(derive(SEED, "decisions"))
    guard, out = comms.adversary.action_guards[0], []
    for _ in range(SESSION):
        d = decide(policy, seen, graph, comms, world.length.clone(), generator)
        seen = world.step(d.action).observation
        out.append(float((guard.posterior.argmax(1) == guard.secret).double().mean()))
    return out


def measure(root: Path, path: Path, count: int) -> None:
    """Measure what is not in the file yet, part by part, so that an interrupted run can be resumed."""
    run = api.open_run(root / RUN)
    teams = {seed: run.policy(variant, seed) for variant, seed in run.trained() if variant == "team"}
    first, world = teams[min(teams)], make_world(run.config.environment, 1)
    capture = world.num_agents - 1
    parts: dict[str, Callable[[], Any]] = {
        "agents": lambda: list(world.agents),
        "seeds": lambda: sorted(teams),
        "episodes": lambda: count,
        "random": lambda: [[m, t, c, tell(count, m, t, c)] for m, t, c in RANDOM],
        "trained": lambda: {
            s: [compare(f, node, SECRETS, count) for node in range(world.num_agents)] for s, f in teams.items()
        },
        "two": lambda: {s: compare(f, capture, 2, count) for s, f in teams.items()},
        "soft": lambda: {t: compare(first, capture, SECRETS, count, t) for t in TEMPERATURES},
        "session": lambda: {t: session(first, capture, t, min(count, 1000)) for t in (1.0, 2.0, 4.0)},
        "watched": lambda: {eps: compare(first, capture, SECRETS, count, eps=eps) for eps in WARDENS},
        "warden": lambda: [
            [t, e, tell(count, SECRETS, t, 1.0, e), tell(count, SECRETS, t, 1.0, e, e)]
            for t in HORIZONS
            for e in WARDENS
        ],
    }
    done: Results = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for name, part in parts.items():
        if name not in done:
            done[name] = part()
            write_text(path, json.dumps(done))
            typer.echo(f"{name} measured")


def first_above(shares: list[float], wanted: float = 0.95) -> str:
    """Number of steps after which the share stays above the wanted one."""
    below = [step for step, share in enumerate(shares) if share < wanted]
    return str(below[-1] + 2) if below and below[-1] + 1 < len(shares) else f"more than {len(shares)}"


def figure(r: Results) -> str:
    """Bits against what a team loses by acting less deterministically, and decoding over a session."""
    picture, (left, right) = plt.subplots(1, 2, figsize=(8.4, 3.2))
    soft = r["soft"]
    left.plot([v["honest_steps"] for v in soft.values()], [v["entropy"] for v in soft.values()], "o--", color=COLORS[4])
    left.plot([v["honest_steps"] for v in soft.values()], [v["bits"] for v in soft.values()], "o-", color=COLORS[0])
    for t, v in soft.items():
        if float(t) == 1 or float(t) >= 3:  # the others lie on top of each other
            left.annotate(f"T={float(t):g}", (v["honest_steps"], v["bits"]), xytext=(4, -9), textcoords="offset points")
    left.axhline(np.log2(SECRETS), color=COLORS[1], lw=0.8)
    left.set_ylim(0, None)
    left.set_xlabel("steps per episode of the honest team")
    left.set_ylabel("bits per episode")
    left.legend(["left open by the policy", "decoded", "in a secret"], fontsize=7)
    for (t, shares), color in zip(r["session"].items(), COLORS, strict=False):
        right.plot(range(1, len(shares) + 1), shares, color=color, label=f"temperature {float(t):g}")
    right.axhline(0.95, color=COLORS[4], lw=0.8)
    right.set_xlabel("steps, episode after episode")
    right.set_ylabel(f"share of {SECRETS} secrets decoded")
    right.legend(fontsize=7)
    (DOCS / "covert").mkdir(parents=True, exist_ok=True)
    left.margins(x=0.1)
    picture.tight_layout()
    picture.savefig(DOCS / "covert" / "bits.svg", bbox_inches="tight", metadata={"Date": None})
    plt.close(picture)
    return "![bits](covert/bits.svg)\n"


def paired(v: Results) -> str:
    """Difference of returns with its interval."""
    low, high = v["interval"]
    return f"{v['difference']:+.4f} ({low:+.4f} to {high:+.4f})"


def page(r: Results) -> str:
    """The page."""
    random = [
        [
            str(m),
            str(t),
            f"{c:g}",
            f"{v['decoded']:.1%}",
            f"{v['bits']:.2f}",
            f"{v['entropy']:.1f}",
            f"{v['deviation']:.0e}",
        ]
        for m, t, c, v in r["random"]
    ]
    warden = [
        [
            str(t),
            f"{e:g}",
            f"{naive['decoded']:.1%}",
            f"{naive['deviation']:.2g}",
            f"{aware['decoded']:.1%}",
            f"{aware['deviation']:.0e}",
        ]
        for t, e, naive, aware in r["warden"]
    ]
    trained = []
    for node, name in enumerate(r["agents"]):
        each = [by_node[node] for by_node in r["trained"].values()]
        means = [text(over_seeds([v[key] for v in each]), 3) for key in ("entropy", "bits", "decoded")]
        largest, change = max(v["deviation"] for v in each), over_seeds([v["difference"] for v in each])
        trained.append([name, *means, f"{largest:.0e}", text(change, 4)])
    two = list(r["two"].values())
    halves = text(over_seeds([v["decoded"] for v in two]), 3), text(over_seeds([v["bits"] for v in two]), 3)
    watched = [
        [e, f"{v['bits']:.2f}", f"{v['decoded']:.1%}", f"{v['deviation']:.0e}", f"{v['honest_steps']:.2f}", paired(v)]
        for e, v in r["watched"].items()
    ]
    soft = [
        [t, f"{v['honest_steps']:.2f}", f"{v['entropy']:.2f}", f"{v['bits']:.2f}", f"{v['decoded']:.1%}", paired(v)]
        for t, v in r["soft"].items()
    ]
    long = ", ".join(f"{first_above(s)} (temperature {float(t):g})" for t, s in r["session"].items())
    full = f"{np.log2(SECRETS):.0f}"
    seeds = ", ".join(map(str, r["seeds"]))
    tables = {
        "random": table(
            ("secrets", "steps", "concentration", "decoded", "bits", "entropy", "largest deviation"), random
        ),
        "trained": table(
            ("agent", "entropy, bits", "decoded, bits", "decoded, share", "largest deviation", "change of return"),
            trained,
        ),
        "soft": table(
            ("temperature", "steps, honest", "entropy, bits", "decoded, bits", "decoded, share", "change of return"),
            soft,
        ),
        "warden": table(
            ("steps", "resampled", "naive: decoded", "naive: deviation", "aware: decoded", "aware: deviation"), warden
        ),
        "watched": table(
            ("resampled", "decoded, bits", "decoded, share", "deviation", "steps, honest", "change of return"), watched
        ),
    }
    return f"""# A secret in an agent's actions

A compromised agent tells a colluding observer one of {SECRETS} secrets ({full} bits) through its *actions*. It sends no
messages, and its actions follow its own policy's distribution: without the secret, no difference can be seen.
The agent couples its policy's distribution with the observer's current belief, with as little entropy as possible
(`attacks/insider/coupling.py`; arXiv 2107.08295, 2410.21666). The observer knows the policy and everything that the
agent sees and hears, and watches what it does. The guard draws the action. It also computes the distribution of actions
for an observer that knows everything but the secret: *deviation* is the largest difference between that distribution
and the policy's (`agentcomm/guards/actions.py`).

`python studies/covert_page.py` writes this page. Actions are *sampled*, which is the honest baseline: a team that
decides greedily leaves no entropy, so nothing can be told. Bits are what the observer knows at the end of an episode.

## Random policies
Policies over five actions, drawn in each step from a Dirichlet distribution (concentration 1: uniform over all
distributions; 0.1: nearly deterministic); {r["episodes"]} episodes each. *Entropy* is that of the policies in bits per
episode, an upper bound on what can be told.

{tables["random"]}
## A trained team
Predator-Capture-Prey, teams of seeds {seeds}, {r["episodes"]} episodes each, one of {SECRETS} secrets per episode.
Means over teams with 95% intervals. The last column is the change of the team's return, paired: the same episodes with
the same noise.

{tables["trained"]}
Trained teams are nearly deterministic, and episodes are short. The agent can tell no more than the entropy of its
policy, not {full} bits in an episode. Of *two* secrets, the capturing agent's is decoded in a share of {halves[0]} of
the episodes, {halves[1]} bits.

There are two ways around this. An agent that keeps its memory can tell one secret over several episodes: 95% of
{SECRETS} secrets are decoded after this many steps: {long}.
And a team that acts less deterministically, with its logits divided by a temperature, leaves more entropy. It pays for
that in its task, whether anything is told or not (seed {r["seeds"][0]}, the capturing agent):

{tables["soft"]}
{figure(r)}
## A warden
The defense `warden` resamples an action from the policy with some probability. That costs honest agents nothing. On
random policies (concentration 1, {SECRETS} secrets), a pair that does not know of the warden decodes wrongly and gives
itself away: its belief is wrong, so to an observer that knows of the warden the actions no longer follow the policy. A
pair that expects the warden needs more steps and stays hidden.

{tables["warden"]}
On the trained team (seed {r["seeds"][0]}, the capturing agent, a pair that expects the warden):

{tables["watched"]}
What helps: greedy actions, or noise that the warden can recompute, so that it knows what an honest agent would have
done. No test of action statistics helps against a pair that knows of the warden.
"""


def main(
    root: Annotated[Path, typer.Option(help="where folders of runs lie")] = ROOT,
    count: Annotated[int, typer.Option("--episodes", help="episodes per measurement")] = 4096,
    measuring: Annotated[bool, typer.Option("--measure/--no-measure", help="or only write the page")] = True,
) -> None:
    """Measure, and write docs/covert.md."""
    torch.set_num_threads(1)
    path = DOCS / "covert" / "results.json"
    if measuring:
        path.parent.mkdir(parents=True, exist_ok=True)
        measure(root, path, count)
    results = json.loads(path.read_text(encoding="utf-8"))
    write_text(DOCS / "covert.md", page(results))


if __name__ == "__main__":
    typer.run(main)
