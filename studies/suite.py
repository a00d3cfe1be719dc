"""The suite of docs/countermeasures.md: tasks, attacks, and the defenses that are deployed against them.

Targets are the attacks that a defense is made against. They were declared before anything was evaluated, with one
exception: the lying minority of Agreement was chosen after a look at one team, on which one lying member did little.
The attacks on a share of the messages were added once the others had shown that on the wire an attacker of all messages
leaves nothing to any defense; they were declared before any of their cells was evaluated.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

from agentcomm.base import registry
from agentcomm.contracts.attack import hooks
from agentcomm.contracts.defense import Defense
from agentcomm.runs.choices import Choice


class Deployed(NamedTuple):
    """Defenses that are deployed together.

    Attributes:
        group: Written as for ``agentcomm evaluate --defense``.
        targets: The attacks that it is made against.
    """

    group: str
    targets: tuple[str, ...]


class Task(NamedTuple):
    """A task with its teams, its attacks and its defenses.

    Attributes:
        title: As the page names it.
        run: The teams; their controls have no messages.
        metric: The environment's score, a metric of rows.
        better: Which way it improves.
        suite: Attacks on all messages, which each defense meets besides those that it is made against.
        limited: The same attacks on a share of the messages.
        deployed: Defenses.
        teams: How many teams meet the attacks that were written against their defense, which are the slowest.
    """

    title: str
    run: str
    metric: str
    better: Literal["higher", "lower"]
    suite: tuple[str, ...]
    limited: tuple[str, ...]
    deployed: tuple[Deployed, ...]
    teams: int = 5

    @property
    def known(self) -> tuple[Deployed, ...]:
        """Defenses all of whose plug-ins are installed."""
        return tuple(one for one in self.deployed if installed(one.group))

    @property
    def declared(self) -> tuple[str, ...]:
        """The whole suite."""
        return tuple(dict.fromkeys((*self.suite, *self.limited)))

    def attacks(self, one: Deployed) -> tuple[str, ...]:
        """Attacks that a defense meets on all teams: the suite and its targets."""
        return tuple(dict.fromkeys((*self.declared, *one.targets)))

    def adaptive(self, one: Deployed) -> tuple[str, ...]:
        """Attacks that were written against a defense."""
        return adaptive(one.group, self.run == MARKET)


def names(group: str) -> tuple[str, ...]:
    """Names of the defenses in a group."""
    return tuple(Choice.parse(part).name for part in group.split("+"))


def installed(group: str) -> bool:
    """Whether all defenses of a group are installed."""
    return set(names(group)) <= {"none", *registry.names("defense")}


def able(attack: str) -> bool:
    """Whether an attack is installed."""
    return Choice.parse(attack).name in registry.names("attack")


def plugins(group: str) -> Iterator[type[Defense]]:
    """The plug-ins of a group."""
    for name in names(group):
        yield registry.find("defense", name)


def adaptive(group: str, directory: bool) -> tuple[str, ...]:
    """Attacks that were written against a group's last defense; those on a directory only where there is one."""
    *_, last = plugins(group)
    found = {a: hooks(registry.find("attack", Choice.parse(a).name)) for a in last.adaptive if able(a)}
    return tuple(attack for attack, used in found.items() if directory or "on_directory" not in used)


def _each(targets: tuple[str, ...], *groups: str) -> tuple[Deployed, ...]:
    return tuple(Deployed(group, targets) for group in groups)


DROP, NOISE, TAMPER, SWAP = "drop:probability=0.5", "noise", "tamper", "tamper:how=swap"
MEMBER, REPLAY, FORGED = "tamper:node=0", "replay", "impersonate"
GRADIENT = "gradient:epsilon=0.5,steps=1"
SHARE = "probability=0.33"  # of the messages that an attacker with a limit reaches
SOME = (f"noise:{SHARE}", f"tamper:{SHARE}", f"{GRADIENT},{SHARE}")
LATE, DRIFT, FLOOD = "delay", "drift", "flood"
ON_WIRE = (TAMPER, FORGED, REPLAY)

CAPTURE = Task(
    "Predator-Capture-Prey",
    "capture_defended",
    "mean_steps",
    "lower",
    (NOISE, TAMPER, MEMBER, DROP, GRADIENT),
    (*SOME, DROP),
    (
        *_each(ON_WIRE, "authenticate", "authenticate+clip", "authenticate+hold_last", "authenticate+quarantine"),
        *_each(ON_WIRE, "authenticate+rekey", "authenticate+shut_gate", "authenticate+repair", "authenticate+audit"),
        *_each((*ON_WIRE, NOISE), "authenticate+clip+repair"),
        *_each((NOISE,), "clip", "hold_last"),
        *_each((FLOOD,), "authenticate+quota"),
        *_each((FORGED,), "authenticate+capability", "authenticate+authorize"),
        *_each(
            (NOISE, TAMPER),
            "outliers",
            "reconstruct",
            "reliability",
            "latent_experts:unauthenticated=true",
            "gaussian_process:unauthenticated=true",
        ),
        *_each((DRIFT,), "drift_alarm:unauthenticated=true"),
        *_each((LATE,), "timeliness"),
        *_each((MEMBER,), "authenticate+reputation"),
        *_each((), "padding", "constant_rate", "authenticate+hop_limit", "authenticate+taint"),
    ),
)
# Claims about single defenses, fixed before evaluation.
TARGETED = (("authenticate", TAMPER), ("clip", NOISE), ("authenticate", GRADIENT), ("outliers", NOISE))
MINORITY = "collude:share=0.25"  # two messages of eight, which tell each receiver the same lie
THIRD = "tamper:probability=0.3"
AGREEMENT = Task(
    "Agreement of nine",
    "agreement_9",
    "mean_return",
    "higher",
    (NOISE, MINORITY, DROP, GRADIENT),
    (*SOME, MINORITY, DROP),
    (
        *_each((MINORITY,), "median", "trimmed_mean", "krum", "geometric_median", "w_msr", "cross_check"),
        *_each((MINORITY,), "ensemble:k=2", "graph_anomaly", "authenticate+reputation", "authenticate+median"),
        *_each((NOISE,), "clip", "outliers"),
        *_each((THIRD, FORGED), "authenticate"),
        *_each(("stall:node=2",), "quorum"),
    ),
)
MARKET = "market"
LISTED = ("sybil", "copied_card", "badmouth", "blast")
TRADE = Task(
    "task market",
    MARKET,
    "mean_return",
    "higher",
    LISTED,
    (),
    (
        *_each(("copied_card",), "challenge", "signed_cards"),
        *_each(("rug_pull:turn=4",), "pinning"),
        *_each(("badmouth",), "member_ratings"),
        *_each(("sybil",), "admission", "track_record"),
        *_each(("half_open",), "request_timeout"),
        *_each(("blast",), "last_good"),
        *_each(("hub_poison",), "signed_cards+last_good"),
        *_each(("description",), "instruction_filter"),
        *_each(("scapegoat",), "sealed_traces"),
    ),
    teams=10,
)
TASKS = (CAPTURE, AGREEMENT, TRADE)
CUTS = ("fragment", "fragment:how=header", "fragment:how=fake", "fragment:how=middle")

# Teams that were trained under a defense or an attack, beside those that get the defense afterwards.
TRAINED = {
    CAPTURE.run: ("capture_dropout", "capture_adversarial_noise", "capture_adversarial_gradient"),
    "capture_full": ("capture_full_dropout", "capture_curriculum"),
}
TRAINED[CAPTURE.run] += ("capture_adversarial_population", "capture_bottleneck")
TRAINED_UNDER = (DROP, NOISE, TAMPER, GRADIENT)
VOTES = {"agreement_9_median": "median", "agreement_9_subset": "ensemble:k=2"}
OUTVOTED = {run: group for run, group in VOTES.items() if installed(group)}
OF_NINE = ("agreement_9_dropout", "agreement_9_adversarial")

# Each agent needs what only one other knows, so that a vote has nothing to agree on.
EXCLUSIVE = ("hint_9", "hint_9_subset")
VOTE = "ensemble:k=2"

# Trust in senders whose messages `clip` finds too long, without authentication and after it.
FRAME = "frame:how=forge"
TRUST = ("clip+reputation:unauthenticated=true,suspicion=0.5", "authenticate+clip+reputation:suspicion=0.5")
FRAMED = tuple(filter(installed, TRUST))
FRAGMENTED = "capture_fragments"
UNKEYED = "fragment_chain:chain=unkeyed,trust=false"
CHAINS = tuple(
    filter(installed, ("authenticate", "fragment_chain", UNKEYED, "fragment_chain:chain=none,unauthenticated=true"))
)

RETRAINED = "retrained"  # cells that studies/retrained_cells.py makes
# A robust mean, and the detector that averts most of what attackers do that were trained without it (on four teams).
FILTERS = ("median", "graph_anomaly")
