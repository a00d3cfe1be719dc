"""The views that attacks are shown, one per hook: copies of what the threat model lets an attack read.

A view has no optional fields. Attributes that the threat model does not grant are absent, and reading one raises
:class:`agentcomm.base.errors.ThreatModelError`; :meth:`HookView.shows` tells whether an attribute is present.

Shapes: B worlds, N agents, M inbox slots per receiver, D payload width, O observation width, P parameters of an action
distribution (logits of discrete actions), C cells of the action space (the actions, if they are discrete).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from agentcomm.base.errors import ThreatModelError
from agentcomm.contracts.actions import ActionSpace
from agentcomm.contracts.threat_model import ThreatModel

READ = "the power 'read'"
POLICY = "knowledge 'policy' or 'defense'"


@dataclass(frozen=True, kw_only=True, eq=False)
class HookView:
    """The part that the views of all hooks share.

    Attributes:
        NEEDS: Powers or knowledge required to read each attribute that not every threat model grants.
        attack: Name of the attack.
        threat: The attack's threat model.
        step: [B] int64, step of the episode.
        remaining: [B] int64, budget left in this step (a large number if unlimited).
        memory: The attack's own tensors [B, ...], reset with their world and shared by all hooks; change them in
            place.
        generator: The attack's own random generator.
        granted: The attributes in ``NEEDS`` that the threat model grants.
    """

    NEEDS: ClassVar[Mapping[str, str]] = {}
    attack: str
    threat: ThreatModel
    step: Tensor
    remaining: Tensor
    memory: dict[str, Tensor]
    generator: torch.Generator
    granted: Mapping[str, Any] = field(default_factory=dict)

    if not TYPE_CHECKING:  # so that type checkers report attributes that are not declared

        def __getattr__(self, name: str) -> Any:
            """An attribute in ``NEEDS``, if it is granted."""
            if name not in type(self).NEEDS:
                raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
            if name not in self.granted:
                raise ThreatModelError(self._refusal(name))
            return self.granted[name]

    def shows(self, name: str) -> bool:
        """Whether an attribute in ``NEEDS`` is granted."""
        return name in self.granted

    def rand(self, *shape: int) -> Tensor:
        """Uniform random numbers in [0, 1) from the attack's generator."""
        return torch.rand(shape, generator=self.generator, device=self.step.device)

    def randn(self, *shape: int) -> Tensor:
        """Standard normal random numbers from the attack's generator."""
        return torch.randn(shape, generator=self.generator, device=self.step.device)

    def _refusal(self, name: str) -> str:
        t = self.threat
        powers = ", ".join(sorted(t.powers)) or "none"
        return (
            f"attack {self.attack!r} reads view.{name}, which requires {self.NEEDS[name]}; its threat model has"
            f" position {t.position.kind!r}, powers: {powers}, knowledge {t.knowledge!r}"
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class MessageView(HookView):
    """One exchange of messages. Slots outside ``reach`` have -1 in headers and zeros in payloads.

    Attributes:
        reach: [B, N, M] bool, present messages that the attacker's position covers.
        round: Round of the exchange within the step.
        width: Payload width D.
        identity: Owner of the attacker's key: its node, or N for an outsider.
        actions: The action space, which tells what action parameters mean.
        payload: [B, N, M, D].
        sender: [B, N, M] int64, claimed sender.
        audience: [B, N, M] int64, claimed receiver.
        sequence: [B, N, M] int64, sequence number.
        sent_at: [B, N, M] int64, step of sending.
        expiry: [B, N, M] int64, last step in which the message is fresh.
        hops: [B, N, M] int64, hops left.
        sent_round: [B, N, M] int64, round of sending.
        key: [B, N, M] int64, id of the key, -1 for none.
        seal: [B, N, M] int64, 0 for none.
        predict_logits: Maps changes [B, N, M, D] of the payloads in reach to the action parameters [B, N, P] of all
            agents without other interference; differentiable. With knowledge 'defense', what the deployed defenses make
            of them is predicted, too (:mod:`agentcomm.network.prediction`); otherwise, as if there were none.
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
    actions: ActionSpace
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
    """The observations of a step, before the team decides.

    Attributes:
        reach: [B, N] bool, present members whose sensors the attacker controls.
        observation: [B, N, O], in reach and with power read; -1 (indices) or 0 (numbers) elsewhere.
        readings: [N, O, V + 1] bool, of index observations: indices that each entry can show, shifted by one; the first
            place stands for -1, nothing.
        gate_logits: Maps observations [..., B, N, O] to gate logits [..., B, N]; differentiable for dense observations.
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
    """A compromised agent before its action, in the W worlds in which it acts; ``step`` and ``remaining`` are [W].

    Attributes:
        probability: [W, C] float64, the policy's distribution of its action; one-hot where the team decides greedily.
        worlds: [W] int64, indices of the worlds into ``memory``.
    """

    probability: Tensor
    worlds: Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class RewardView(HookView):
    """The rewards of a step of training.

    Attributes:
        reward: [B, N], the rewards earned.
        action: [B, N] int64, the options of the action space that the actions taken belong to.
    """

    reward: Tensor
    action: Tensor
