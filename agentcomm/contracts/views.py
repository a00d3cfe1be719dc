"""What an attack is shown, one view per hook: copies, of which it can keep none but in its memory.

A view has no optional fields. What the threat model does not grant is not there, and reading it raises
:class:`agentcomm.base.errors.ThreatModelError`; :meth:`HookView.shows` asks whether it is there.

Shapes: B worlds, N agents, M inbox slots per receiver, D payload width, O observation width, A actions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from agentcomm.base.errors import ThreatModelError
from agentcomm.contracts.threat_model import ThreatModel

READ = "the power 'read'"
POLICY = "knowledge 'policy' or 'defense'"


@dataclass(frozen=True, kw_only=True, eq=False)
class HookView:
    """What the views of all hooks have.

    Attributes:
        NEEDS: What it takes to see each of the attributes that not every threat model grants.
        attack: Name of the attack that it is made for.
        threat: The attack's threat model.
        step: [B] int64, step of the episode.
        remaining: [B] int64, what the budget still allows in this step (a large number if unlimited).
        memory: The attack's own tensors [B, ...], reset with their world and the same in all hooks; change them in
            place.
        generator: The attack's own randomness.
        granted: Those of the attributes in ``NEEDS`` that the threat model grants.
    """

    NEEDS: ClassVar[Mapping[str, str]] = {}
    attack: str
    threat: ThreatModel
    step: Tensor
    remaining: Tensor
    memory: dict[str, Tensor]
    generator: torch.Generator
    granted: Mapping[str, Any] = field(default_factory=dict)

    if not TYPE_CHECKING:  # to a type checker, what is not declared is not there

        def __getattr__(self, name: str) -> Any:
            """Attributes in ``NEEDS``: as granted."""
            if name not in type(self).NEEDS:
                raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
            if name not in self.granted:
                raise ThreatModelError(self._refusal(name))
            return self.granted[name]

    def shows(self, name: str) -> bool:
        """Whether an attribute in ``NEEDS`` is there."""
        return name in self.granted

    def rand(self, *shape: int) -> Tensor:
        """Uniform numbers in [0, 1) from the attack's generator."""
        return torch.rand(shape, generator=self.generator, device=self.step.device)

    def randn(self, *shape: int) -> Tensor:
        """Standard normal numbers from the attack's generator."""
        return torch.randn(shape, generator=self.generator, device=self.step.device)

    def _refusal(self, name: str) -> str:
        t = self.threat
        powers = ", ".join(sorted(t.powers)) or "none"
        return (
            f"attack {self.attack!r} reads view.{name}, which takes {self.NEEDS[name]}; its threat model has"
            f" position {t.position.kind!r}, powers: {powers}, knowledge {t.knowledge!r}"
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class MessageView(HookView):
    """One exchange of messages. Slots outside ``reach`` hold -1 in headers, and payloads of zeros.

    Attributes:
        reach: [B, N, M] bool, messages on the attacker's links that are present now.
        round: Exchange within the step.
        width: Payload width D.
        identity: Whom the attacker's own key belongs to: its node, or N for an outsider.
        payload: [B, N, M, D].
        sender: [B, N, M] claimed sender.
        audience: [B, N, M].
        sequence: [B, N, M].
        sent_at: [B, N, M].
        expiry: [B, N, M].
        hops: [B, N, M].
        sent_round: [B, N, M].
        key: [B, N, M].
        seal: [B, N, M].
        predict_logits: Takes changes [B, N, M, D] of the payloads in reach and returns the action logits [B, N, A] of
            all agents if nobody else interferes; differentiable.
    """

    NEEDS: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(("payload", "sender", "audience", "sequence", "sent_at", "expiry", "hops", "sent_round"), READ),
        **dict.fromkeys(("key", "seal"), READ),
        "predict_logits": f"{POLICY}, and a policy whose agents act all at once (decoder: parallel)",
    }
    reach: Tensor
    round: int
    width: int
    identity: int
    payload: Tensor = field(init=False, repr=False)
    sender: Tensor = field(init=False, repr=False)
    audience: Tensor = field(init=False, repr=False)
    sequence: Tensor = field(init=False, repr=False)
    sent_at: Tensor = field(init=False, repr=False)
    expiry: Tensor = field(init=False, repr=False)
    hops: Tensor = field(init=False, repr=False)
    sent_round: Tensor = field(init=False, repr=False)
    key: Tensor = field(init=False, repr=False)
    seal: Tensor = field(init=False, repr=False)
    predict_logits: Callable[[Tensor], Tensor] = field(init=False, repr=False)


@dataclass(frozen=True, kw_only=True, eq=False)
class ObservationView(HookView):
    """What agents are about to observe, before the team decides.

    Attributes:
        reach: [B, N] bool, whose sensors the attacker holds: those of members that are there.
        observation: [B, N, O], with the power to read; -1 (indices) or 0 (numbers) elsewhere.
        readings: [N, O, V + 1] bool, of index observations: what each entry can show, as the index plus one, so that
            the first stands for -1, nothing.
        gate_logits: Takes observations [..., N, O] and returns gate logits [..., N]; differentiable in numbers.
    """

    NEEDS: ClassVar[Mapping[str, str]] = {
        "readings": "observations that are indices",
        "gate_logits": f"{POLICY}, and a policy with gates (gate: {{...}})",
    }
    reach: Tensor
    observation: Tensor
    readings: Tensor = field(init=False, repr=False)
    gate_logits: Callable[[Tensor], Tensor] = field(init=False, repr=False)


@dataclass(frozen=True, kw_only=True, eq=False)
class ActionView(HookView):
    """A compromised agent that is about to act, in the W worlds in which it is: ``step`` and ``remaining`` are [W].

    Attributes:
        probability: [W, A] float64, the policy's distribution of its next action; one 1 where the team decides
            greedily.
        worlds: [W] int64 indices, for ``memory``.
    """

    probability: Tensor
    worlds: Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class RewardView(HookView):
    """What a step earned, in training.

    Attributes:
        reward: [B, N] what each agent earned.
        action: [B, N] int64, what they did.
    """

    reward: Tensor
    action: Tensor
