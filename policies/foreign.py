"""Foreign policies: any callable that takes an inbox, evaluated as the team's policy.

The callable gets what :class:`agentcomm.pettingzoo.message_actions.MessageActionWrapper` shows to learners, and answers
with actions and messages (:func:`agentcomm.pettingzoo.message_actions_inbox.foreign_policy`). A message that it chooses
in step t leaves at the beginning of step t + 1 and is heard in that step, unless something delays it; in step 0 nobody
says anything. Nothing of it is learned here: it cannot be trained, and attacks cannot compute what it would do.

Before it is taken over (:func:`agentcomm.runs.foreign.from_callable`), a team acts at random and says nothing. That
is the reference by which a report tells whether a team has learned.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from agentcomm.base.errors import ConfigError
from agentcomm.base.inputs import InputPath
from agentcomm.contracts.actions import ActionSpace
from agentcomm.contracts.inbox import Inbox
from agentcomm.contracts.policy import CommPolicy, PolicyConfig
from agentcomm.contracts.topology import TopologyChoice
from agentcomm.contracts.world import World
from agentcomm.pettingzoo.message_actions_calling import Caller, load_callable, module_of
from agentcomm.pettingzoo.message_actions_inbox import (
    Array,
    Messages,
    Received,
    Symbols,
    fixed_topology,
    receive,
)

NO_LINKS = TopologyChoice(name="none")
FULL = TopologyChoice(name="full")


class ForeignConfig(PolicyConfig):
    """Arguments of a foreign policy."""

    make: str = Field("", description="the callable: package.module:function")
    checkpoint: Annotated[str | None, InputPath()] = Field(
        None, description="file or folder of weights: make is then called with its path, and returns the callable"
    )
    control: str | None = Field(
        None, description="another callable, trained without messages: the control, which gets no messages"
    )
    control_checkpoint: Annotated[str | None, InputPath()] = Field(
        None, description="file or folder of the control's weights"
    )
    messages: Messages = Field(Symbols(), description="symbols, or vectors of some width, that agents send")
    batched: bool = Field(False, description="whether the callable takes all worlds and agents at once")
    state: int = Field(0, ge=0, description="numbers that each agent remembers from step to step")
    topology: TopologyChoice = Field(FULL, description="who listens to whom: a fixed topology")

    def code(self) -> list[str]:
        """The modules of the callables."""
        return [module_of(make) for make in (self.make, self.control) if make]


class Silence:
    """The gate of senders that say something: a message that says nothing is not sent."""

    side: Literal["sender"] = "sender"
    straight_through = False
    forced_open = dropped = 0.0

    def anneal(self, progress: float) -> None:
        """Nothing is learned."""


class Foreign(CommPolicy[ForeignConfig]):
    """A callable as a team's policy.

    A hidden vector has room for an agent's observation, its pending message, whether there is one, what it remembers,
    and K rows of its inbox; after the step, for the parameters of its action. The memory is the next message, whether
    there is one, and what the callable remembers.

    Attributes:
        taken_over: [], 1 if the team acts by the callable, 0 if it acts at random.
    """

    rounds = 1
    keeps_heard = True
    predictable = False
    taken_over: Tensor

    def __init__(self, config: ForeignConfig, world: World) -> None:
        super().__init__(config)
        self.num_agents, self.actions = world.num_agents, self.actions_in(config, world)
        self.topology = fixed_topology(config.topology, world.num_agents, config.messages.width)
        self.width, self.gate = config.messages.width, Silence()
        self.memory_width = self.width + 1 + config.state
        rows = self.topology.degree + 1
        self._sizes = [world.layout.width, self.memory_width, rows * self.width, rows, rows]
        self._padding = max(0, self.actions.parameters - sum(self._sizes))
        self.register_buffer("taken_over", torch.tensor(0.0))
        function = load_callable(config.make, config.checkpoint)
        what = f"policy {config.make!r}"
        sizes = (config.messages, config.state, config.batched)
        self._caller = Caller(function, what, world.agents, self.actions, *sizes)

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """A scripted agent, and a batched one that remembers."""
        return {
            "": {"make": "policies.foreign:repeat"},
            "batched": {"make": "policies.foreign:average", "messages": {"width": 2}, "batched": True, "state": 1},
        }

    @classmethod
    def for_world(cls, config: PolicyConfig, world: World) -> Foreign:
        """The policy for a world's sizes."""
        assert isinstance(config, ForeignConfig)
        if not config.make:
            raise ConfigError("policy foreign: make names the callable, such as make: my_module:policy")
        return cls(config, world)

    @classmethod
    def actions_in(cls, config: PolicyConfig, world: World) -> ActionSpace:
        """Continuous actions are not squashed: the callable gives them within their bounds."""
        return world.actions.with_squashing(False)

    @classmethod
    def without_messages(cls, config: PolicyConfig) -> PolicyConfig:
        """The control's callable if there is one, without links."""
        assert isinstance(config, ForeignConfig)
        changes: dict[str, Any] = {"topology": NO_LINKS}
        if config.control is not None:
            changes |= {"make": config.control, "checkpoint": config.control_checkpoint}
        return config.model_copy(update=changes)

    def encode(self, observation: Tensor) -> Tensor:
        """Observations [B, N, O] -> hidden vectors [B, N, H] with nothing else."""
        return torch.nn.functional.pad(observation.float(), (0, sum(self._sizes[1:]) + self._padding))

    def _split(self, hidden: Tensor) -> list[Tensor]:
        """Observation, memory, payloads, mask and senders of hidden vectors [..., H]."""
        return list(hidden[..., : sum(self._sizes)].split(self._sizes, -1))

    def _joined(self, *parts: Tensor) -> Tensor:
        return torch.nn.functional.pad(torch.cat(parts, -1), (0, self._padding))

    def recall(self, encoded: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Add what was said in the step before, and is sent now."""
        seen, _, *inbox = self._split(encoded)
        return self._joined(seen, memory, *inbox), memory

    def listen(self, hidden: Tensor) -> Tensor:
        """Gate logits [B, N]: infinite, since nothing is left to chance."""
        speaks = self._split(hidden)[1][..., self.width] > 0
        return torch.where(speaks, torch.inf, -torch.inf)

    def speak(self, hidden: Tensor, round_: int) -> Tensor:
        """The pending messages [B, N, D]."""
        return self._split(hidden)[1][..., : self.width]

    def hear(self, hidden: Tensor, inbox: Inbox, round_: int) -> Tensor:
        """Add the inbox, in rows by claimed sender."""
        seen, memory, *_ = self._split(hidden)
        got = receive(inbox, self.config.messages)
        return self._joined(seen, memory, got.payload.flatten(-2), got.mask.float(), got.sender.float())

    def symbols(self, inbox: Inbox) -> Tensor | None:
        """The symbols that the callable would read."""
        return inbox.payload().argmax(-1) if isinstance(self.config.messages, Symbols) else None

    def retain(self, state: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Ask the callable; returns its actions, in the place of the state, and its next messages."""
        if not self.taken_over:
            return torch.zeros_like(state), torch.zeros_like(memory)
        seen, kept, payload, mask, sender = (part.detach().cpu().numpy() for part in self._split(state))
        rows = (*mask.shape, self.width)
        received = Received(payload.reshape(rows), mask > 0, sender.astype(np.int64), self.num_agents + 1)
        got = self._caller(seen, received, kept[..., self.width + 1 :])
        after = np.concatenate([got.payload, got.speaks[..., None].astype(np.float32), got.state], -1)
        rest = state.shape[-1] - self.actions.parameters
        does = torch.nn.functional.pad(torch.from_numpy(got.parameters).to(state), (0, rest))
        return does, torch.from_numpy(after).to(memory)

    def act(self, hidden: Tensor) -> Tensor:
        """Parameters of actions [B, N, P], after :meth:`retain`."""
        return hidden[..., : self.actions.parameters]

    def value(self, hidden: Tensor) -> Tensor:
        """0: there is no critic."""
        return hidden.new_zeros(hidden.shape[:2])


def repeat(agent: str, observation: Array, inbox: Received) -> tuple[int, int]:
    """An example of an agent: says the largest entry of its observation, and does what the first sender said."""
    said = int(observation.argmax()) % 4
    return (int(inbox.payload[0].argmax()) % 2 if inbox.mask.any() else said % 2), said


def average(observation: Array, inbox: Received, state: Array) -> tuple[Array, Array, Array]:
    """An example of batched agents: a running mean of what they hear decides, and is passed on."""
    heard = inbox.payload.sum((2, 3))[..., None]
    state = 0.5 * (state + np.tanh(heard + observation.mean(-1, keepdims=True)))
    return (state[..., 0] > 0).astype(np.int64), np.concatenate([state, -state], -1), state
