"""Predicts what the deployed defenses make of messages, for attacks whose threat model has knowledge ``defense``.

The receivers' stages are run on copies of their memories, with random numbers that are not the defenses' own, so that
nothing of the run changes. Gradients pass through defenses that are ``differentiable``; those of others pass as if the
defense had changed nothing (backward-pass approximation: Athalye, Carlini and Wagner, "Obfuscated gradients give a
false sense of security", ICML 2018, section 4.1). Rejected messages are masked.

Messages are sealed as they will be when the attack is done: those of a compromised agent with its key, and those on
the wire not anew, so that changes break their seals. Of a vote over subsets of messages, the mean log-probability of a
few members is predicted. Channels, and what defenses do in later rounds, are not.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from agentcomm.base.state import Memory, State
from agentcomm.contracts.actions import ActionSpace
from agentcomm.contracts.inbox import Members
from agentcomm.contracts.traffic import Traffic
from agentcomm.contracts.verdicts import Draws
from agentcomm.network.exchange import Exchange, PredictOfTraffic
from agentcomm.network.stages.covering import Discard
from agentcomm.network.stages.defending import Aggregate, Quarantine, Screen
from agentcomm.network.stages.receiving import CloseGates, Decode
from agentcomm.network.stages.stage import DefenseStage, Stage
from agentcomm.network.stages.voting import ChooseSubsets
from agentcomm.wire.keyring import Keyring

RECEIVING = (Discard, CloseGates, Quarantine, Screen, Decode, Aggregate, ChooseSubsets)
MEMBERS = 8  # members of a vote that are asked, at most


class Prediction(State):
    """The receivers' part of a network, to be run on copies.

    Args:
        stages: All stages of the network.
        keyring: Seals and verifies; also in networks whose transport makes real seals.
        sealed: Whether senders seal their messages.
        seed: Seed of the random numbers with which defenses that draw are predicted.
        actions: The action space.
    """

    keeps = ("generator",)

    def __init__(
        self, stages: Sequence[Stage], keyring: Keyring, sealed: bool, seed: int, actions: ActionSpace
    ) -> None:
        self.stages = [stage for stage in stages if isinstance(stage, RECEIVING)]
        self.keyring, self.sealed, self.actions = keyring, sealed, actions
        self.generator = torch.Generator(keyring.episode.device).manual_seed(seed)

    def logits(self, x: Exchange, predict: PredictOfTraffic, at_sender: bool, traffic: Traffic) -> Tensor:
        """The team's action parameters [B, N, P] if these messages are on the wire; gradients reach their payloads.

        Args:
            x: The exchange, which is left as it is.
            predict: The parameters given the messages that receivers accept.
            at_sender: Whether the messages are still to be sealed.
            traffic: The messages.
        """
        if at_sender and self.sealed:
            traffic = self.keyring.seal(traffic)
        fresh: dict[str, Any] = {name: {} for name in ("refused", "scores", "scored", "flagged", "answerable")}
        fresh |= {"repaired": None, "shut_out": None}
        twin = replace(x, traffic=traffic, arrived=traffic, members=None, numbers=None, traced=True, **fresh)
        memories: dict[int, Memory] = {}
        for stage in self.stages:
            self._run(self._copy(stage, memories), twin)
        seen = twin.traffic
        if seen.delta is not None:  # even if masked, a huge payload overflows to NaN
            seen = replace(seen, delta=seen.delta.masked_fill(~seen.present.unsqueeze(-1), 0.0))
        if twin.members is None:
            return predict(seen)
        return self.actions.average(torch.stack([predict(part) for part in _parts(seen, twin.members)]))

    def _copy(self, stage: Stage, memories: dict[int, Memory]) -> Stage:
        """A stage with a copied memory, which it shares with the copies of stages that share the original."""
        if not isinstance(stage, DefenseStage | Decode):
            return stage  # it keeps nothing, or only reads what it keeps
        twin, memory = copy.copy(stage), stage.memory
        if id(memory) not in memories:
            memories[id(memory)] = copy.copy(memory)
            memories[id(memory)].tensors = {name: kept.clone() for name, kept in memory.tensors.items()}
        twin.memory = memories[id(memory)]
        if isinstance(twin, Screen):
            twin.transport = self.keyring
        if isinstance(twin, DefenseStage) and twin.defense.draws:
            twin.draws = Draws(self.generator, self.generator.device, twin.defense.name)
        return twin

    def _run(self, stage: Stage, x: Exchange) -> None:
        """Run a stage, with the gradients of the identity unless its defense is differentiable."""
        if not torch.is_grad_enabled() or _differentiable(stage):
            return stage(x)
        before = x.traffic
        with torch.no_grad():
            stage(x)
        x.traffic = _straight_through(before, x.traffic)
        return None


def _parts(traffic: Traffic, members: Members) -> Iterator[Traffic]:
    """What some members of a vote hear, evenly spaced among them."""
    count = min(len(members), MEMBERS)
    for number in range(count):
        heard = members.heard[number * (len(members) - 1) // max(count - 1, 1)]
        part = replace(traffic, present=traffic.present & heard)
        if members.noise:
            part = part.add_payload(part.present, members.noise * members.randn(*part.payload().shape))
        yield part


def _differentiable(stage: Stage) -> bool:
    """Whether gradients can pass through a stage as it is."""
    if isinstance(stage, Screen | Aggregate):
        return stage.defense.differentiable
    return not isinstance(stage, Decode)


def _straight_through(before: Traffic, after: Traffic) -> Traffic:
    """The messages after a stage, whose payloads have the gradients of those before it."""
    if after.scale is before.scale and after.delta is before.delta:
        return replace(before, present=after.present)
    old, new = before.payload(), after.payload()
    where = (new != old).any(-1)
    slope = torch.where(old.isfinite(), old - old.detach(), 0.0)
    scale = torch.ones_like(new[..., 0]) if before.scale is None else before.scale
    delta = torch.zeros_like(new) if before.delta is None else before.delta
    return replace(
        before,
        present=after.present,
        scale=scale.masked_fill(where, 0.0),
        delta=torch.where(where.unsqueeze(-1), new + slope, delta),
    )
