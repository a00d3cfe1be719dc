"""Network: everything that happens to messages between speaking and hearing.

Order: compromised agents change what they say -> seals -> attacks on the wire -> defenses in their
fixed order. State (attack and defense memories, budgets, counters) is kept per world and reset with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from agentcomm.defense import ORDERS, Defense, Delivered
from agentcomm.messages.guard import Guard
from agentcomm.messages.identity import Keyring
from agentcomm.messages.ledger import Ledger
from agentcomm.messages.traffic import Inbox, Links, Traffic
from agentcomm.seeds import derive
from agentcomm.threats import Attack, Setting

FATES = ("none", "delivered", "dropped", "tampered", "forged")


class Network:
    """The message layer of B worlds.

    Args:
        setting: Sizes.
        attacks: Attacks, applied in this order within their phase.
        defenses: Defenses; sorted into their fixed order.
        seed: Seeds keys and each attack's generator.
    """

    def __init__(
        self, setting: Setting, attacks: Sequence[Attack] = (), defenses: Sequence[Defense] = (), seed: int = 0
    ) -> None:
        self.setting = setting
        self.ledger = Ledger(setting.num_worlds, setting.device)
        self.guards: list[Guard] = []
        slot = setting.degree
        for number, attack in enumerate(attacks):
            self.guards.append(Guard(attack, setting, slot, derive(seed, "attack", number)))
            slot = self.guards[-1].slots.stop
        self.spare = slot - setting.degree
        self.defenses = sorted(defenses, key=lambda d: ORDERS.index(d.order))
        self.sealed = any(d.needs_seal for d in self.defenses)
        keys = torch.Generator(setting.device)
        keys.manual_seed(derive(seed, "keys"))
        self.keyring = Keyring(setting.num_agents, setting.width, keys, setting.device)
        self._memories = [d.memory() for d in self.defenses]
        self._fresh = [{name: value.clone() for name, value in m.items()} for m in self._memories]
        self.tape: list[dict[str, np.ndarray]] | None = None

    @property
    def quiet(self) -> bool:
        """Whether nothing can happen to a message on its way."""
        return not self.guards and not self.defenses

    def reset(self, worlds: Tensor) -> None:
        """Start the given worlds ([W] indices) afresh; counters go on."""
        for guard in self.guards:
            guard.reset(worlds)
        for memory, fresh in zip(self._memories, self._fresh, strict=True):
            for name, value in fresh.items():
                memory[name][worlds] = value[worlds]

    @torch.no_grad()
    def exchange(self, spoken: Tensor, links: Links, step: Tensor, kind: int) -> Inbox:
        """Carry one round of messages.

        Args:
            spoken: [B, N, D] what each agent says.
            links: Who listens to whom.
            step: [B] int64, steps since each world's episode began.
            kind: Round within the step, 0 .. rounds - 1; rounds of a step come in this order.

        Returns:
            The receivers' inboxes. Spare slots are left out of exchanges without injections, so that an
            attack that does nothing leaves a run bit-identical.
        """
        width = spoken.shape[-1]
        if self.quiet and self.tape is None:
            self.ledger.count(sent=links.present, accepted=links.present)
            self.ledger.carry(links.present, width, sealed=False)
            return Inbox(spoken, links.source, links.present, links.source)
        traffic = Traffic.on_links(spoken, links, step, kind, self.setting.rounds, self.spare)
        sent = traffic.present
        self.ledger.count(sent=sent)
        dropped = tampered = forged = torch.zeros_like(sent)
        for at_sender in (True, False):
            for guard in self.guards:
                if guard.at_sender == at_sender:
                    traffic, did = guard.apply(traffic, self.keyring, step, kind, links.due)
                    dropped, tampered, forged = dropped | did.dropped, tampered | did.tampered, forged | did.forged
            if at_sender and self.sealed:
                traffic = self.keyring.seal(traffic)
        tampered = tampered & ~dropped
        self.ledger.carry(sent | forged, width, self.sealed)
        arrived = traffic.present
        traffic = self._defend(self._shut(traffic, links.open), step, kind)
        accepted = traffic.present
        if traffic.delta is not None:
            # What is refused must not reach the policy: masked or not, a huge payload overflows to NaN.
            traffic = replace(traffic, delta=traffic.delta.masked_fill(~accepted.unsqueeze(-1), 0.0))
        self.ledger.count(
            dropped=dropped,
            tampered=tampered,
            forged=forged,
            accepted=accepted,
            accepted_forged=accepted & forged,
            accepted_tampered=accepted & tampered,
        )
        if self.tape is not None:
            self._record(traffic, kind, arrived, dropped, tampered, forged)
        degree = self.setting.degree
        if self.spare and not bool(accepted[..., degree:].any()):
            traffic = replace(
                traffic,
                source=traffic.source[..., :degree],
                present=accepted[..., :degree],
                scale=None if traffic.scale is None else traffic.scale[..., :degree],
                delta=None if traffic.delta is None else traffic.delta[..., :degree, :],
            )
        return traffic.to_inbox(traffic.present, links.source)

    def _shut(self, traffic: Traffic, open_: Tensor) -> Traffic:
        """Who does not listen hears nobody: what was injected is turned away, too."""
        unheard = traffic.present & ~open_.unsqueeze(-1)
        if not self.spare or not bool(unheard.any()):
            return traffic
        self.ledger.refuse("gate", unheard)
        return replace(traffic, present=traffic.present & ~unheard)

    def _defend(self, traffic: Traffic, step: Tensor, kind: int) -> Traffic:
        arrived = traffic
        for defense, memory in zip(self.defenses, self._memories, strict=True):
            verdicts = defense.screen(Delivered(traffic, self.keyring, step, kind, arrived), memory)
            if verdicts.refuse is not None:
                refused = verdicts.refuse & traffic.present
                self.ledger.refuse(defense.name, refused)
                traffic = replace(traffic, present=traffic.present & ~refused)
            if verdicts.scale is not None:
                traffic = traffic.scale_payload(verdicts.scale)
        return traffic

    def _record(
        self, traffic: Traffic, kind: int, arrived: Tensor, dropped: Tensor, tampered: Tensor, forged: Tensor
    ) -> None:
        """Note every message of the exchange for whoever wants to see it drawn."""
        fate = arrived.to(torch.int8)
        fate = fate.masked_fill(dropped, 2).masked_fill(tampered & arrived, 3).masked_fill(forged & arrived, 4)
        notes = {"sender": traffic.sender, "fate": fate, "accepted": traffic.present}
        assert self.tape is not None
        self.tape.append({name: value.cpu().numpy().copy() for name, value in notes.items()} | {"kind": np.array(kind)})

    def get_state(self) -> dict[str, Any]:
        """State of guards, defenses and the ledger, as numpy arrays."""
        return {
            "guards": [guard.get_state() for guard in self.guards],
            "memories": [{n: v.cpu().numpy().copy() for n, v in m.items()} for m in self._memories],
            "ledger": self.ledger.get_state(),
        }

    def set_state(self, saved: dict[str, Any]) -> None:
        """Restore what :meth:`get_state` saved."""
        for guard, state in zip(self.guards, saved["guards"], strict=True):
            guard.set_state(state)
        self._memories = [
            {n: torch.as_tensor(np.array(v), device=self.setting.device) for n, v in m.items()}
            for m in saved["memories"]
        ]
        self.ledger.set_state(saved["ledger"])
