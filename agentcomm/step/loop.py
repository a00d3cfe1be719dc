"""The loop in which a team takes its steps in B worlds. Evaluation, rollouts and trained attackers share it.

``World.observe`` -> attacks on sensors -> ``decide`` (gates, links, messages, actions) -> ``World.step`` -> attacks on
rewards, if the team learns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from agentcomm.base.answers import check_tensor
from agentcomm.base.calling import calling
from agentcomm.base.numbers import Numbers
from agentcomm.base.state import State
from agentcomm.contracts.policy import CommPolicy
from agentcomm.contracts.step import Step
from agentcomm.contracts.topology import Graph
from agentcomm.contracts.world import World
from agentcomm.network.record import ExchangeRecord
from agentcomm.step.comms import Comms
from agentcomm.step.decide import Decision, decide
from agentcomm.step.gates import GateControl
from agentcomm.step.hooks import ask_graph
from agentcomm.step.interpreter import Interpreter


@dataclass(frozen=True)
class StepRecord:
    """One step of a team in all worlds.

    Attributes:
        at: [B] int64, steps since each episode began.
        observation: [B, N, O] observations of the agents.
        decision: Their decision.
        step: The world's response.
        reward: [B, N] rewards that the team learns from: those of the world, unless an attack changed them.
        alive: [B, N] bool, members that were present; None if members cannot leave.
        running: [B] bool, worlds whose episode was still running.
        exchanges: Records of all messages, exchange by exchange, if the loop traces them.
        facts: Facts about each agent when it acted (:meth:`World.facts`), [B, N] each, if the loop collects them.
    """

    at: Tensor
    observation: Tensor
    decision: Decision
    step: Step
    reward: Tensor
    alive: Tensor | None
    running: Tensor
    exchanges: list[ExchangeRecord]
    facts: dict[str, Tensor]

    @property
    def mean_reward(self) -> Tensor:
        """[B] reward of the world, mean over present members: those that have left earn nothing, and do not count."""
        reward = self.step.reward
        if self.alive is None:
            return reward.mean(1)
        return (reward * self.alive).sum(1) / self.alive.sum(1).clamp_min(1)

    @property
    def ended(self) -> Tensor:
        """[B] bool, worlds whose episode ended in this step."""
        return self.running & self.step.done


class TeamLoop(State):
    """Takes a team's steps in B worlds.

    Every step is two calls: :meth:`step`, and once everything about the step has been read, :meth:`finish`. A caller
    that starts episodes itself calls :meth:`begin` instead of the latter.

    Args:
        world: B worlds; call :meth:`reset` before the first step.
        policy: The policy; its parameters may change between steps.
        comms: The team's message layer, and its adversary.
        generator: Samples graphs, gates and actions; None decides greedily.
        control: Controls the gates instead of the policy.
        interpreter: Makes members obey directives in messages.
        learning: Whether the team learns: new episodes start as soon as old ones end, and attacks may change
            rewards. Otherwise worlds stay in their final state.
        trace: Whether to record the exchanges of each step.
        collect_facts: Whether to collect the facts of each step.

    Attributes:
        observation: [B, N, O] of the next step, before any attack on sensors.
        running: [B] bool, worlds whose episode is still running; all of them while the team learns.
        graph: The graph in use; None if the policy builds one in every step.
        memory: [B, N, S] what agents remember of earlier steps; 0 where an episode starts and for absent members.
        draw: [B] int64 seeds with which the graph was sampled; [0] for the executed graph.
    """

    # The graph is not part of the state: it is sampled per fragment, and state is saved between fragments.
    keeps: ClassVar[tuple[str, ...]] = (
        *("world", "comms"),
        *("generator", "control", "interpreter", "observation", "running", "memory"),
    )

    def __init__(
        self,
        world: World,
        policy: CommPolicy,
        comms: Comms,
        generator: torch.Generator | None = None,
        control: GateControl | None = None,
        interpreter: Interpreter | None = None,
        *,
        learning: bool = False,
        trace: bool = False,
        collect_facts: bool = False,
    ) -> None:
        self.world, self.policy, self.comms = world, policy, comms
        self.generator, self.control, self.interpreter = generator, control, interpreter
        self.learning, self.trace, self.collect_facts = learning, trace, collect_facts
        self.observation = torch.zeros(0, device=world.device)
        self.running = torch.ones(world.num_worlds, dtype=torch.bool, device=world.device)
        self.memory = torch.zeros(world.num_worlds, world.num_agents, policy.memory_width, device=world.device)
        self.draw = torch.zeros(0, dtype=torch.int64, device=world.device)
        dynamic = policy.topology.dynamic
        self.graph: Graph | None = (
            None if dynamic else ask_graph(policy.topology, None, world.num_worlds, world.num_agents)
        )
        self._environment = f"environment {world.name!r}"

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Restore the state; worlds that could not be saved have started new episodes."""
        super().restore(saved)
        self.observation = self.world.observe()
        self.memory = self.memory.masked_fill((self.world.length == 0).view(-1, 1, 1), 0.0)

    @property
    def alive(self) -> Tensor | None:
        """[B, N] bool, members that are present; None if members cannot leave."""
        return self.world.alive.clone() if self.world.loses_members else None

    def reset(self, seed: int) -> None:
        """Start new episodes in all worlds.

        Args:
            seed: Seed of the worlds.
        """
        self._reset(lambda: self.world.reset(seed))

    def start_over(self, comms: Comms) -> None:
        """Start new episodes in all worlds with another message layer, as one of another degree.

        Args:
            comms: Message layer and adversary.
        """
        self.comms = comms
        self._reset(self.world.reset)

    def _reset(self, reset: Callable[[], Tensor]) -> None:
        self.observation = self._observed(reset, "reset")
        self.running = torch.ones_like(self.running)
        self._forget(torch.arange(self.world.num_worlds, device=self.world.device))

    def move_to(self, world: World) -> Tensor:
        """Go on in other worlds that the team fits, such as those of the same environment with other arguments.

        Episodes continue if the state of both has the same form and can be restored; else new ones start.

        Returns:
            [W] int64 indices of the worlds whose episode was given up.
        """
        old, self.world = self.world, world
        if _forms(world) == _forms(old):
            world.restore(old.snapshot())
            self.observation = self._observed(world.observe, "observe")
        else:
            world.generator.set_state(old.generator.get_state())
            self.observation = self._observed(world.reset, "reset")
        given_up = (world.length != old.length).nonzero().squeeze(1)
        self._forget(given_up)
        return given_up

    def draw_graph(self) -> None:
        """Sample one graph per world, which is used until the next call.

        Has no effect if the policy builds a graph in every step, or on a greedy team, which uses the executed graph.
        """
        topology, worlds = self.policy.topology, self.world.num_worlds
        if topology.dynamic or self.generator is None:
            return
        self.draw = topology.draw(worlds, self.generator)
        self.graph = ask_graph(topology, self.draw if len(self.draw) else None, worlds, self.world.num_agents)

    @torch.no_grad()
    def step(self) -> StepRecord:
        """Take one step in all worlds.

        Raises:
            NumberError: If something in it is not finite.
            HookError: If a hook of a plug-in raises an error or breaks its contract.
        """
        at, network = self.world.length.clone(), self.comms.network
        numbers = network.numbers = Numbers(self.world.agents, at)
        try:
            return self._step(at, numbers)
        finally:
            network.numbers = None
            numbers.check()  # also after an error, which may be a consequence

    def _step(self, at: Tensor, numbers: Numbers) -> StepRecord:
        world, network, adversary, alive = self.world, self.comms.network, self.comms.adversary, self.alive
        if self.trace:
            network.trace = []
        observation = adversary.on_observations(self.observation, world, at, self.policy, self.memory)
        for sensors in adversary.observation_guards:
            numbers.note(f"attack {sensors.base.attack.name!r}", "observation", observation)
        decision = decide(
            self.policy,
            observation,
            self.graph,
            self.comms,
            at,
            self.generator,
            alive,
            self.control,
            self.interpreter,
            self.memory,
            self.learning,
            world.available(),
        )
        facts = world.facts() if self.collect_facts else {}
        step = self._advance(self.policy.actions.executed(decision.action), at, numbers)
        if world.link_price:
            step = replace(step, reward=step.reward - world.link_price * decision.num_asked)
        reward = (
            adversary.on_rewards(step.reward, self.policy.actions.option_of(decision.action), at)
            if self.learning
            else step.reward
        )
        for rewards in adversary.reward_guards:
            numbers.note(f"attack {rewards.base.attack.name!r}", "reward", reward)
        self.observation = step.observation
        self.memory = decision.memory
        if world.loses_members:  # whose places others may have taken already
            self.memory = self.memory.masked_fill(step.left.unsqueeze(-1), 0.0)
        exchanges: list[ExchangeRecord] = []
        if self.trace and network.trace is not None:
            exchanges, network.trace = network.trace, None
        return StepRecord(at, observation, decision, step, reward, alive, self.running, exchanges, facts)

    def _advance(self, action: Tensor, at: Tensor, numbers: Numbers) -> Step:
        """The world's response to actions [B, N, ...] in a step [B], checked."""
        world = self.world
        with calling(self._environment, "step"):
            step = world.step(action, auto_reset=self.learning)
        shape = (world.num_worlds, world.num_agents)
        check_tensor(self._environment, "reward", step.reward, shape, torch.float32, optional=False)
        numbers.note(self._environment, "reward", step.reward)
        if ended := len(step.finished):
            agents = torch.arange(world.num_agents, device=world.device)
            rows = step.finished.repeat_interleave(world.num_agents), agents.repeat(ended)
            last = step.final_observation.flatten(0, 1)
            numbers.note(self._environment, "last observation", last, step.length, rows)
        self._note_observation(step.observation, numbers)
        return step

    def _note_observation(self, observation: Tensor, numbers: Numbers) -> None:
        """Check the shape of what agents observe [B, N, O], and note it to be checked further."""
        world = self.world
        dtype = None if world.layout.kind == "dense" else torch.int64
        shape = (world.num_worlds, world.num_agents, world.layout.width)
        check_tensor(self._environment, "observation", observation, shape, dtype, optional=False)
        numbers.note(self._environment, "observation", observation, world.length.clone())

    def _observed(self, observe: Callable[[], Tensor], hook: str) -> Tensor:
        """What agents observe at the start of episodes, checked."""
        with calling(self._environment, hook):
            observation = observe()
        numbers = Numbers(self.world.agents, self.world.length)
        self._note_observation(observation, numbers)
        numbers.check()
        return observation

    def finish(self, record: StepRecord) -> None:
        """Reset network, attacks and defenses in the worlds whose episodes ended in a step.

        Args:
            record: The record of the latest step.
        """
        ended = record.step.finished
        if not self.learning:  # ended worlds are stepped further, but their episode ends only once
            ended = record.ended.nonzero().squeeze(1)
            self.running = self.running & ~record.step.done
        if len(ended):
            self._forget(ended)

    def begin(self, worlds: Tensor) -> None:
        """Handle new episodes that the caller has started in some worlds ([W] indices)."""
        self._forget(worlds)
        self.observation = self._observed(self.world.observe, "observe")

    def _forget(self, worlds: Tensor) -> None:
        """Reset message layer, adversary and memory in some worlds ([W] indices)."""
        self.comms.reset(worlds)
        self.memory = self.memory.index_fill(0, worlds, 0.0)  # not in place: the record of the step has the old one


def _forms(world: World) -> dict[str, torch.Size]:
    """Shapes of the tensors in a world's state."""
    return {name: value.shape for name, value in world.state.items()}
