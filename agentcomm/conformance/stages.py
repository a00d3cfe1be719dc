"""Do defenses keep their contract?"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from agentcomm.conformance.common import check_memory, check_plugin, require
from agentcomm.conformance.conversations import carry, check_state, conversation, make_team_shape, same_heard
from agentcomm.contracts.attack import Attack, AttackConfig
from agentcomm.contracts.defense import ORDERS, Defense, DefenseConfig, Delivered, Verdicts
from agentcomm.contracts.edits import MessageEdits
from agentcomm.contracts.forging import receivers, written
from agentcomm.contracts.shape import TeamShape
from agentcomm.contracts.threat_model import Position, ThreatModel
from agentcomm.contracts.views import MessageView
from agentcomm.step.comms import Comms


class Disturb(Attack):
    """Does a little of everything, to see how others take it."""

    def threat_model(self) -> ThreatModel:
        """On the path, with everything it takes to disturb."""
        return ThreatModel(Position(kind="edge"), frozenset({"read", "drop", "modify", "inject"}))

    def injections(self) -> int:
        """One."""
        return 1

    def on_messages(self, view: MessageView) -> MessageEdits:
        """Drop some messages, change some, add some."""
        s = self.team_shape
        some = view.rand(*view.reach.shape)
        receiver = receivers(s)
        where = view.rand(*receiver.shape) < 0.3
        inject = written(view, s, where, view.randn(*receiver.shape, s.width), (receiver + 1) % s.num_agents)
        change = view.randn(*view.reach.shape, s.width)
        return MessageEdits(view.reach & (some < 0.2), view.reach & (some > 0.6), change, inject=inject)


class _Watched(Defense):
    """Looks over a defense's shoulder."""

    def __init__(self, inner: Defense) -> None:
        super().__init__(inner.config, inner.team_shape)
        self.inner = inner
        self.name, self.order, self.needs_seal = inner.name, inner.order, inner.needs_seal  # type: ignore[misc]

    def memory(self) -> dict[str, Tensor]:
        return self.inner.memory()

    def screen(self, delivered: Delivered, memory: dict[str, Tensor]) -> Verdicts:
        names = ("present", "sender", "audience", "sequence", "sent_at", "sent_round", "key", "payload", "step")
        before = {name: getattr(delivered, name).clone() for name in names}
        places = dict(memory)
        verdicts = self.inner.screen(delivered, memory)
        changed = [name for name, value in before.items() if not torch.equal(value, getattr(delivered, name))]
        require(not changed, f"screen changes {', '.join(changed)} of what was delivered")
        kept = places.keys() == memory.keys() and all(memory[name] is value for name, value in places.items())
        require(kept, "screen swaps tensors of its memory; they must be changed in place")
        shape = delivered.present.shape
        if verdicts.refuse is not None:
            fits = verdicts.refuse.shape == shape and verdicts.refuse.dtype == torch.bool
            require(fits, f"refuse must be torch.bool {tuple(shape)}")
        if verdicts.scale is not None:
            fits = verdicts.scale.shape == shape and verdicts.scale.dtype == torch.float32
            require(fits, f"scale must be torch.float32 {tuple(shape)}")
            require(verdicts.scale[delivered.present].isfinite().all(), "scale is not finite")
        return verdicts


def check_defense(
    defense: type[Defense], arguments: dict[str, Any] | None = None, num_agents: int = 4, lossless: bool = True
) -> None:
    """Check the contract of :class:`agentcomm.contracts.defense.Defense` on random traffic, clean and attacked.

    Args:
        defense: The defense's class.
        arguments: Its arguments; those by default when not given.
        num_agents: Size of the team that it defends.
        lossless: Whether it must let clean traffic pass bit for bit. Defenses that pay for robustness with clean
            performance, such as quotas, do not.

    Raises:
        AssertionError: If the defense breaks the contract.
    """
    check_plugin(defense, DefenseConfig)
    require(defense.order in ORDERS, f"order is {defense.order!r}, not one of {', '.join(ORDERS)}")
    config = defense.Config.model_validate(arguments or {})
    assert isinstance(config, DefenseConfig)
    for degree in (0, 2):
        team_shape = make_team_shape(num_agents, degree)
        exchanges = conversation(team_shape, 10, seed=degree)
        check_memory(defense(config, team_shape).memory, team_shape.num_worlds)

        def build(attacked: bool = True, team_shape: TeamShape = team_shape) -> Comms:
            attacks = [Disturb(AttackConfig(), team_shape)] if attacked else []
            return Comms.between(team_shape, attacks, [_Watched(defense(config, team_shape))], seed=1)

        carry(build(), exchanges)
        if lossless:
            passed = same_heard(carry(build(attacked=False), exchanges), carry(Comms.between(team_shape), exchanges))
            require(passed, "clean messages are refused or changed (pass lossless=False if that is its price)")
    check_state(build, exchanges)
