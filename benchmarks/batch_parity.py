"""What of the batch is the counterpart of an attack or a defense on A2A and MCP, and whether the attack succeeds there.

Messages are those of an untrained team in Predator-Capture-Prey; cards, requests and claims are those of scripted
agents in the task market. What has no counterpart is listed with the reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache

import torch

from agentcomm.evaluation.play import play
from agentcomm.runs.assembly import make_comms, make_policy, make_world
from agentcomm.runs.choices import Choice
from envs.market.scripted import MarketPolicy
from envs.market.task_market import TaskMarket

WORLDS, SEED = 20, 0
TEAM, MARKET = "predator_capture_prey:max_steps=8", "task_market:max_steps=12"
TOLERATED = 0.9  # share of their reward that scripted agents must keep under a defense when nobody attacks
SEALS = dict.fromkeys(("claims_hmac", "claims_ed25519", "http_signatures"), ("authenticate",))
QUOTA = ("quota:unauthenticated=true",)

Words = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Counterpart:
    """The batch's form of an attack on a protocol.

    Attributes:
        attack: The attack, as ``agentcomm evaluate --attack`` takes it.
        counts: What success is: this count of an episode is above 0. A count of the ledger, or ``obeyed`` (actions of
            members that obey directives), with a team; a fact of the directory in the market.
        defenses: By name of a protocol's defense: the defenses of the batch that do the same.
        market: Whether it attacks the task market's directory.
    """

    attack: str
    counts: str
    defenses: Words = field(default_factory=dict)
    market: bool = False


COUNTERPARTS = {
    "replay": Counterpart("replay", "accepted_replayed", {**SEALS, "once": ("authenticate",), "limits": QUOTA}),
    "edit_request": Counterpart("tamper", "accepted_tampered", {**SEALS, "signed_answers": ("authenticate",)}),
    "edit_answer": Counterpart("tamper", "accepted_tampered", {**SEALS, "signed_answers": ("authenticate",)}),
    "stream_cut": Counterpart("drop", "dropped", {**SEALS, "signed_answers": ("authenticate",)}),
    "session_hijack": Counterpart("hijack", "accepted_forged", {**SEALS, "tokens": ("authenticate",)}),
    "directive": Counterpart("directive:action=2", "obeyed", {**SEALS, "signed_answers": ("authenticate",)}),
    "delegation_cycle": Counterpart("launder", "accepted_forged", {"chain": ("authenticate", "hop_limit")}),
    "copied_card": Counterpart(
        "copied_card:lift=0.0",
        "misrouted",
        {"cards": ("signed_cards",), "possession": ("signed_cards", "challenge")},
        market=True,
    ),
    "name_collision": Counterpart("copied_card", "misrouted", {"pins": ("pinning",)}, market=True),
    "rug_pull": Counterpart("rug_pull", "spoiled", {"pins": ("pinning",)}, market=True),
    "half_open": Counterpart("half_open", "unserved", {"timeouts": ("request_timeout",), "limits": QUOTA}, market=True),
}
WITHOUT = {  # attacks on what the batch does not have
    "stranger": "members own no tasks: each answer goes to its asker",
    "context_reuse": "a policy's memory belongs to its receiver, and no message names it",
    "card_origin": "cards of the batch have no URL, and requests carry no credentials",
    "extended_card": "all cards are public",
    "push_ssrf": "nothing is fetched or called on anybody's word",
    "huge_body": "the width of a payload is fixed",
    "cross_site": "there is no browser",
    "cache_poisoning": "requesters keep no answers of an honest directory",
    "downgrade": "there is one version",
    "approval_replayed": "no action asks for approval",
    "approval_omitted": "no action asks for approval",
    "resumption_leak": "deliveries are not resumed",
}


def outcome(attack: str, defense: str) -> str:
    """``succeeded``, ``stopped`` or ``inconclusive``; empty if the batch has no counterpart.

    Args:
        attack: Name of an attack on a protocol.
        defense: Name of a defense of a protocol; empty for none.
    """
    of = COUNTERPARTS.get(attack)
    if of is None or (defense and defense not in of.defenses):
        return ""
    chosen = of.defenses[defense] if defense else ()
    attacked = _market(of.attack, chosen) if of.market else _team(of.attack, chosen)
    plain = _market("", chosen) if of.market else _team("", chosen)
    bare = _market("", ()) if of.market else _team("", ())
    honest = "reward" if of.market else "accepted"
    if plain[honest] < TOLERATED * bare[honest] or plain[of.counts] > 0:
        return "inconclusive"
    return "succeeded" if attacked[of.counts] > 0 else "stopped"


@cache
def _team(attack: str, defenses: tuple[str, ...]) -> dict[str, float]:
    """Counts of the ledger of an episode in each world, and of the actions that a directive asks for."""
    torch.manual_seed(SEED)
    world = make_world(Choice.parse(TEAM), WORLDS)
    policy = make_policy(Choice(name="commnet"), world)
    made = make_comms(world, policy, _choices(attack), [Choice.parse(name) for name in defenses])
    episodes = play(world, policy, made, SEED, obedience=float(attack.startswith("directive")))
    counts = {name: float(count.sum()) for name, count in episodes.messages.items()}
    return counts | {"obeyed": float(episodes.actions.sum(0)[2])}


@cache
def _market(attack: str, defenses: tuple[str, ...]) -> dict[str, float]:
    """Facts of the directory of an episode in each world, and the mean reward."""
    world = make_world(Choice.parse(MARKET), WORLDS)
    assert isinstance(world, TaskMarket)
    policy = make_policy(Choice(name="ippo"), world)
    made = make_comms(world, policy, _choices(attack), [Choice.parse(name) for name in defenses])
    world.reset(seed=SEED)
    made.reset(torch.arange(WORLDS))
    members, reward = MarketPolicy(world, "claim"), 0.0
    for _ in range(world.max_steps):
        reward += float(world.step(members.act(), auto_reset=False).reward.mean())
    facts = world.directory.facts()
    return {name: float(getattr(facts, name).sum()) for name in facts.__dataclass_fields__} | {"reward": reward}


def _choices(attack: str) -> list[Choice]:
    return [Choice.parse(attack)] if attack else []
