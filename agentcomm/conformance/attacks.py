"""Conformance check of attacks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from agentcomm.base.calling import answered
from agentcomm.conformance.common import check_memory, check_threat, checked_config, episodes, require
from agentcomm.conformance.conversations import (
    SPACES,
    Exchange,
    carry,
    check_state,
    conversation,
    make_team_shape,
    reader,
)
from agentcomm.conformance.directories import check_directory
from agentcomm.conformance.hooks import (
    DIRECTORY,
    NO_BUDGETS,
    check_actions,
    check_hook,
    check_obeys,
    check_observations,
    earn,
)
from agentcomm.contracts.attack import HOOKS, Attack, AttackConfig, hooks
from agentcomm.contracts.directory_hook import DirectoryEdits
from agentcomm.contracts.edits import MessageEdits
from agentcomm.contracts.inbox import Inbox
from agentcomm.contracts.outcome import DIRECTORY_COUNTS, Facts
from agentcomm.contracts.shape import TeamShape
from agentcomm.step.comms import Comms


def check_attack(
    attack: type[Attack],
    arguments: dict[str, Any] | None = None,
    num_agents: int = 4,
    width: int = 8,
    quick: bool = False,
) -> None:
    """Check the contract of :class:`agentcomm.contracts.attack.Attack` in random steps of a random team.

    Each hook that the attack overrides is checked separately.

    Args:
        attack: The attack's class.
        arguments: Its arguments; None for the defaults.
        num_agents: Size of the attacked team.
        width: Width of its payloads.
        quick: Whether to make a part of the checks only, in a fraction of a second.

    Raises:
        AssertionError: If the attack breaks the contract.
    """
    config: AttackConfig = checked_config("attack", attack, Attack, arguments, quick)
    found, attack = hooks(attack), _answering(attack)
    require(bool(found), f"it overrides no hook, so it has no effect: {', '.join(HOOKS)}")
    shape = make_team_shape(num_agents, 2, width)
    made = attack(config, shape)
    check_threat(made)
    powers, position = made.threat_model().powers, made.threat_model().position.kind
    check_memory(made.memory, shape.num_worlds)
    require(made.injections() == made.injections() >= 0, "injections changes from call to call")
    _check_predicate(made, shape.num_worlds)

    build = partial(_comms, attack, config, shape)
    if "on_directory" in found:
        check_directory(attack, config, quick)
    if "on_messages" in found:
        _check_messages(attack, config, shape, quick)
    if "on_observations" in found and position == "sensor":
        check_observations(build, shape, quick)
    if "on_action" in found and "act" in powers:
        for space in SPACES[:1] if quick else SPACES:
            acting = replace(shape, actions=space)
            check_actions(partial(_comms, attack, config, acting), acting, quick)
    if "on_rewards" in found and "reward" in powers:
        check_hook(build, shape, earn, quick)
    _check_limits(attack, config, shape)


def _comms(attack: type[Attack], config: AttackConfig, shape: TeamShape, **changes: Any) -> Comms:
    """A team's message layer with the attack, whose config is changed."""
    return Comms.between(shape, [attack(config.model_copy(update=changes), shape)], seed=1, directory=DIRECTORY)


def _answering(attack: type[Attack]) -> type[Attack]:
    """The same attack, whose hooks must not return nothing where edits are expected."""

    def checked(hook: str, kind: type) -> Any:
        def call(self: Attack, view: Any) -> Any:
            answer = getattr(super(made, self), hook)(view)
            expected = f"{kind.__name__}(), with fields for what it changes"
            return answered(answer, kind, f"attack {attack.name!r}", hook, expected)

        return call

    kinds = {"on_messages": MessageEdits, "on_directory": DirectoryEdits}
    members: dict[str, Any] = {"name": attack.name, "__module__": attack.__module__}
    members |= {hook: checked(hook, kind) for hook, kind in kinds.items() if hook in hooks(attack)}
    made: type[Attack] = type(attack.__name__, (attack,), members)
    return made


def _check_limits(attack: type[Attack], config: AttackConfig, shape: TeamShape) -> None:
    """Its threat model respects the limits of the given budget."""
    for limit in ("norm", "length", "reward", "deviation"):
        strict = config.model_copy(update={"budget": config.budget.at_most(**{limit: 0})})
        held = getattr(attack(strict, shape).threat_model().budget, limit)
        require(held == 0, f"threat_model allows {limit}={held}, although its budget says 0")


def _check_predicate(made: Attack, worlds: int) -> None:
    """It does not succeed in episodes without any events."""
    quiet = episodes(worlds, Facts.of(torch.zeros(worlds, len(DIRECTORY_COUNTS), dtype=torch.int64)))
    won = made.succeeded(quiet, quiet)
    require(won.shape == (worlds,) and won.dtype == torch.bool, f"succeeded must return torch.bool ({worlds},)")
    require(not won.any(), "it succeeds in episodes in which nothing happened")


def _check_messages(attack: type[Attack], config: AttackConfig, shape: TeamShape, quick: bool) -> None:
    """Check the hook ``on_messages`` on random traffic."""
    for degree in (shape.degree,) if quick else (0, shape.degree):
        team = replace(shape, degree=degree)
        comms = Comms.between(team, [attack(config, team)], directory=DIRECTORY)
        carry(comms, conversation(team, 6 if quick else 16, seed=1))
        check_obeys(comms.adversary.guards[0])
    exchanges = conversation(shape, 3 if quick else 7, seed=0)

    build = partial(_comms, attack, config, shape)
    check_state(build, exchanges, quick)
    clean = Comms.between(shape).network
    plain = [clean.exchange(e.spoken, e.links, e.step, e.round) for e in exchanges]
    for budget in NO_BUDGETS[:1] if quick else NO_BUDGETS:
        idle = build(budget=budget)
        for e, expected in zip(exchanges, plain, strict=True):
            got = idle.network.exchange(e.spoken, e.links, e.step, e.round, reader)
            same = all(_equal(getattr(got, f.name), getattr(expected, f.name)) for f in fields(Inbox))
            require(same, f"it acts without a budget: threat_model ignores {budget!r}")
            idle.reset(e.ended)
    _check_control(build, exchanges[0], quick)


def _check_control(build: Callable[..., Comms], first: Exchange, quick: bool) -> None:
    """In an exchange before which both are alike, its matched control spends what it spends."""
    spent = {}
    for run_as in ("attack", "control", "silence"):
        comms = build(run_as=run_as)
        comms.network.exchange(first.spoken, first.links, first.step, first.round, reader)
        check_obeys(comms.adversary.guards[0])
        spent[run_as] = comms.adversary.guards[0].spent
    require(torch.equal(spent["attack"], spent["control"]), "its control makes another number of edits than it does")
    if not quick:
        same = [carry(build(run_as="control"), [first]) for _ in range(2)]
        require(
            all(
                _equal(getattr(a, f.name), getattr(b, f.name))
                for a, b in zip(*same, strict=True)
                for f in fields(Inbox)
            ),
            "two runs of its control differ",
        )


def _equal(first: Tensor | None, second: Tensor | None) -> bool:
    if first is None or second is None:
        return first is second
    return torch.equal(first, second)
