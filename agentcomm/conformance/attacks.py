"""Conformance check of attacks."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from agentcomm.conformance.common import check_memory, check_plugin, check_threat, episodes, require
from agentcomm.conformance.conversations import carry, check_state, conversation, make_team_shape, reader
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
from agentcomm.contracts.inbox import Inbox
from agentcomm.contracts.outcome import DIRECTORY_COUNTS, Facts
from agentcomm.contracts.shape import TeamShape
from agentcomm.step.comms import Comms


def check_attack(attack: type[Attack], arguments: dict[str, Any] | None = None, num_agents: int = 4) -> None:
    """Check the contract of :class:`agentcomm.contracts.attack.Attack` in random steps of a random team.

    Each hook that the attack overrides is checked separately.

    Args:
        attack: The attack's class.
        arguments: Its arguments; None for the defaults.
        num_agents: Size of the attacked team.

    Raises:
        AssertionError: If the attack breaks the contract.
    """
    check_plugin(attack, AttackConfig)
    found = hooks(attack)
    require(bool(found), f"it overrides no hook, so it has no effect: {', '.join(HOOKS)}")
    config = attack.Config.model_validate(arguments or {})
    assert isinstance(config, AttackConfig)
    shape = make_team_shape(num_agents, 2)
    made = attack(config, shape)
    powers, position = made.threat_model().powers, made.threat_model().position.kind
    check_threat(made)
    check_memory(made.memory, shape.num_worlds)
    require(made.injections() == made.injections() >= 0, "injections changes from call to call")
    _check_predicate(made, shape.num_worlds)

    def build(**changes: Any) -> Comms:
        return Comms.between(shape, [attack(config.model_copy(update=changes), shape)], seed=1, directory=DIRECTORY)

    if "on_directory" in found:
        check_directory(attack, config)
    if "on_messages" in found:
        _check_messages(attack, config, num_agents)
    if "on_observations" in found and position == "sensor":
        check_observations(build, shape)
    if "on_action" in found and "act" in powers:
        check_actions(build, shape)
    if "on_rewards" in found and "reward" in powers:
        check_hook(build, shape, earn)
    _check_limits(attack, config, shape)


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


def _check_messages(attack: type[Attack], config: AttackConfig, num_agents: int) -> None:
    """Check the hook ``on_messages`` on random traffic."""
    for degree in (0, 2):
        shape = make_team_shape(num_agents, degree)
        comms = Comms.between(shape, [attack(config, shape)], directory=DIRECTORY)
        carry(comms, conversation(shape, 16, seed=1))
        check_obeys(comms.adversary.guards[0])
    exchanges = conversation(shape, 10, seed=0)

    def build(**changes: Any) -> Comms:
        return Comms.between(shape, [attack(config.model_copy(update=changes), shape)], seed=1, directory=DIRECTORY)

    check_state(build, exchanges)
    clean = Comms.between(shape).network
    plain = [clean.exchange(e.spoken, e.links, e.step, e.round) for e in exchanges]
    for budget in NO_BUDGETS:
        idle = build(budget=budget)
        for e, expected in zip(exchanges, plain, strict=True):
            got = idle.network.exchange(e.spoken, e.links, e.step, e.round, reader)
            same = all(_equal(getattr(got, f.name), getattr(expected, f.name)) for f in fields(Inbox))
            require(same, f"it acts without a budget: threat_model ignores {budget!r}")
            idle.reset(e.ended)
    control = build(noop_control=True)
    for e, expected in zip(exchanges, plain, strict=True):
        got = control.network.exchange(e.spoken, e.links, e.step, e.round, reader)
        slots = slice(expected.mask.shape[2])
        same = torch.equal(got.mask[..., slots], expected.mask)
        heard = got.payload()[..., slots, :].masked_fill(~expected.mask.unsqueeze(-1), 0.0)
        same &= torch.equal(heard, expected.payload().masked_fill(~expected.mask.unsqueeze(-1), 0.0))
        require(same, "its no-op control changes messages of honest senders")
        control.reset(e.ended)


def _equal(first: Tensor | None, second: Tensor | None) -> bool:
    if first is None or second is None:
        return first is second
    return torch.equal(first, second)
