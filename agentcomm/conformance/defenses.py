"""Do defenses keep their contract?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from agentcomm.base.countermeasures import COUNTERMEASURES
from agentcomm.conformance.common import check_memory, checked_config, require
from agentcomm.conformance.conversations import (
    SPACES,
    carry,
    check_state,
    clean_examples,
    conversation,
    make_team_shape,
    same_heard,
)
from agentcomm.conformance.defense_hooks import watched
from agentcomm.conformance.directories import LOOKUPS, MEMBERS, STEPS, WORLDS, Market, same_answer
from agentcomm.conformance.disturb import Disturb, DisturbDirectory, Refuse
from agentcomm.conformance.hooks import act, same
from agentcomm.conformance.reassembly import check_reassembly
from agentcomm.contracts.attack import AttackConfig
from agentcomm.contracts.calibrating import Learned, learn, take_over
from agentcomm.contracts.defense import ON_MESSAGES, ORDERS, Defense, DefenseConfig, IdentityConfig, defense_hooks
from agentcomm.contracts.shape import TeamShape
from agentcomm.step.comms import Comms

EPISODES = 16  # for a calibration
FLAGS = (
    *("needs_seal", "needs_identity", "refuses", "fails_open", "lossless", "changes_payloads", "reads_originals"),
    *("differentiable", "draws", "in_training", "reselects"),
)


def check_defense(
    defense: type[Defense],
    arguments: dict[str, Any] | None = None,
    num_agents: int = 4,
    width: int = 8,
    quick: bool = False,
) -> None:
    """Check the contract of :class:`agentcomm.contracts.defense.Defense`, hook by hook, under attack and without.

    Args:
        defense: The defense's class.
        arguments: Its arguments; those by default when not given.
        num_agents: Size of the team that it defends.
        width: Width of its payloads.
        quick: Whether to make a part of the checks only, in a fraction of a second.

    Raises:
        AssertionError: If the defense breaks the contract.
    """
    config: DefenseConfig = checked_config("defense", defense, Defense, arguments, quick)
    hooks = defense_hooks(defense)
    require(bool(hooks), "it overrides no hook, and so does nothing")
    _check_declarations(defense)
    checked = watched(defense)

    learned: dict[TeamShape, Learned] = {}

    def make(team_shape: TeamShape) -> Defense:
        made, any_size = checked(config, team_shape), replace(team_shape, num_worlds=0)
        if made.calibration:
            if any_size not in learned:
                learned[any_size] = learn(made, clean_examples(team_shape, min(made.calibration, EPISODES)), seed=0)
            take_over(made, learned[any_size])
        return made

    _check_history(make)
    if hooks & ON_MESSAGES:
        _check_messages(make, make_team_shape(num_agents, 3, width), "respond" in hooks, quick)
    if "reassemble" in hooks:
        check_reassembly(make, quick)
    if "on_action" in hooks:
        for space in SPACES[:1] if quick or not defense.any_actions else SPACES:
            _check_actions(make, replace(make_team_shape(num_agents, 2), actions=space))
    if "on_directory" in hooks:
        _check_directory(make)


def _check_declarations(defense: type[Defense]) -> None:
    require(defense.order in ORDERS, f"order is {defense.order!r}, not one of {', '.join(ORDERS)}")
    for name in FLAGS:
        value = getattr(defense, name)
        require(isinstance(value, bool), f"{name} is {value!r}, not True or False")
    for name in ("answers", "adaptive"):
        value = getattr(defense, name)
        texts = isinstance(value, tuple) and all(isinstance(text, str) for text in value)
        require(texts, f"{name} is {value!r}, not a tuple of texts")
    for answer in defense.answers:
        known = answer in COUNTERMEASURES
        require(known, f"answers: {answer!r} is no id such as aa.l2.dos_defense (agentcomm/base/countermeasures.py)")
    waives = issubclass(defense.Config, IdentityConfig)
    require(
        waives == defense.needs_identity, "needs_identity goes with a config that is an IdentityConfig, and only so"
    )
    require(not defense.reselects or "respond" in defense_hooks(defense), "it reselects, but closes no links (respond)")
    history, latency = defense.history, defense.latency
    require(
        history is None or (isinstance(history, int) and history >= 0), f"history is {history!r}, not steps or None"
    )
    require(isinstance(latency, int) and latency >= 0, f"latency is {latency!r}, not a number of steps")


def _check_history(make: Callable[[TeamShape], Defense]) -> None:
    """It remembers something exactly if it says so, and all of its memory has a row per world."""
    made, shape = make(_market_shape()), Market().directory.shape
    added = made.message_bytes
    require(isinstance(added, int) and added >= 0, f"message_bytes is {added!r}, not a number of bytes")
    check_memory(made.memory, WORLDS)
    check_memory(lambda: made.directory_memory(shape), WORLDS)
    remembers = bool(made.memory() or made.directory_memory(shape))
    require(
        remembers == (made.history != 0), f"history is {made.history}, but it has {'a' if remembers else 'no'} memory"
    )


def _check_messages(make: Callable[[TeamShape], Defense], shape: TeamShape, responds: bool, quick: bool) -> None:
    """On random conversations: verdicts, state, and what becomes of clean messages."""

    def build(team_shape: TeamShape = shape, attacked: bool = True) -> Comms:
        attacks = [Disturb(AttackConfig(), team_shape)] if attacked else []
        others = [Refuse(DefenseConfig(), team_shape)] if attacked and responds else []
        return Comms.between(team_shape, attacks, [*others, make(team_shape)], seed=1)

    exchanges = conversation(shape, 4 if quick else 8, seed=3)
    check_state(build, exchanges, quick)
    talks = {shape: exchanges}
    if not quick:
        alone = replace(shape, degree=0)
        talks[alone] = conversation(alone, 3)
        carry(build(alone), talks[alone])
    for team_shape, talk in talks.items():
        if make(team_shape).lossless:
            passed = same_heard(carry(build(team_shape, attacked=False), talk), carry(Comms.between(team_shape), talk))
            require(passed, "clean messages are refused or changed (set lossless = False if that is its price)")


def _check_actions(make: Callable[[TeamShape], Defense], team_shape: TeamShape) -> None:
    """On random actions: verdicts and state; greedy ones stay as they are."""

    def build() -> Comms:
        return Comms.between(team_shape, [], [make(team_shape)], seed=1)

    first, second = build(), build()
    act(first, 2)
    second.restore(first.snapshot())
    require(same(act(first, 3), act(second, 3)), "a restored run acts differently: something is kept outside memory")
    if make(team_shape).lossless:
        plain = act(Comms.between(team_shape), 4, greedy=True)
        passed = same(act(build(), 4, greedy=True), plain)
        require(passed, "greedy actions are changed (set lossless = False if that is its price)")


def _check_directory(make: Callable[[TeamShape], Defense]) -> None:
    """On random look-ups: verdicts, state, and what becomes of clean answers."""

    def market(attacked: bool = True, defended: bool = True) -> tuple[Market, Comms]:
        out, shape = Market(), _market_shape()
        attacks = [DisturbDirectory(AttackConfig(), shape)] if attacked else []
        defenses = [make(shape)] if defended else []
        comms = Comms.between(shape, attacks, defenses, seed=1, directory=out.directory.shape)
        out.install(comms.adversary.directory_guards, comms.defenders.directory_screens)
        return out, comms

    (first, comms), (second, other) = market(), market()
    for _ in range(STEPS):
        first.turn()
    second.resume(first)
    other.restore(comms.snapshot())
    alike = all(same_answer(first.turn(), second.turn()) for _ in range(STEPS))
    require(alike, "a restored directory answers differently: something is kept outside memory")
    if make(_market_shape()).lossless:
        plain, defended = market(False, False)[0], market(False)[0]
        passed = all(same_answer(plain.turn(), defended.turn()) for _ in range(STEPS))
        require(passed, "clean look-ups are answered differently (set lossless = False if that is its price)")


def _market_shape() -> TeamShape:
    return TeamShape(WORLDS, max(MEMBERS, LOOKUPS), 1, 8, 1, torch.device("cpu"))
