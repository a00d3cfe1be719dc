"""Conformance check of defenses that judge fragments."""

from __future__ import annotations

from collections.abc import Callable

from agentcomm.channels.fragments import Fragments, FragmentsConfig
from agentcomm.conformance.common import require
from agentcomm.conformance.conversations import carry, check_state, conversation, make_team_shape, same_heard
from agentcomm.contracts.attack import Attack, AttackConfig
from agentcomm.contracts.defense import Defense
from agentcomm.contracts.edits import Fragments as FragmentEdits
from agentcomm.contracts.edits import MessageEdits
from agentcomm.contracts.shape import TeamShape
from agentcomm.contracts.threat_model import Position, ThreatModel
from agentcomm.contracts.views import MessageView
from agentcomm.step.comms import Comms


class DisturbFragments(Attack):
    """Puts all sorts of fragments on the wire, and takes some off it."""

    def threat_model(self) -> ThreatModel:
        """On the path, with everything it takes to disturb."""
        return ThreatModel(Position(kind="edge"), frozenset({"read", "drop", "inject"}))

    def on_messages(self, view: MessageView) -> MessageEdits:
        """A little of everything."""
        luck = view.rand(*view.reach.shape, 5) < 0.1
        begin, stray, early, middle, missing = luck.unbind(-1)
        some = view.reach
        return MessageEdits(
            fragments=FragmentEdits(begin.long(), early & some, middle & some, stray.long(), missing & some)
        )


def check_reassembly(make: Callable[[TeamShape], Defense], quick: bool) -> None:
    """On random conversations over a channel that fragments messages: verdicts, state, and clean messages."""
    shape = make_team_shape(4, 3, 16)
    exchanges = conversation(shape, 4 if quick else 8, seed=5)

    def build(attacked: bool = True, defended: bool = True) -> Comms:
        channel = Fragments(FragmentsConfig(mtu=40, loss=0.05 if attacked else 0.0), shape, shape.degree)
        attacks = [DisturbFragments(AttackConfig(), shape)] if attacked else []
        defenses = [make(shape)] if defended else []
        return Comms.between(shape, attacks, defenses, seed=1, channels=[channel])

    clean = carry(build(attacked=False), exchanges), carry(build(attacked=False, defended=False), exchanges)
    require(same_heard(*clean), "clean fragments are refused")
    check_state(build, exchanges, quick)
