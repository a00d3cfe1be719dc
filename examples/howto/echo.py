"""echo: send the last message of every link once more, beside the present one."""

import torch

from agentcomm.base.registry import register
from agentcomm.contracts.attack import Attack
from agentcomm.contracts.edits import Envelopes, MessageEdits
from agentcomm.contracts.threat_model import Position, ThreatModel

NUMBERS = ("sender", "audience", "sequence", "sent_at", "sent_round", "key", "seal")


@register("attack", "echo")
class Echo(Attack):
    def threat_model(self):
        return ThreatModel(Position(kind="edge"), frozenset({"read", "replay"}), "protocol", self.config.budget)

    def injections(self):
        return self.team_shape.degree  # S = k: a slot for each link

    def memory(self):
        s = self.team_shape
        shape = (s.num_worlds, s.rounds, s.num_agents, s.degree)
        numbers = {name: torch.zeros(shape, dtype=torch.int64, device=s.device) for name in NUMBERS}
        payload = torch.zeros(*shape, s.width, device=s.device)
        return numbers | {"payload": payload, "seen": torch.zeros(shape, dtype=torch.bool, device=s.device)}

    def on_messages(self, view):
        old = {name: tensor[:, view.round] for name, tensor in view.memory.items()}  # [B, N, k, ...], no copies
        now = view.reach[..., : self.team_shape.degree]  # the first k of the M slots are the links
        copies = {name: old[name].clone() for name in (*NUMBERS, "payload")}
        where = now & old["seen"]
        for name in copies:
            old[name][now] = getattr(view, name)[:, :, : self.team_shape.degree][now]
        old["seen"] |= now
        return MessageEdits(inject=Envelopes(where=where, **copies))
