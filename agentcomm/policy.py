"""The contract of a communicating policy, and how it decides and is evaluated again.

A policy with R rounds takes a step like this: encode the observation; in each round every agent speaks,
the network delivers, every agent hears; then act. The very same template runs in a rollout, where
messages pass the network, and in an update, where what the network did is replayed from the record.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from agentcomm.messages.network import Network
from agentcomm.messages.traffic import Inbox, Links
from agentcomm.plugin import Plugin, PluginConfig
from agentcomm.world import World


class Topology(Protocol):
    """Who may listen to whom. Every row keeps exactly ``degree`` senders, never the receiver itself."""

    degree: int
    learned: bool

    def noise(self, num_worlds: int, generator: torch.Generator) -> Tensor:
        """[B, N, N] noise that a rollout samples its graphs with (to be recorded); [B, 0, 0] if none is used."""
        ...

    def neighbors(self, noise: Tensor | None, num_worlds: int) -> Tensor:
        """[B, N, k] int64 senders; the executed graph when noise is None."""
        ...

    def weight(self, source: Tensor, noise: Tensor) -> Tensor | None:
        """Straight-through weights [B, N, k] (value 1) of recorded edges; None for a fixed graph."""
        ...


class PolicyConfig(PluginConfig):
    """Arguments every policy has."""


Deliver = Callable[[int, Tensor], Inbox]


class CommPolicy(Plugin, nn.Module):
    """A policy for a team. Implement ``encode``, ``speak``, ``hear``, ``act`` and ``value``.

    Attributes:
        rounds: Exchanges of messages per step.
        width: Payload width D.
        topology: Who may listen to whom.
        gate: Module from hidden [B, N, D] to gate logits [B, N], or None for gates that are always open.
    """

    Config: ClassVar[type[PluginConfig]] = PolicyConfig
    rounds: int
    width: int
    topology: Any
    gate: nn.Module | None
    return_mean: Tensor
    return_scale: Tensor

    def __init__(self, config: PolicyConfig) -> None:
        nn.Module.__init__(self)
        self.config = config
        # Values are learned in units of the return's mean and spread, which training keeps here.
        self.register_buffer("return_mean", torch.tensor(0.0))
        self.register_buffer("return_scale", torch.tensor(1.0))

    @classmethod
    @abstractmethod
    def for_world(cls, config: PolicyConfig, world: World) -> CommPolicy:
        """Build the policy that fits a world's agents, observations and actions."""

    @classmethod
    @abstractmethod
    def without_messages(cls, config: PolicyConfig) -> PolicyConfig:
        """The same policy with nobody listening: the control that every result is held against."""

    @abstractmethod
    def encode(self, observation: Tensor) -> Tensor:
        """Observation [B, N, O] -> hidden [B, N, H], before anything is heard."""

    @abstractmethod
    def speak(self, hidden: Tensor, round_: int) -> Tensor:
        """Hidden -> payloads [B, N, D] of this round."""

    @abstractmethod
    def hear(self, hidden: Tensor, inbox: Inbox, round_: int) -> Tensor:
        """Hidden and what was delivered -> hidden."""

    @abstractmethod
    def act(self, hidden: Tensor) -> Tensor:
        """Hidden after the last round -> action logits [B, N, A]."""

    @abstractmethod
    def value(self, hidden: Tensor) -> Tensor:
        """What ``encode`` returned -> values [B, N] in units of the normalized return; used in training only.

        The critic may look at all agents' observations, but not at gates, messages or actions: it is the
        baseline that all of these are held against, and one that knew whether a gate was open would credit
        the gate with nothing.
        """

    def anneal(self, progress: float) -> None:
        """Let parts that follow the share of training done (0 .. 1) do so, in buffers. Nothing by default."""

    def listen(self, hidden: Tensor) -> Tensor | None:
        """Gate logits [B, N] from what each agent knows before it hears anything; None if all always listen."""
        if self.gate is None:
            return None
        logit: Tensor = self.gate(hidden)
        return logit

    def listening_cost(self) -> float:
        """What a receiver pays for a step with its gate open, in units of reward."""
        return 0.0

    def expected_return(self, value: Tensor) -> Tensor:
        """Value estimates in units of reward."""
        return value * self.return_scale + self.return_mean

    def graph_parameters(self) -> list[nn.Parameter]:
        """Parameters of the graph, trained by their own optimizer on held-out worlds."""
        return list(self.topology.parameters()) if self.topology.learned else []

    def run(self, observation: Tensor, deliver: Deliver, hidden: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The template: action logits [B, N, A] and values [B, N].

        Args:
            observation: [B, N, O].
            deliver: Takes the round and the payloads [B, N, D] and returns the inboxes.
            hidden: ``encode(observation)``, if the caller has it already.
        """
        first = self.encode(observation) if hidden is None else hidden
        state = first
        for round_ in range(self.rounds):
            state = self.hear(state, deliver(round_, self.speak(state, round_)), round_)
        return self.act(state), self.value(first)


@dataclass(frozen=True)
class Decision:
    """What a team did in one step, and all that is needed to evaluate it again.

    Attributes:
        action: [B, N] int64.
        gate: [B, N] bool, who listened.
        log_probability: [B, N] of the action.
        gate_log_probability: [B, N] of the gate, 0 without one.
        value: [B, N] in units of reward.
        logits: [B, N, A].
        inboxes: What was delivered, per round.
    """

    action: Tensor
    gate: Tensor
    log_probability: Tensor
    gate_log_probability: Tensor
    value: Tensor
    logits: Tensor
    inboxes: list[Inbox]


def _gate_log_probability(logit: Tensor, open_: Tensor) -> Tensor:
    return nn.functional.logsigmoid(torch.where(open_, logit, -logit))


@torch.no_grad()
def decide(
    policy: CommPolicy,
    observation: Tensor,
    source: Tensor,
    network: Network | None,
    step: Tensor,
    generator: torch.Generator | None,
) -> Decision:
    """One decision of the whole team in every world.

    Args:
        policy: The policy.
        observation: [B, N, O].
        source: [B, N, k] int64, the graph in use.
        network: What messages pass; None delivers them untouched and counts nothing.
        step: [B] int64, steps since each episode began.
        generator: Samples gates and actions; None decides greedily.
    """
    hidden = policy.encode(observation)
    gate_logit = policy.listen(hidden)
    if gate_logit is None:
        open_ = torch.ones(source.shape[:2], dtype=torch.bool, device=source.device)
    elif generator is None:
        open_ = gate_logit > 0
    else:
        open_ = torch.rand(gate_logit.shape, generator=generator, device=gate_logit.device) < gate_logit.sigmoid()
    links = Links(source, open_)
    inboxes: list[Inbox] = []

    def deliver(round_: int, spoken: Tensor) -> Inbox:
        if network is None:
            inbox = Inbox(spoken, links.source, links.present, links.source)
        else:
            inbox = network.exchange(spoken, links, step, round_)
        inboxes.append(inbox)
        return inbox

    logits, value = policy.run(observation, deliver, hidden)
    log_probabilities = logits.log_softmax(-1)
    if generator is None:
        action = logits.argmax(-1)
    else:  # Gumbel-max: the largest of logit - log(exponential noise)
        noise = torch.empty_like(logits).exponential_(generator=generator)
        action = (log_probabilities - noise.log()).argmax(-1)
    log_probability = log_probabilities.gather(-1, action.unsqueeze(-1)).squeeze(-1)
    gate_log_probability = torch.zeros_like(log_probability)
    if gate_logit is not None:
        gate_log_probability = _gate_log_probability(gate_logit, open_)
    return Decision(
        action, open_, log_probability, gate_log_probability, policy.expected_return(value), logits, inboxes
    )


@dataclass(frozen=True)
class Evaluation:
    """A recorded step under the present parameters: all [rows, N]."""

    log_probability: Tensor
    gate_log_probability: Tensor
    entropy: Tensor
    gate_entropy: Tensor
    value: Tensor


def evaluate(policy: CommPolicy, rows: Mapping[str, Tensor], graph_gradient: bool = False) -> Evaluation:
    """Evaluate recorded decisions again, replaying what the network did to every slot.

    Args:
        policy: The policy.
        rows: Columns ``observation`` [R, N, O], ``action`` [R, N], ``gate`` [R, N], ``links`` [R, N, k],
            ``mask`` [R, rounds, N, M], and where messages were disturbed ``source`` and ``scale``
            [R, rounds, N, M] and ``delta`` [R, rounds, N, M, D]; with a learned graph ``noise`` [R, N, N].
        graph_gradient: Whether gradients shall reach the graph's parameters.
    """
    links = rows["links"].long()
    weight = policy.topology.weight(links, rows["noise"]) if graph_gradient else None

    def deliver(round_: int, spoken: Tensor) -> Inbox:
        mask = rows["mask"][:, round_]
        source = rows["source"][:, round_].long() if "source" in rows else links
        spare = mask.shape[-1] - links.shape[-1]
        padded = weight if weight is None or not spare else nn.functional.pad(weight, (0, spare), value=1.0)
        return Inbox(
            spoken,
            source,
            mask,
            links,
            rows["scale"][:, round_] if "scale" in rows else None,
            rows["delta"][:, round_] if "delta" in rows else None,
            padded,
        )

    observation = rows["observation"]
    hidden = policy.encode(observation.long() if not observation.is_floating_point() else observation)
    logits, value = policy.run(observation, deliver, hidden)
    log_probabilities = logits.log_softmax(-1)
    log_probability = log_probabilities.gather(-1, rows["action"].long().unsqueeze(-1)).squeeze(-1)
    entropy = -(log_probabilities.exp() * log_probabilities).sum(-1)
    gate_entropy = gate_log_probability = torch.zeros_like(entropy)
    logit = policy.listen(hidden)
    if logit is not None:
        gate_log_probability = _gate_log_probability(logit, rows["gate"])
        gate_entropy = nn.functional.softplus(logit) - logit * logit.sigmoid()
    return Evaluation(log_probability, gate_log_probability, entropy, gate_entropy, value)
