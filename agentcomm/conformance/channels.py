"""Conformance check of channels."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from agentcomm.base.calling import answered
from agentcomm.conformance.common import check_memory, checked_config, require
from agentcomm.conformance.conversations import Exchange, carry, check_state, conversation, make_team_shape, same_heard
from agentcomm.conformance.disturb import Disturb
from agentcomm.contracts.attack import AttackConfig
from agentcomm.contracts.channel import Channel, ChannelConfig, ChannelEffect, ChannelInput
from agentcomm.contracts.shape import TeamShape
from agentcomm.network.network import Network
from agentcomm.step.comms import Comms

STEP_SECONDS = 0.05
DTYPES = {"lost": torch.bool, "seconds": torch.float32, "extra": torch.int64, "hops": torch.int64}


class _Watched(Channel):
    """Checks every call of a channel."""

    def __init__(self, inner: Channel) -> None:
        super().__init__(inner.config, inner.team_shape, inner.slots)
        self.inner = inner

    def memory(self) -> dict[str, Tensor]:
        return self.inner.memory()

    def carry(self, entering: ChannelInput, memory: dict[str, Tensor]) -> ChannelEffect:
        names = [f.name for f in fields(ChannelInput) if isinstance(getattr(entering, f.name), Tensor)]
        before = {name: getattr(entering, name).clone() for name in names}
        places = dict(memory)
        what = f"channel {self.inner.name!r}"
        effect = answered(self.inner.carry(entering, memory), ChannelEffect, what, "carry", "a ChannelEffect")
        changed = [name for name, value in before.items() if not torch.equal(value, getattr(entering, name))]
        require(not changed, f"carry changes {', '.join(changed)} of its input")
        kept = places.keys() == memory.keys() and all(memory[name] is value for name, value in places.items())
        require(kept, "carry replaces tensors of its memory; they must be changed in place")
        shape = entering.present.shape
        for name, dtype in DTYPES.items():
            part = getattr(effect, name)
            if part is None:
                continue
            fits = part.shape == shape and part.dtype == dtype
            require(fits, f"{name} is {part.dtype} {tuple(part.shape)}, not {dtype} {tuple(shape)}")
            require(part.isfinite().all() and (part >= 0).all(), f"{name} must be finite and at least 0")
            require(not part[~entering.present].any(), f"{name} is not zero for empty slots")
        return effect


def check_channel(
    channel: type[Channel],
    arguments: dict[str, Any] | None = None,
    noop_control: dict[str, Any] | None = None,
    num_agents: int = 4,
    quick: bool = False,
) -> None:
    """Check the contract of :class:`agentcomm.contracts.channel.Channel` on random traffic, clean and attacked.

    Args:
        channel: The channel's class.
        arguments: Its arguments; None for the defaults.
        noop_control: Arguments with which every message arrives unchanged in its own exchange; checked if given.
        num_agents: Size of the team.
        quick: Whether to make a part of the checks only, in a fraction of a second.

    Raises:
        AssertionError: If the channel breaks the contract.
    """
    config: ChannelConfig = checked_config("channel", channel, Channel, arguments, quick)
    control = None if noop_control is None else checked_config("channel", channel, Channel, noop_control)
    watched: type[_Watched] = type(channel.__name__, (_Watched,), {"name": channel.name})  # errors name the channel
    for degree in (2,) if quick else (0, 2):
        team_shape = make_team_shape(num_agents, degree)

        def build(attacked: bool = True, team_shape: TeamShape = team_shape, given: ChannelConfig = config) -> Comms:
            attacks = [Disturb(AttackConfig(), team_shape)] if attacked else []
            slots = team_shape.degree + sum(attack.injections() for attack in attacks)
            made = channel(given, team_shape, slots)
            check_memory(made.memory, team_shape.num_worlds)
            return Comms.between(team_shape, attacks, seed=1, channels=[watched(made)], step_seconds=STEP_SECONDS)

        exchanges = conversation(team_shape, 4 if quick else 7, seed=degree)
        check_state(build, exchanges, quick)
        for attacked in (False, True):
            _check_books(build(attacked), conversation(team_shape, 5 if quick else 16, seed=2))
        if control is not None:
            passed = same_heard(
                carry(build(attacked=False, given=control), exchanges), carry(Comms.between(team_shape), exchanges)
            )
            require(passed, f"messages do not arrive unchanged with {noop_control}")
    _check_gradient(build(attacked=False).network, conversation(team_shape, 4 if quick else 12, seed=3))


def _check_books(comms: Comms, exchanges: list[Exchange]) -> None:
    """Every message is accounted for after every exchange, and counters of time and bytes never decrease."""
    network, n = comms.network, comms.network.ledger
    assert network.link is not None
    before = (n.bytes.clone(), n.steps.clone(), n.seconds.clone())
    for e in exchanges:
        carry(comms, [e])
        put = n["sent"] + n["forged"] + n["replayed"]
        fared = n["dropped"] + n["lost"] + n["late"] + n["refused"] + n["accepted"] + network.link.transit.waiting
        require(torch.equal(put, fared), "messages are lost without being counted, or are counted twice")
        now = (n.bytes.clone(), n.steps.clone(), n.seconds.clone())
        grows = all((new >= old).all() for new, old in zip(now, before, strict=True))
        require(grows, "bytes or latency decrease")
        before = now


def _check_gradient(network: Network, exchanges: list[Exchange]) -> None:
    """Gradients reach the senders of messages that arrive in their own exchange, but not those of delayed ones."""
    for e in exchanges:
        spoken = e.spoken.clone().requires_grad_()
        inbox = network.exchange(spoken, e.links, e.step, e.round)
        (gradient,) = torch.autograd.grad(inbox.payload()[inbox.mask].sum(), spoken, allow_unused=True)
        scale = torch.ones_like(inbox.mask, dtype=torch.float32) if inbox.scale is None else inbox.scale
        heard = torch.zeros(e.spoken.shape[:2]).scatter_add(1, inbox.source.flatten(1), (scale * inbox.mask).flatten(1))
        got = torch.zeros_like(spoken) if gradient is None else gradient
        require(
            torch.equal(got, heard.unsqueeze(-1).expand_as(got)),
            "gradients do not reach the senders of messages that arrive in time",
        )
        network.reset(e.ended)
