"""The guard of messages: it shows an attack what it may read of an exchange, and carries out its permitted edits.

Edits beyond position, powers, norm or budget are not carried out; they are counted in ``GuardBase.violations`` under
the rule that they break.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from agentcomm.base.state import State
from agentcomm.contracts.edits import Envelopes, MessageEdits
from agentcomm.contracts.shape import TeamShape
from agentcomm.contracts.threat_model import WHITE_BOX, Position, Power
from agentcomm.contracts.traffic import HEADER, LIFETIME, Traffic
from agentcomm.contracts.views import MessageView
from agentcomm.guards.base import GuardBase
from agentcomm.guards.effects import Effects, check_edits, completed, forms_of
from agentcomm.guards.matched import direction, shuffled
from agentcomm.guards.permits import Permits
from agentcomm.guards.seen import SeenMessages
from agentcomm.wire.keyring import Keyring


class MessageGuard(State):
    """Holds an attack's hook ``on_messages`` to its threat model.

    Args:
        base: The attack.
        first_slot: The first inbox slot reserved for its injections.

    Attributes:
        slots: The inbox slots of its injections.
        copies_only: Whether it can inject copies of messages that it has seen, but write none.
        trace: The views that the attack was shown, exchange by exchange; None to record nothing. Evaluation sets and
            reads it; the attack never does.
    """

    keeps = ("_infected", "_seen")

    def __init__(self, base: GuardBase, first_slot: int) -> None:
        self.base = base
        self.slots = slice(first_slot, first_slot + base.injections)
        self.trace: list[MessageView] | None = None
        shape = base.shape
        # Agents that a spreading attack has infected, and the messages it touched in the present exchange.
        self._infected = torch.zeros(shape.num_worlds, shape.num_agents, dtype=torch.bool, device=shape.device)
        self._touched = torch.zeros(0, dtype=torch.bool, device=shape.device)
        self._links = _links(base.threat.position, shape)
        self._seen = SeenMessages(shape)
        self._permits = Permits(base, self._links, self._seen)
        self.copies_only = "replay" in base.threat.powers and "inject" not in base.threat.powers

    @property
    def at_sender(self) -> bool:
        """Whether it acts before messages are sealed, as a compromised agent does."""
        return self.base.threat.position.kind == "node"

    def reset(self, worlds: Tensor) -> None:
        """Forget the episodes of the given worlds ([W] indices)."""
        self._infected[worlds] = False
        self._seen.reset(worlds)

    def apply(
        self,
        traffic: Traffic,
        keyring: Keyring,
        step: Tensor,
        round_: int,
        due: Tensor | None = None,
        predict_logits: Callable[[Traffic], Tensor] | None = None,
    ) -> tuple[Traffic, Effects]:
        """Let the attack act on one exchange.

        Args:
            traffic: The messages on the wire.
            keyring: Seals on the attacker's behalf, with its own key only.
            step: [B] int64.
            round_: Round of the exchange.
            due: [B, N] bool, receivers whose messages the exchange carries; None for all.
            predict_logits: Returns the action logits [B, N, A] that follow from given traffic; None if they cannot be
                predicted.

        Returns:
            The traffic after the attack, and the effects of the attack.
        """
        reach, remaining = self._reach(traffic), self.base.remaining(step)
        view = self._view(traffic, reach, remaining, step, round_, predict_logits)
        if self.trace is not None:  # a view of its own, on which the attack cannot write
            self.trace.append(self._view(traffic, reach, remaining, step, round_, predict_logits))
        if self.copies_only and "read" in self.base.threat.powers:
            self._seen.remember(traffic, keyring, reach, step, round_)
        forms = forms_of(traffic, self.base.injections)
        edits = self.base.take("on_messages", self.base.ask("on_messages", view), MessageEdits, forms)
        check_edits(self.base.who, edits)
        if edits.inject is not None:
            edits = replace(edits, inject=completed(edits.inject))
        if due is not None and edits.inject is not None:
            # Other agents do not collect messages in this exchange, so none are injected or charged for.
            where = edits.inject.where & due.unsqueeze(-1)
            edits = replace(edits, inject=replace(edits.inject, where=where))
        after, effects = self._carry_out(traffic, keyring, edits, reach, remaining)
        self._touched = effects.tampered | effects.forged
        return after, effects

    def show(self, traffic: Traffic, step: Tensor, round_: int) -> MessageView:
        """The view of an exchange that the attack would be shown, for agents that decide in its place.

        Args:
            traffic: The messages on the wire.
            step: [B] int64.
            round_: Round of the exchange.
        """
        return self._view(traffic, self._reach(traffic), self.base.remaining(step), step, round_, None)

    def spread(self, accepted: Tensor) -> None:
        """Infect the receivers that accepted ([B, N, M] bool) a touched message of an attack that spreads."""
        if self.base.threat.position.spreads:
            self._infected |= (accepted & self._touched).any(-1)

    def _reach(self, traffic: Traffic) -> Tensor:
        kind = self.base.threat.position.kind
        if kind == "node":
            agents = self.base.shape.num_agents
            origin = traffic.origin.clamp(max=agents - 1)
            infected = self._infected.unsqueeze(1).expand(-1, agents, -1).gather(2, origin)
            return traffic.present & ((traffic.origin == self.base.identity) | infected)
        if kind in ("newcomer", "hub", "sensor"):
            return torch.zeros_like(traffic.present)
        return traffic.present & self._links[traffic.receiver, traffic.origin]

    def _view(
        self,
        traffic: Traffic,
        reach: Tensor,
        remaining: Tensor,
        step: Tensor,
        round_: int,
        predict_logits: Callable[[Traffic], Tensor] | None,
    ) -> MessageView:
        granted: dict[str, Any] = {}
        if "read" in self.base.threat.powers:
            granted = {name: torch.where(reach, getattr(traffic, name), -1) for name in HEADER}
            granted["payload"] = traffic.payload().detach().masked_fill(~reach.unsqueeze(-1), 0.0)
        if self.base.threat.knowledge in WHITE_BOX and predict_logits is not None:
            granted["predict_logits"] = lambda change: predict_logits(traffic.add_payload(reach, change))
        return MessageView(
            **self.base.shown(step, remaining),
            reach=reach.clone(),
            round=round_,
            width=traffic.spoken.shape[-1],
            identity=self.base.identity,
            actions=self.base.shape.actions,
            granted=granted,
        )

    def _carry_out(
        self, traffic: Traffic, keyring: Keyring, edits: MessageEdits, reach: Tensor, remaining: Tensor
    ) -> tuple[Traffic, Effects]:
        """Judge edits, charge for them, and carry out those that the budget covers."""
        judged, change = self._judge(traffic, keyring, edits, reach)
        nothing = torch.zeros_like(traffic.present)
        if not judged:
            return traffic, Effects(nothing, nothing, nothing, torch.zeros_like(traffic.source))
        granted = self.base.spend(torch.cat([where.flatten(1) for where in judged.values()], 1), remaining)
        split = torch.split(granted, [where[0].numel() for where in judged.values()], 1)
        paid = {name: part.view_as(where) for (name, where), part in zip(judged.items(), split, strict=True)}
        delay = torch.zeros_like(traffic.source)
        if edits.delay is not None and "delay" in paid:
            delay = edits.delay.clamp(max=LIFETIME + 1) * paid["delay"]
        if self.base.run_as == "control":
            delay, change = self._control(paid, delay, change, reach)
        elif self.base.run_as == "silence":
            paid, delay = {"drop": self._touching(paid, nothing)}, torch.zeros_like(delay)
        dropped, tampered = paid.get("drop", nothing), paid.get("modify", nothing)
        if change is not None and tampered.any():  # so that an empty edit changes no bit
            traffic = traffic.add_payload(tampered, change)
            self.base.spending.change(change.norm(dim=-1), tampered)
        forged = nothing
        if edits.inject is not None and "inject" in paid:
            forged = nothing.clone()
            forged[..., self.slots] = paid["inject"]
            if forged.any():
                traffic = self._put(traffic, keyring, edits.inject, forged)
        fragments, repeated = None, None
        if "fragments" in paid:
            each = paid["fragments"]
            if self.base.run_as == "control":
                repeated = each.sum(-1)
            else:
                assert edits.fragments is not None
                fragments = self._permits.put(edits.fragments, each)
        if dropped.any():
            traffic = replace(traffic, present=traffic.present & ~dropped)
        delay = delay.masked_fill(dropped, 0)
        return traffic, Effects(dropped, tampered & ~dropped, forged, delay, fragments, repeated=repeated)

    def _control(
        self, paid: dict[str, Tensor], delay: Tensor, change: Tensor | None, reach: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """Replace the paid edits by those of the matched control; returns its delays and changes.

        Changes keep their messages and L2 norms, and get a random direction. Dropped and delayed messages are as many,
        chosen at random among those in reach; messages that are dropped in favor of injected ones stay the same, since
        what is injected is made true.
        """
        chance, norm = self.base.chance, self.base.threat.budget.norm
        if "drop" in paid and "inject" not in paid:
            paid["drop"] = shuffled(paid["drop"], reach, chance)
        if "delay" in paid:
            delay = shuffled(delay, reach, chance)
        if change is not None and "modify" in paid:
            bound = torch.inf if norm is None else norm
            change = direction(change, chance, -bound, bound)
        return delay, change

    def _touching(self, paid: dict[str, Tensor], nothing: Tensor) -> Tensor:
        """[B, N, M] bool, messages of the team that the edits drop, change or delay."""
        for name in ("drop", "modify", "delay"):
            nothing = nothing | paid[name] if name in paid else nothing
        return nothing

    def _judge(
        self, traffic: Traffic, keyring: Keyring, edits: MessageEdits, reach: Tensor
    ) -> tuple[dict[str, Tensor], Tensor | None]:
        """Where edits are permitted, by kind of edit and in the order in which they are charged; and the change."""
        drop = self._permits.touch(edits.drop, "drop", reach)
        modify, change = self._permits.touch(edits.modify, "modify", reach), edits.change
        hold = None
        if edits.delay is not None:
            self.base.violate("delay by a negative number of steps", edits.delay < 0)
            hold = self._permits.touch(edits.delay > 0, self._holding, reach)
        inject = self._permits.injection(edits.inject, keyring)
        fragments = None if edits.fragments is None else self._permits.fragments(edits.fragments, traffic, reach)
        if modify is not None and change is not None:
            modify, change = self._permits.change(modify, change)
        judged = {"drop": drop, "modify": modify, "delay": hold, "inject": inject, "fragments": fragments}
        return {name: where for name, where in judged.items() if where is not None}, change

    @property
    def _holding(self) -> Power:
        """The power by which it holds messages back."""
        return "reorder" if "reorder" in self.base.threat.powers else "delay"

    def _put(self, traffic: Traffic, keyring: Keyring, inject: Envelopes, forged: Tensor) -> Traffic:
        """Inject messages into the attack's spare slots; their origin is always the attacker's own."""
        pad, identity = (self.slots.start, traffic.slots - self.slots.stop), self.base.identity

        def spread(values: Tensor) -> Tensor:
            return torch.nn.functional.pad(values, pad)

        header: dict[str, Any] = {
            name: torch.where(forged, spread(getattr(inject, name)), getattr(traffic, name)) for name in HEADER
        }
        # The receiver attributes a message to its claimed sender. A newcomer is no agent's neighbor; its messages point
        # to the receiver itself.
        known = header["sender"] < self.base.shape.num_agents
        source = torch.where(known, header["sender"], traffic.receiver)
        traffic = replace(
            traffic,
            source=torch.where(forged, source, traffic.source),
            present=traffic.present | forged,
            origin=traffic.origin.masked_fill(forged, identity),
            **header,
        )
        payload = torch.nn.functional.pad(inject.payload, (0, 0, *pad))
        if self.base.run_as == "control":  # as many messages, but with the claimed sender's present payloads
            everyone = traffic.spoken.unsqueeze(1).expand(-1, source.shape[1], -1, -1)
            payload = everyone.gather(2, source.unsqueeze(-1).expand_as(payload))
        traffic = traffic.edit_payload(forged, payload)
        if inject.sign:
            own = torch.full_like(traffic.key, identity)
            traffic = replace(traffic, key=torch.where(forged, own, traffic.key))
            traffic = replace(traffic, seal=torch.where(forged, keyring.tag(traffic, own), traffic.seal))
        return traffic


def _links(position: Position, shape: TeamShape) -> Tensor:
    """[N receivers, N + 1 senders] bool, the links that the position covers.

    Raises:
        ValueError: If a link names an agent that the team does not have.
    """
    agents = shape.num_agents
    links = torch.full((agents, agents + 1), position.links is None, dtype=torch.bool, device=shape.device)
    for sender, receiver in position.links or ():
        if not (0 <= sender < agents and 0 <= receiver < agents):
            raise ValueError(f"link [{sender}, {receiver}] names an agent outside 0 .. {agents - 1}")
        links[receiver, sender] = True
    return links
