"""The guard: shows an attack what its threat model lets it read, and does only what it lets it write.

Whatever an attack asks beyond its position, powers, norm or budget is not done; it is counted in
``Guard.violations`` under the rule it broke.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from agentcomm.contracts.traffic import HEADER, LIFETIME, Traffic
from agentcomm.messages.action_guard import ActionGuard, Drawn
from agentcomm.messages.copies import Copies
from agentcomm.messages.effects import Effects, check_edits, check_tensor, completed
from agentcomm.messages.held import Held
from agentcomm.messages.permits import Permits
from agentcomm.messages.sensors import proposal
from agentcomm.threats import (
    ActionView,
    Attack,
    Edits,
    Envelopes,
    Pieces,
    Power,
    RewardView,
    SensorView,
    Setting,
    View,
)
from agentcomm.wire.keyring import Keyring
from agentcomm.world import World

WHITE_BOX = ("policy", "defense")  # who knows this much knows the policy


class Guard(Held[Attack]):
    """One attack, held to its threat model.

    Args:
        attack: The attack.
        setting: Sizes of the network it acts on.
        first_slot: The first inbox slot kept free for its injections.
        seed: Seed of the attack's generator.

    Attributes:
        tape: What the attack was shown, exchange by exchange; None to keep nothing. It is for whoever evaluates, and
            the attack never reads it.
    """

    def __init__(self, attack: Attack, setting: Setting, first_slot: int, seed: int) -> None:
        super().__init__(attack, setting.num_worlds, setting.device, seed)
        self.setting = setting
        self.slots = slice(first_slot, first_slot + attack.injections())
        self.tape: list[View] | None = None
        self.shown = torch.zeros_like(self.spent)  # what it had sensors show, over all episodes
        # Whom it has turned, in each world; and what it touched in the exchange at hand.
        self._obeying = torch.zeros(setting.num_worlds, setting.num_agents, dtype=torch.bool, device=setting.device)
        self._touched = torch.zeros(0, dtype=torch.bool, device=setting.device)
        links = self.threat.position.links
        agents = setting.num_agents
        self._links = torch.full((agents, agents + 1), links is None, dtype=torch.bool, device=setting.device)
        for sender, receiver in links or ():
            if not (0 <= sender < agents and 0 <= receiver < agents):
                raise ValueError(f"link [{sender}, {receiver}] names an agent outside 0 .. {agents - 1}")
            self._links[receiver, sender] = True
        node = self.threat.position.node
        if node is not None and node >= agents:
            raise ValueError(f"position node needs an agent in 0 .. {agents - 1}, not {node}")
        self.identity = agents if node is None else node
        self.actions: ActionGuard | None = None
        if "act" in self.threat.powers:
            self.actions = ActionGuard(attack, setting, self.generator, self.memory, self.conduct)
        self._copies = Copies(setting)
        self._permits = Permits(self.threat, self._links, self._copies, self.violate)
        self._replays = {"read", "replay"} <= self.threat.powers and "inject" not in self.threat.powers

    @property
    def at_sender(self) -> bool:
        """Whether it acts before messages are sealed: a compromised agent does."""
        return self.threat.position.kind == "node"

    def reset(self, worlds: Tensor) -> None:
        """Forget everything about the given worlds ([W] indices)."""
        super().reset(worlds)
        self._obeying[worlds] = False
        self._copies.reset(worlds)
        if self.actions is not None:
            self.actions.reset(worlds)

    def perceive(
        self, observation: Tensor, world: World, step: Tensor, foresee: Callable[[Tensor], Tensor] | None
    ) -> Tensor:
        """What agents see [B, N, O] once the attack had its way with their sensors.

        Args:
            observation: [B, N, O] what they would see.
            world: Says what sensors can show, and who is there.
            step: [B] int64.
            foresee: Gate logits [..., N] of observations; None without gates.
        """
        if self.threat.position.kind != "sensor":
            return observation
        self.spent_step.zero_()
        reach = world.alive.clone()
        if self.threat.position.node is not None:
            reach &= torch.arange(reach.shape[1], device=reach.device) == self.identity
        readings, remaining = world.readings(), self.remaining(step)
        shown = reach.unsqueeze(-1) if "read" in self.threat.powers else torch.zeros_like(reach).unsqueeze(-1)
        view = SensorView(
            reach=reach.clone(),
            observation=torch.where(shown, observation, 0 if readings is None else -1),
            readings=None if readings is None else readings.clone(),
            step=step.clone(),
            remaining=remaining.clone(),
            memory=dict(self.memory),
            generator=self.generator,
            foresee=foresee if self.threat.knowledge in WHITE_BOX else None,
        )
        with self.conduct.watched():
            out = proposal(self.attack, view, observation, world, self.threat.budget.norm, self.violate)
        self.conduct.check_memory(view.memory, self.memory)
        if out is None:
            return observation
        changed, seen = out
        if "modify" not in self.threat.powers:
            self.violate("modify without the power to", changed)
            return observation
        granted = self.spend(changed.flatten(1), remaining).view_as(changed)
        self.shown += granted.flatten(1).sum(1)
        if self.harmless or not bool(granted.any()):
            return observation
        return torch.where(granted, seen, observation)

    def reward(self, reward: Tensor, action: Tensor, step: Tensor) -> Tensor:
        """What agents learn to have earned [B, N] once the attack had its way with their rewards.

        Args:
            reward: [B, N] what they earned.
            action: [B, N] int64, what they did.
            step: [B] int64.
        """
        if "reward" not in self.threat.powers:
            return reward
        remaining = self.remaining(step)
        view = RewardView(
            reward.clone(), action.clone(), step.clone(), remaining.clone(), dict(self.memory), self.generator
        )
        with self.conduct.watched():
            wanted = self.attack.reward(view)
        self.conduct.check_memory(view.memory, self.memory)
        if wanted is None:
            return reward
        check_tensor(type(self.attack).__name__, "reward", wanted, tuple(reward.shape), reward.dtype)
        finite = wanted.isfinite()
        self.violate("reward not finite", ~finite)
        change = torch.where(finite, wanted - reward, 0.0)
        most = self.threat.budget.reward
        if most is not None:
            self.violate("reward beyond its bound", change.abs() > most * (1 + 1e-5))
            change = change.clamp(-most, most)
        granted = self.spend(change != 0, remaining)
        return reward if self.harmless else torch.where(granted, reward + change, reward)

    def act(
        self, probability: Tensor, noise: Tensor | None, worlds: Tensor, step: Tensor
    ) -> tuple[Drawn, Tensor, Tensor] | None:
        """Let the attack choose its node's actions, where its budget allows.

        Args:
            probability: [W, A] float64, the policy's law.
            noise: [W, A] the policy's Gumbel noise, None where the team decides greedily.
            worlds: [W] int64 indices, where the node acts now.
            step: [B] int64.

        Returns:
            What was drawn in K of these worlds; [K] which of the W they are; [K] bool where it holds. None for nothing.
        """
        assert self.actions is not None
        if self.harmless:
            return None
        if not self.setting.rounds:  # nobody speaks, so nothing else begins the step
            self.spent_step.zero_()
        remaining = self.remaining(step)[worlds]
        kept = (remaining > 0).nonzero().squeeze(-1)
        if not len(kept):
            return None
        at = worlds[kept]
        view = ActionView(probability[kept], at, step[at], remaining[kept], dict(self.memory), self.generator)
        out = self.actions.draw(view, None if noise is None else noise[kept])
        if out is None:
            return None
        drawn, granted = out
        self.spent[at] += granted
        self.spent_step[at] += granted
        return drawn, kept, granted

    def apply(
        self,
        traffic: Traffic,
        keyring: Keyring,
        step: Tensor,
        kind: int,
        due: Tensor | None = None,
        foresee: Callable[[Traffic], Tensor] | None = None,
    ) -> tuple[Traffic, Effects]:
        """Let the attack act on one exchange.

        Args:
            traffic: What is on the wire.
            keyring: Seals on the attacker's behalf, with its own key only.
            step: [B] int64.
            kind: Round of the exchange.
            due: [B, N] bool, whose messages the exchange carries; None for everybody's.
            foresee: Action logits [B, N, A] that follow from this traffic; None where nobody can say.
        """
        if kind == 0:
            self.spent_step.zero_()
        reach = self._reach(traffic)
        remaining = self.remaining(step)
        view = self._view(traffic, reach, remaining, step, kind, foresee)
        if self.tape is not None:
            self.tape.append(view)
        if self._replays:
            self._copies.remember(traffic, keyring, reach, step, kind)
        with self.conduct.watched():
            edits = self.attack.apply(view)
        if edits.inject is not None:
            edits = replace(edits, inject=completed(edits.inject))
        self.conduct.check_memory(view.memory, self.memory)
        check_edits(type(self.attack).__name__, traffic, edits, self.slots.stop - self.slots.start)
        if due is not None and edits.inject is not None:
            # Nobody else collects messages now, so none are put there, and none are paid for.
            where = edits.inject.where & due.unsqueeze(-1)
            edits = replace(edits, inject=replace(edits.inject, where=where))
        after, did = self._carry_out(traffic, keyring, edits, reach, remaining)
        self._touched = did.tampered | did.forged
        return after, did

    def show(self, traffic: Traffic, step: Tensor, kind: int) -> View:
        """What the attack is about to be shown of an exchange, for who decides in its place; nothing is done.

        Args:
            traffic: What is on the wire.
            step: [B] int64.
            kind: Round of the exchange.
        """
        if kind == 0:
            self.spent_step.zero_()
        return self._view(traffic, self._reach(traffic), self.remaining(step), step, kind, None)

    def turn(self, accepted: Tensor) -> None:
        """Who accepted a message of an attack that is obeyed belongs to it from now on: [B, N, M] of the exchange."""
        if self.threat.position.obeyed:
            self._obeying |= (accepted & self._touched).any(-1)

    def _reach(self, traffic: Traffic) -> Tensor:
        kind = self.threat.position.kind
        if kind == "node":
            agents = self.setting.num_agents
            obeys = self._obeying.unsqueeze(1).expand(-1, agents, -1).gather(2, traffic.origin.clamp(max=agents - 1))
            return traffic.present & ((traffic.origin == self.identity) | obeys)
        if kind in ("newcomer", "hub", "sensor"):
            return torch.zeros_like(traffic.present)
        return traffic.present & self._links[traffic.receiver, traffic.origin]

    def _view(
        self,
        traffic: Traffic,
        reach: Tensor,
        remaining: Tensor,
        step: Tensor,
        kind: int,
        foresee: Callable[[Traffic], Tensor] | None,
    ) -> View:
        shown: dict[str, Any] = {}
        if "read" in self.threat.powers:
            shown = {name: torch.where(reach, getattr(traffic, name), -1) for name in HEADER}
            shown["payload"] = traffic.payload().detach().masked_fill(~reach.unsqueeze(-1), 0.0)
        if self.threat.knowledge in WHITE_BOX and foresee is not None:
            shown["foresee"] = lambda change: foresee(traffic.add_payload(reach, change))
        return View(
            reach=reach.clone(),
            step=step.clone(),
            round=kind,
            remaining=remaining.clone(),
            memory=dict(self.memory),
            generator=self.generator,
            width=traffic.spoken.shape[-1],
            identity=self.identity,
            **shown,
        )

    def _carry_out(
        self, traffic: Traffic, keyring: Keyring, edits: Edits, reach: Tensor, remaining: Tensor
    ) -> tuple[Traffic, Effects]:
        nothing = torch.zeros_like(traffic.present)
        drop = self._permits.touch(edits.drop, "drop", reach)
        modify = self._permits.touch(edits.modify, "modify", reach)
        hold = None if edits.delay is None else self._permits.touch(edits.delay > 0, self._holding, reach)
        inject = self._permits.injection(edits.inject, keyring)
        pieces = None if edits.pieces is None else self._permits.pieces(edits.pieces, traffic, reach)
        change = edits.change
        if modify is not None and change is not None:
            modify, change = self._permits.change(modify, change)
        wanted = [w.flatten(1) for w in (drop, modify, hold, inject, pieces) if w is not None]
        delay = torch.zeros_like(traffic.source)
        if not wanted:
            return traffic, Effects(nothing, nothing, nothing, delay)
        granted = self.spend(torch.cat(wanted, 1), remaining)
        parts = iter(torch.split(granted, [w.shape[1] for w in wanted], 1))
        dropped = tampered = forged = nothing
        if drop is not None:
            dropped = next(parts).view_as(drop) & (not self.harmless)
        if modify is not None and change is not None:
            tampered = next(parts).view_as(modify)
            if tampered.any() and not self.harmless:  # an edit that touches nothing must leave the run bit-identical
                traffic = traffic.add_payload(tampered, change)
        if hold is not None and edits.delay is not None:
            delay = edits.delay.clamp(max=LIFETIME + 1) * next(parts).view_as(hold) * (not self.harmless)
        if inject is not None and edits.inject is not None:
            forged = nothing.clone()
            forged[..., self.slots] = next(parts).view_as(inject)
            if forged.any():
                traffic = self._put(traffic, keyring, edits.inject, forged)
        put = None
        if pieces is not None and not self.harmless:
            each = next(parts).view_as(pieces)
            put = Pieces(each[..., 2:].sum(-1), each[..., 0], each[..., 1])
        if dropped.any():
            traffic = replace(traffic, present=traffic.present & ~dropped)
        return traffic, Effects(dropped, tampered & ~dropped, forged, delay.masked_fill(dropped, 0), put)

    @property
    def _holding(self) -> Power:
        """The power that lets it keep messages back."""
        return "reorder" if "reorder" in self.threat.powers else "delay"

    def _put(self, traffic: Traffic, keyring: Keyring, inject: Envelopes, forged: Tensor) -> Traffic:
        """Fill the attack's spare slots; the origin is always the attacker's own."""
        pad = (self.slots.start, traffic.slots - self.slots.stop)

        def spread(values: Tensor) -> Tensor:
            return torch.nn.functional.pad(values, pad)

        header = {name: torch.where(forged, spread(getattr(inject, name)), getattr(traffic, name)) for name in HEADER}
        # The receiver takes it for the claimed sender's. A newcomer is nobody's neighbor, which pointing to the
        # receiver itself says.
        known = header["sender"] < self.setting.num_agents
        source = torch.where(known, header["sender"], traffic.receiver)
        traffic = replace(
            traffic,
            source=torch.where(forged, source, traffic.source),
            present=traffic.present | forged,
            origin=traffic.origin.masked_fill(forged, self.identity),
            **header,
        )
        payload = torch.nn.functional.pad(inject.payload, (0, 0, *pad))
        if self.harmless:  # as much traffic, but only what the claimed sender says anyway
            everyone = traffic.spoken.unsqueeze(1).expand(-1, source.shape[1], -1, -1)
            payload = everyone.gather(2, source.unsqueeze(-1).expand_as(payload))
        traffic = traffic.edit_payload(forged, payload)
        if inject.sign:
            own = torch.full_like(traffic.key, self.identity)
            traffic = replace(traffic, key=torch.where(forged, own, traffic.key))
            traffic = replace(traffic, seal=torch.where(forged, keyring.tag(traffic, own), traffic.seal))
        return traffic

    def get_state(self) -> dict[str, Any]:
        """Memory, spending, the generator and what it has seen, as numpy arrays."""
        return super().get_state() | {
            "shown": self.shown.cpu().numpy().copy(),
            "obeying": self._obeying.cpu().numpy().copy(),
            "seen": self._copies.seen.cpu().numpy().copy(),
            "actions": None if self.actions is None else self.actions.get_state(),
        }

    def set_state(self, saved: dict[str, Any]) -> None:
        """Restore what :meth:`get_state` saved."""
        super().set_state(saved)
        self.shown = self.load(saved["shown"])
        self._copies.seen, self._obeying = self.load(saved["seen"]), self.load(saved["obeying"])
        if self.actions is not None:
            self.actions.set_state(saved["actions"])
