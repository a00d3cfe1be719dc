"""The guard: shows an attack what its threat model lets it read, and does only what it lets it write.

Whatever an attack asks beyond its position, powers, norm or budget is not done; it is counted in
``Guard.violations`` under the rule it broke.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from agentcomm.messages.action_guard import ActionGuard, Drawn
from agentcomm.messages.conduct import Conduct
from agentcomm.messages.identity import Keyring, mix
from agentcomm.messages.sensors import proposal
from agentcomm.messages.traffic import HEADER, HOPS, LIFETIME, Traffic
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
from agentcomm.world import World

UNLIMITED = 2**40
WHITE_BOX = ("policy", "defense")  # who knows this much knows the policy


@dataclass(frozen=True)
class Effects:
    """What an attack really did: masks [B, N, M] over the exchange's slots, int64 steps of delay, and fragments."""

    dropped: Tensor
    tampered: Tensor
    forged: Tensor
    delay: Tensor
    pieces: Pieces | None = None

    def and_then(self, later: Effects) -> Effects:
        """These effects and those of an attack after it."""
        return Effects(
            self.dropped | later.dropped,
            self.tampered | later.tampered,
            self.forged | later.forged,
            self.delay + later.delay,
            _both(self.pieces, later.pieces),
        )


class Guard:
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
        self.attack = attack
        self.setting = setting
        self.threat = attack.threat_model()
        self.harmless = attack.config.harmless
        self.slots = slice(first_slot, first_slot + attack.injections())
        self.generator = torch.Generator(setting.device)
        self.generator.manual_seed(seed)
        self.violations: Counter[str] = Counter()
        self.tape: list[View] | None = None
        self.spent = torch.zeros(setting.num_worlds, dtype=torch.int64, device=setting.device)
        self._spent_step = torch.zeros_like(self.spent)
        self.shown = torch.zeros_like(self.spent)  # what it had sensors show, over all episodes
        # Whom it has turned, in each world; and what it touched in the exchange at hand.
        self._obeying = torch.zeros(setting.num_worlds, setting.num_agents, dtype=torch.bool, device=setting.device)
        self._touched = torch.zeros(0, dtype=torch.bool, device=setting.device)
        self.memory = attack.memory()
        self._fresh = {name: value.clone() for name, value in self.memory.items()}
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
        self._conduct = Conduct(attack, self.violations)
        self.actions: ActionGuard | None = None
        if "act" in self.threat.powers:
            self.actions = ActionGuard(attack, setting, self.generator, self.memory, self._conduct)
        # [B, T, rounds, N, M] fingerprints of what the attack has seen in each episode, by step; grows with the
        # longest episode. Only needed to tell copies from forgeries.
        self._copies = {"read", "replay"} <= self.threat.powers and "inject" not in self.threat.powers
        shape = (setting.num_worlds, 0, setting.rounds, agents, 0)
        self._seen = torch.zeros(shape, dtype=torch.int64, device=setting.device)

    @property
    def at_sender(self) -> bool:
        """Whether it acts before messages are sealed: a compromised agent does."""
        return self.threat.position.kind == "node"

    def reset(self, worlds: Tensor) -> None:
        """Forget everything about the given worlds ([W] indices)."""
        self.spent[worlds] = 0
        self._obeying[worlds] = False
        self._seen[worlds] = 0
        for name, fresh in self._fresh.items():
            self.memory[name][worlds] = fresh[worlds]
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
        self._spent_step.zero_()
        reach = world.alive.clone()
        if self.threat.position.node is not None:
            reach &= torch.arange(reach.shape[1], device=reach.device) == self.identity
        readings, remaining = world.readings(), self._remaining(step)
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
        with self._conduct.watched():
            out = proposal(self.attack, view, observation, world, self.threat.budget.norm, self._violate)
        self._check_memory(view.memory)
        if out is None:
            return observation
        changed, seen = out
        if "modify" not in self.threat.powers:
            self._violate("modify without the power to", changed)
            return observation
        granted = self._spend(changed.flatten(1), remaining).view_as(changed)
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
        remaining = self._remaining(step)
        view = RewardView(
            reward.clone(), action.clone(), step.clone(), remaining.clone(), dict(self.memory), self.generator
        )
        with self._conduct.watched():
            wanted = self.attack.reward(view)
        self._check_memory(view.memory)
        if wanted is None:
            return reward
        self._check("reward", wanted, tuple(reward.shape), reward.dtype)
        finite = wanted.isfinite()
        self._violate("reward not finite", ~finite)
        change = torch.where(finite, wanted - reward, 0.0)
        most = self.threat.budget.reward
        if most is not None:
            self._violate("reward beyond its bound", change.abs() > most * (1 + 1e-5))
            change = change.clamp(-most, most)
        granted = self._spend(change != 0, remaining)
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
            self._spent_step.zero_()
        remaining = self._remaining(step)[worlds]
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
        self._spent_step[at] += granted
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
            self._spent_step.zero_()
        reach = self._reach(traffic)
        remaining = self._remaining(step)
        view = self._view(traffic, reach, remaining, step, kind, foresee)
        if self.tape is not None:
            self.tape.append(view)
        if self._copies:
            self._remember(traffic, keyring, reach, step, kind)
        with self._conduct.watched():
            edits = self.attack.apply(view)
        if edits.inject is not None:
            edits = replace(edits, inject=_completed(edits.inject))
        self._check_memory(view.memory)
        self._check_shapes(traffic, edits)
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
            self._spent_step.zero_()
        return self._view(traffic, self._reach(traffic), self._remaining(step), step, kind, None)

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

    def _remaining(self, step: Tensor) -> Tensor:
        budget = self.threat.budget
        left = torch.full_like(self.spent, UNLIMITED)
        if budget.per_episode is not None:
            left = budget.per_episode - self.spent
        if budget.per_step is not None:
            left = torch.minimum(left, budget.per_step - self._spent_step)
        return torch.where(step >= budget.start_step, left, 0)

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

    def _remember(self, traffic: Traffic, keyring: Keyring, reach: Tensor, step: Tensor, kind: int) -> None:
        known, needed = self._seen.shape[1], int(step.max()) + 1
        if needed > known:
            worlds, _, rounds, agents, _ = self._seen.shape
            grown = self._seen.new_zeros(worlds, max(needed, 2 * known), rounds, agents, traffic.slots)
            if known:
                grown[:, :known] = self._seen
            self._seen = grown
        prints = self._fingerprint(traffic, keyring.digests(traffic))
        self._seen[torch.arange(len(step), device=step.device), step, kind] = torch.where(reach, prints, 0)

    def _has_seen(self, inject: Envelopes, digests: Tensor) -> Tensor:
        """[B, N, S] bool, whether the attack saw exactly this where its header says that it was on the wire."""
        place = (inject.sent_at, inject.kind, inject.audience)
        sizes = self._seen.shape[1:4]
        if not sizes[0]:
            return torch.zeros_like(inject.where)
        inside = torch.stack([(at >= 0) & (at < size) for at, size in zip(place, sizes, strict=True)]).all(0)
        worlds = torch.arange(len(inject.where), device=inject.where.device).view(-1, 1, 1)
        kept = self._seen[(worlds, *(at.clamp(0, size - 1) for at, size in zip(place, sizes, strict=True)))]
        return inside & (kept == self._fingerprint(inject, digests).unsqueeze(-1)).any(-1)

    def _fingerprint(self, envelope: Traffic | Envelopes, digests: Tensor) -> Tensor:
        """One number for all a copy must share with its original; never 0, which marks an empty place.

        The digest is keyed, so that one field cannot be chosen to make up for a change of another.
        """
        mixed = digests
        for name in HEADER:
            if name != "hops":  # differs from place to place on a message's way
                mixed = mix(mixed + getattr(envelope, name))
        return torch.where(mixed == 0, 1, mixed)

    def _carry_out(
        self, traffic: Traffic, keyring: Keyring, edits: Edits, reach: Tensor, remaining: Tensor
    ) -> tuple[Traffic, Effects]:
        nothing = torch.zeros_like(traffic.present)
        drop = self._permit(edits.drop, "drop", reach)
        modify = self._permit(edits.modify, "modify", reach)
        hold = None if edits.delay is None else self._permit(edits.delay > 0, self._holding, reach)
        inject = self._permit_injection(edits.inject, keyring)
        pieces = None if edits.pieces is None else self._permit_pieces(edits.pieces, traffic, reach)
        change = edits.change
        if modify is not None and change is not None:
            modify, change = self._bound(modify, change)
        wanted = [w.flatten(1) for w in (drop, modify, hold, inject, pieces) if w is not None]
        delay = torch.zeros_like(traffic.source)
        if not wanted:
            return traffic, Effects(nothing, nothing, nothing, delay)
        granted = self._spend(torch.cat(wanted, 1), remaining)
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

    def _permit(self, wanted: Tensor | None, power: str, reach: Tensor) -> Tensor | None:
        if wanted is None:
            return None
        if power not in self.threat.powers:
            self._violate(f"{power} without the power to", wanted)
            return None
        if self.threat.position.kind == "observer":
            self._violate(f"{power} as an observer", wanted)
            return None
        self._violate(f"{power} out of reach", wanted & ~reach)
        return wanted & reach

    def _permit_injection(self, inject: Envelopes | None, keyring: Keyring) -> Tensor | None:
        if inject is None:
            return None
        if "inject" in self.threat.powers:
            finite = inject.payload.isfinite().all(-1)
            self._violate("inject not finite", inject.where & ~finite)
            return inject.where & finite & self._may_address(inject)
        if "replay" in self.threat.powers:
            seen = torch.zeros_like(inject.where)
            if inject.where.any() and not inject.sign:
                seen = self._has_seen(inject, keyring.digest(inject.payload))
            self._violate("replay of what it has not seen", inject.where & ~seen)
            return inject.where & seen & self._may_address(inject)
        self._violate("inject without the power to", inject.where)
        return None

    def _permit_pieces(self, wanted: Pieces, traffic: Traffic, reach: Tensor) -> Tensor | None:
        """[B, N, M, 2 + F] bool, fragments one by one: an early one, a middle one, and up to F that begin something."""
        counts = torch.arange(int(wanted.begin.max()) if wanted.begin.numel() else 0, device=wanted.begin.device)
        begin = counts < wanted.begin.unsqueeze(-1)
        named = torch.stack([wanted.early, wanted.middle], -1)
        all_ = torch.cat([named, begin], -1)
        if not {"inject", "replay"} & self.threat.powers:
            self._violate("fragments without the power to inject", all_)
            return None
        if self.threat.position.kind in ("observer", "hub"):
            self._violate(f"fragments from position {self.threat.position.kind}", all_)
            return None
        if "inject" not in self.threat.powers:
            seen = (self._seen != 0).any(-1).any(2).any(1).view(*traffic.source.shape[:2], 1, 1)
            self._violate("fragments of what it has not seen", named)
            self._violate("fragments of what it has not seen", begin & ~seen)
            named, begin = torch.zeros_like(named), begin & seen
        if self.threat.position.kind == "edge":
            on_link = self._links.any(1).view(1, -1, 1, 1)
            self._violate("fragments out of reach", torch.cat([named & ~reach.unsqueeze(-1), begin & ~on_link], -1))
            named, begin = named & reach.unsqueeze(-1), begin & on_link
        return torch.cat([named, begin], -1)

    def _may_address(self, inject: Envelopes) -> Tensor:
        """On the path of links one can only put messages onto those; others may address anyone."""
        agents = self.setting.num_agents
        nowhere = {"observer": "an observer", "hub": "a hub", "sensor": "a sensor"}
        if self.threat.position.kind in nowhere:
            self._violate(f"inject as {nowhere[self.threat.position.kind]}", inject.where)
            return torch.zeros_like(inject.where)
        allowed = (inject.sender >= 0) & (inject.sender <= agents)
        self._violate("inject from an unknown sender", inject.where & ~allowed)
        if self.threat.position.kind != "edge":
            return allowed
        receiver = torch.arange(agents, device=inject.where.device).view(1, -1, 1).expand_as(inject.sender)
        on_link = self._links[receiver, inject.sender.clamp(0, agents)]
        self._violate("inject out of reach", inject.where & allowed & ~on_link)
        return allowed & on_link

    def _bound(self, modify: Tensor, change: Tensor) -> tuple[Tensor, Tensor]:
        largest = change.abs().amax(-1)  # of which NaN and infinity come out as themselves
        finite = largest.isfinite()
        if not finite.all():
            self._violate("modify not finite", modify & ~finite)
            modify, change = modify & finite, change.masked_fill(~finite.unsqueeze(-1), 0.0)
        norm = self.threat.budget.norm
        if norm is not None and (largest > norm).any():
            # A hair of float rounding is not a violation.
            self._violate("modify beyond the norm", modify & (largest > norm * (1 + 1e-5)))
            change = change.clamp(-norm, norm)
        length = self.threat.budget.length
        if length is not None:
            longest = change.norm(dim=-1)
            self._violate("modify beyond the length", modify & (longest > length * (1 + 1e-5)))
            change = change * (length / longest.clamp_min(max(length, 1e-30))).unsqueeze(-1)
        return modify, change

    def _spend(self, wanted: Tensor, remaining: Tensor) -> Tensor:
        granted = wanted & (wanted.cumsum(1) <= remaining.unsqueeze(1))
        self._violate("beyond the budget", wanted & ~granted)
        used = granted.sum(1)
        self.spent += used
        self._spent_step += used
        return granted

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

    def _violate(self, rule: str, where: Tensor) -> None:
        count = int(where.sum())
        if count:
            self.violations[rule] += count

    def _check_memory(self, shown: dict[str, Tensor]) -> None:
        """Memory that is swapped instead of changed could outlive its episode or cross worlds."""
        if shown.keys() != self.memory.keys() or any(shown[name] is not value for name, value in self.memory.items()):
            raise ValueError(f"{type(self.attack).__name__}: change the tensors of view.memory in place")

    def _check_shapes(self, traffic: Traffic, edits: Edits) -> None:
        slots, width = tuple(traffic.present.shape), traffic.spoken.shape[-1]
        for field in ("drop", "modify"):
            self._check(f"edits.{field}", getattr(edits, field), slots, torch.bool)
        self._check("edits.change", edits.change, (*slots, width), traffic.spoken.dtype)
        self._check("edits.delay", edits.delay, slots, torch.int64)
        if edits.pieces is not None:
            self._check("edits.pieces.begin", edits.pieces.begin, slots, torch.int64)
            self._check("edits.pieces.early", edits.pieces.early, slots, torch.bool)
            self._check("edits.pieces.middle", edits.pieces.middle, slots, torch.bool)
        if edits.modify is not None and edits.change is None:
            raise ValueError(f"{type(self.attack).__name__}: edits.modify needs edits.change")
        if edits.inject is not None:
            # [worlds, receivers, injections()]
            places = (*slots[:2], self.slots.stop - self.slots.start)
            self._check("edits.inject.where", edits.inject.where, places, torch.bool)
            self._check("edits.inject.payload", edits.inject.payload, (*places, width), traffic.spoken.dtype)
            for field in HEADER:
                self._check(f"edits.inject.{field}", getattr(edits.inject, field), places, torch.int64)

    def _check(self, what: str, value: Tensor | None, shape: tuple[int, ...], dtype: torch.dtype) -> None:
        if value is not None and (value.shape != shape or value.dtype != dtype):
            name = type(self.attack).__name__
            raise ValueError(f"{name}: {what} must be {dtype} {shape}, not {value.dtype} {tuple(value.shape)}")

    def get_state(self) -> dict[str, Any]:
        """Memory, spending and the generator, as numpy arrays."""
        return {
            "memory": {name: value.cpu().numpy().copy() for name, value in self.memory.items()},
            "spent": self.spent.cpu().numpy().copy(),
            "spent_step": self._spent_step.cpu().numpy().copy(),
            "shown": self.shown.cpu().numpy().copy(),
            "obeying": self._obeying.cpu().numpy().copy(),
            "seen": self._seen.cpu().numpy().copy(),
            "generator": self.generator.get_state().numpy().copy(),
            "violations": dict(self.violations),
            "actions": None if self.actions is None else self.actions.get_state(),
        }

    def set_state(self, saved: dict[str, Any]) -> None:
        """Restore what :meth:`get_state` saved."""

        def load(array: Any) -> Tensor:
            return torch.as_tensor(np.array(array), device=self.setting.device)

        for name, value in saved["memory"].items():
            self.memory[name].copy_(load(value))
        self.spent, self._spent_step = load(saved["spent"]), load(saved["spent_step"])
        self.shown = load(saved["shown"])
        self._seen, self._obeying = load(saved["seen"]), load(saved["obeying"])
        self.generator.set_state(torch.as_tensor(np.array(saved["generator"])))
        self.violations.clear()
        self.violations.update(saved["violations"])
        if self.actions is not None:
            self.actions.set_state(saved["actions"])


def count_pieces(pieces: Pieces) -> Tensor:
    """[B, N, M] int64, how many fragments there are."""
    return pieces.begin + pieces.early + pieces.middle


def _both(first: Pieces | None, second: Pieces | None) -> Pieces | None:
    """What two attacks put on the wire."""
    if first is None or second is None:
        return first or second
    return Pieces(first.begin + second.begin, first.early | second.early, first.middle | second.middle)


def _completed(inject: Envelopes) -> Envelopes:
    """What an attack left open is written as honest senders write it."""
    expiry = inject.sent_at + LIFETIME if inject.expiry is None else inject.expiry
    hops = torch.full_like(inject.sent_at, HOPS) if inject.hops is None else inject.hops
    return replace(inject, expiry=expiry, hops=hops)
