"""liar: an outsider that writes noise to every agent in the name of the next one."""

from agentcomm.base.registry import register
from agentcomm.contracts.attack import Attack
from agentcomm.contracts.edits import MessageEdits
from agentcomm.contracts.forging import receivers, tokens, written
from agentcomm.contracts.threat_model import Position, ThreatModel


@register("attack", "liar")
class Liar(Attack):
    def threat_model(self):
        return ThreatModel(Position(kind="newcomer"), frozenset({"inject"}), "protocol", self.config.budget)

    def injections(self):
        return 1

    def on_messages(self, view):
        receiver = receivers(self.team_shape)
        sender = (receiver + 1) % self.team_shape.num_agents
        return MessageEdits(inject=written(view, self.team_shape, receiver >= 0, tokens(view, receiver), sender))
