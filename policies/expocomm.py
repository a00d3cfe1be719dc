"""ExpoComm (Li et al., ICLR 2025, 2502.19717): messages over an exponential graph, and memories of what is heard.

Each agent keeps what it saw, ``h = GRU(relu(W o), h)``, and what it heard, m; its message is the m of the step before,
so information travels one hop per step. It acts on [h, m].

- ``static``: it listens to agents at distances 1, 2, 4, ... and mixes their memories and its own by attention of width
  16: queries from h, keys and values from m (section 4.2).
- ``one_peer``: it listens to one of these agents per step, in turn, and ``m' = GRU(relu(W [h, m_peer]), m)``.

The released code (github.com/LXXXXR/ExpoComm at 25dc972, Apache-2.0, read and not copied) has a defect: the static
variant computes ``m' = sum_j a_j V m_j`` and m starts at 0, so no observation ever enters a message. All memories stay
equal, whatever agents see, and the team acts as if it were silent. ``mixes_only`` keeps this behavior for comparison;
by default ``m' = h + sum_j a_j V m_j``. One-peer has no such defect.

Grounding (section 4.3), an auxiliary loss on memories: ``contrast``, the paper's choice where no compact global state
is known, takes another agent's memory at the same time as positive and 20 memories of other moments as negatives
(InfoNCE, temperature 0.07); ``observations`` predicts the team's mean observation, which stands in for the global state
that our environments do not offer.

Deviations: PPO with a central critic where the paper uses IDQN or QMIX; agents know who they are; memories are those of
the step before, as the critic's; negatives come from other rows of a minibatch, most of them of other episodes; the
weight of the loss is fixed, while the released contrastive learner scales it to the size of its Q-loss; the turns of
one-peer are the topology's, without one for the agent itself; and if a peer's message is lost, the agent takes its own
memory in its place.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from agentcomm.contracts.actions import ActionSpace
from agentcomm.contracts.inbox import Inbox
from agentcomm.contracts.policy import CommPolicy, PolicyConfig, Steps
from agentcomm.contracts.topology import TopologyChoice
from agentcomm.contracts.world import Observation, World
from policies.graphs.topology import NO_LINKS
from policies.parts.mixing import mean_mix, softmax_mix
from policies.parts.token_encoder import TokenEncoder

ATTENTION = 16  # width of queries and keys
NEGATIVES = 20


class ExpoCommConfig(PolicyConfig):
    """Arguments of ExpoComm."""

    width: int = Field(64, ge=4, le=1024, description="width of both memories, and of messages")
    variant: Literal["static", "one_peer"] = Field("static", description="all exponential neighbors, or one per step")
    topology: TopologyChoice | None = Field(
        None, description="the communication graph; `exponential` or `one_peer`, by the variant, when not given"
    )
    mixes_only: bool = Field(
        False, description="let the static variant only mix memories, as the released code does, which says nothing"
    )
    grounding: Literal["contrast", "observations"] = Field("contrast", description="what the auxiliary loss predicts")
    weight: float = Field(0.1, ge=0, description="weight of the auxiliary loss")
    temperature: float = Field(0.07, gt=0, description="temperature of the contrastive loss")


class ExpoComm(CommPolicy[ExpoCommConfig]):
    """ExpoComm in both variants. Hidden vectors are [h, m]."""

    rounds = 1
    keeps_heard = True

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """Both variants, as released, and both losses."""
        return {
            "": {"width": 16},
            "one peer": {"width": 16, "variant": "one_peer", "grounding": "observations"},
            "released": {"width": 16, "mixes_only": True},
        }

    def __init__(self, config: ExpoCommConfig, layout: Observation, num_agents: int, actions: ActionSpace) -> None:
        super().__init__(config)
        width = config.width
        self.layout, self.gate = layout, None
        self.width, self.num_agents, self.actions = width, num_agents, actions
        self.memory_width = 2 * width
        chosen = config.topology or TopologyChoice(name="one_peer" if config.variant == "one_peer" else "exponential")
        self.topology = chosen.build(num_agents, 2 * width)
        self.encoder = TokenEncoder(layout, num_agents, width)
        self.seen = nn.GRUCell(width, width)
        if config.variant == "static":
            self.query = nn.Linear(width, ATTENTION)
            self.key = nn.Linear(width, ATTENTION, bias=False)  # the softmax cancels a bias
            self.content = nn.Linear(width, width)
        else:
            self.mix = nn.Linear(2 * width, width)
            self.heard = nn.GRUCell(width, width)
        self.actor = nn.Sequential(nn.Linear(2 * width, width), nn.ReLU(), nn.Linear(width, actions.parameters))
        nn.init.orthogonal_(self.actor[-1].weight, 0.01)  # type: ignore[arg-type]
        nn.init.zeros_(self.actor[-1].bias)  # type: ignore[arg-type]
        self.critic_own, self.critic_team = nn.Linear(2 * width, width), nn.Linear(2 * width, width, bias=False)
        self.critic = nn.Sequential(nn.ReLU(), nn.Linear(width, 1))
        if config.grounding == "observations":
            size = layout.vocabulary or layout.width
            self.predict = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, size))

    @classmethod
    def for_world(cls, config: PolicyConfig, world: World) -> ExpoComm:
        """The policy for a world's sizes."""
        assert isinstance(config, ExpoCommConfig)
        return cls(config, world.layout, world.num_agents, cls.actions_in(config, world))

    @classmethod
    def without_messages(cls, config: PolicyConfig) -> PolicyConfig:
        """No links."""
        return config.model_copy(update={"topology": NO_LINKS})

    def resize_team(self, identity: Sequence[int]) -> None:
        """Give agents the embeddings of the agents that they stand in for."""
        stands_for = torch.as_tensor(identity, device=self.encoder.identity.device)
        self.topology.resize(stands_for)
        self.encoder.identity = stands_for
        self.num_agents = len(identity)

    def encode(self, observation: Tensor) -> Tensor:
        """What is seen [B, N, 2 W]; the second half is free for memories."""
        return nn.functional.pad(self.encoder(observation), (0, self.width))

    def recall(self, encoded: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Hidden vectors [h, m]: h of this step, m of the step before."""
        before, heard = memory.chunk(2, -1)
        seen = self.seen(encoded[..., : self.width].flatten(0, -2), before.flatten(0, -2)).view_as(before)
        hidden = torch.cat([seen, heard], -1)
        return hidden, hidden

    def retain(self, state: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Both halves of the state are the memory."""
        return state, state

    def speak(self, hidden: Tensor, round_: int) -> Tensor:
        """The memory m of the step before."""
        return hidden[..., self.width :]

    def hear(self, hidden: Tensor, inbox: Inbox, round_: int) -> Tensor:
        """Replace m by what own and received memories make of it."""
        seen, heard = hidden.chunk(2, -1)
        heard = self._attend(seen, heard, inbox) if self.config.variant == "static" else self._take(seen, heard, inbox)
        return torch.cat([seen, heard], -1)

    def _attend(self, seen: Tensor, heard: Tensor, inbox: Inbox) -> Tensor:
        """Attention to own and received memories."""
        keys = torch.cat([self.key(heard).unsqueeze(2), inbox.project(self.key.weight)], 2)
        scores = (self.query(seen).unsqueeze(2) * keys).sum(-1, keepdim=True) * ATTENTION**-0.5
        own = nn.functional.linear(heard, self.content.weight).unsqueeze(2)
        values = torch.cat([own, inbox.project(self.content.weight)], 2).unsqueeze(3)
        mixed = softmax_mix(scores, values, inbox).squeeze(2) + self.content.bias
        return mixed if self.config.mixes_only else seen + mixed

    def _take(self, seen: Tensor, heard: Tensor, inbox: Inbox) -> Tensor:
        """Update the own memory by that of the one peer."""
        peer = mean_mix(inbox.payload(), inbox) + heard * ~inbox.mask.any(-1, keepdim=True)
        new = self.mix(torch.cat([seen, peer], -1)).relu()
        updated: Tensor = self.heard(new.flatten(0, -2), heard.flatten(0, -2)).view_as(heard)
        return updated

    def act(self, hidden: Tensor) -> Tensor:
        """Action head on [h, m]."""
        logits: Tensor = self.actor(hidden)
        return logits

    def value(self, hidden: Tensor) -> Tensor:
        """Critic of an agent's own and the team's mean hidden vector."""
        out: Tensor = self.critic(self.critic_own(hidden) + self.critic_team(hidden.mean(1, keepdim=True)))
        return out.squeeze(-1)

    def auxiliary(self, steps: Steps) -> Tensor | None:
        """The grounding loss of the memories m."""
        if not self.config.weight or self.topology.degree == 0:
            return None
        heard, observation = steps.hidden[..., self.width :], steps.observation
        if self.config.grounding == "contrast":
            return self.config.weight * contrast(heard, self.config.temperature)
        if self.layout.kind == "indices":
            codes = heard.new_zeros(*observation.shape[:-1], self.layout.vocabulary)
            observation = codes.scatter_add_(-1, observation.clamp_min(0), (observation >= 0).to(codes.dtype))
        error: Tensor = (self.predict(heard) - observation.mean(1, keepdim=True)).square().sum(-1).mean()
        return self.config.weight * error


def contrast(memory: Tensor, temperature: float) -> Tensor:
    """InfoNCE over memories [R, N, W] (van den Oord et al. 2018, arXiv 1807.03748, eq. 4), a scalar.

    The positive of an agent is the next agent of its row. Its negatives are 20 memories of rows spread evenly over the
    minibatch, so nothing is drawn.
    """
    rows, agents = memory.shape[:2]
    unit = nn.functional.normalize(memory, dim=-1)
    others = -(-NEGATIVES // agents)
    away = torch.arange(1, others + 1, device=memory.device) * rows // (others + 1)
    index = (torch.arange(rows, device=memory.device).unsqueeze(1) + away) % rows
    negative = unit[index].flatten(1, 2)[:, :NEGATIVES]
    near = (unit * unit.roll(1, 1)).sum(-1, keepdim=True)
    far = unit @ negative.transpose(1, 2)
    scores = torch.cat([near, far], -1) / temperature
    return -scores.log_softmax(-1)[..., 0].mean()
