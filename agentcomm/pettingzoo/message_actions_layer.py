"""The message layer of one episode at a time, for agents that act outside of the testbed's loop."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from agentcomm.base.errors import RequirementError
from agentcomm.base.registry import find
from agentcomm.base.seeds import derive
from agentcomm.contracts.attack import hooks
from agentcomm.contracts.defense import ON_MESSAGES, defense_hooks
from agentcomm.contracts.deployment import Deployment
from agentcomm.contracts.shape import TeamShape
from agentcomm.contracts.topology import Graph, TopologyChoice
from agentcomm.contracts.traffic import Links
from agentcomm.pettingzoo.message_actions_inbox import Array, Messages, Received, empty, fixed_topology, receive
from agentcomm.runs.assembly import connect
from agentcomm.runs.choices import Choice, TransportConfig
from agentcomm.runs.given import attacks_of, group_of
from agentcomm.step.comms import Comms
from agentcomm.step.hooks import ask_at, ask_graph
from agentcomm.step.reselect import reselect

ELSEWHERE = "evaluate the trained policy under it instead: agentcomm evaluate my_module:policy --env NAME"


class MessageLayer:
    """Channels, attacks and defenses between the agents of one team.

    Args:
        environment: Name of the team's environment, for errors.
        agents: N.
        messages: What messages are.
        topology: Who listens to whom, by name or as in a config.
        attacks: Attacks that act together.
        defenses: Defenses that act together.
        transport: Channels and codec, as in a config.

    Attributes:
        comms: The present message layer with its adversary; a seeded reset makes another one.

    Raises:
        AgentcommError: If something is unknown or does not fit.
    """

    def __init__(
        self,
        environment: str,
        agents: int,
        messages: Messages,
        topology: Any,
        attacks: Any,
        defenses: Any,
        transport: Mapping[str, Any] | TransportConfig | None,
    ) -> None:
        self.messages, self.num_agents = messages, agents
        self.topology = fixed_topology(TopologyChoice.model_validate(topology), agents, messages.width)
        self.attacks, self.defenses = attacks_of(attacks), group_of(defenses) if defenses else ()
        self.transport = TransportConfig.model_validate(dict(transport or {}))
        _check_acts_on_messages(self.attacks, self.defenses)
        shape = TeamShape(1, agents, self.topology.degree, messages.width, 1, torch.device("cpu"))
        self._where = Deployment(shape, environment, gated=True, remembers=True, predictable=False)
        self.graph = ask_graph(self.topology, None, 1, agents)
        self.comms = self._connect(0)
        self._seeded = False

    @property
    def rows(self) -> int:
        """K, rows of an inbox."""
        return self.topology.degree + 1

    def _connect(self, seed: int) -> Comms:
        return connect(self._where, self.attacks, self.defenses, derive(seed, "messages"), self.transport)

    def start(self, seed: int | None) -> None:
        """Start an episode; without any seed, episodes differ from run to run."""
        if seed is None and not self._seeded:
            seed = int(torch.seed() % 2**31)
        if seed is not None:
            self.comms = self._connect(seed)
        else:
            self.end()
        self._seeded = True

    def end(self) -> None:
        """End the episode: what is in transit is lost, and budgets start again."""
        self.comms.reset(torch.zeros(1, dtype=torch.int64))

    @torch.no_grad()
    def deliver(self, payload: Array, speaks: Array, present: Array, step: int) -> Received:
        """Carry the messages that are sent at the beginning of a step.

        Args:
            payload: [N, D] float32.
            speaks: [N] bool, agents that send a message.
            present: [N] bool, agents that take part.
            step: Steps since the episode began.

        Returns:
            The inboxes, with a first dimension of one world.
        """
        at = torch.tensor([step])
        alive = torch.from_numpy(present).unsqueeze(0)
        graph = self._graph(at, alive)
        sends = torch.from_numpy(speaks & present)[graph.source]
        carried = sends if graph.kept is None else sends & graph.kept
        links = Links(graph.source, alive, carried)
        spoken = torch.from_numpy(payload * speaks[:, None]).unsqueeze(0)
        inbox = self.comms.network.exchange(spoken, links, at, 0)
        return receive(inbox, self.messages).numpy()

    def nothing(self) -> Received:
        """Empty inboxes, with a first dimension of one world."""
        return empty(self.graph.source, self.messages.width).numpy()

    def _graph(self, step: Tensor, alive: Tensor) -> Graph:
        """Who listens to whom in a step [1], without links that receivers have given up."""
        graph = ask_at(self.topology, self.graph, step)
        given_up = self.comms.network.given_up(step)
        return graph if given_up is None else reselect(graph, given_up, self.topology.ranking(), alive)


def _check_acts_on_messages(attacks: Sequence[Choice], defenses: Sequence[Choice]) -> None:
    """Check that attacks and defenses act on messages only, which is all that the wrapper can give them.

    Raises:
        RequirementError: If one does not.
    """
    for choice in attacks:
        _refuse(f"attack '{choice.label}'", hooks(find("attack", choice.name)) - {"on_messages"})
    for choice in defenses:
        defense = find("defense", choice.name)
        _refuse(f"defense '{choice.label}'", defense_hooks(defense) - ON_MESSAGES)
        if defense.calibration:
            raise RequirementError(
                f"defense '{choice.label}' learns from clean episodes of the trained team, which a wrapped environment"
                f" does not have: {ELSEWHERE}"
            )


def _refuse(what: str, other: Collection[str]) -> None:
    """Refuse a plug-in that acts through other hooks than those on messages."""
    if other:
        raise RequirementError(
            f"{what} acts through {', '.join(sorted(other))}, which a wrapped environment does not have: {ELSEWHERE}"
        )
