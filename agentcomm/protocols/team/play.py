"""Plays episodes with one process per agent: this process steps the world, and hands each agent what it observes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass

import torch
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from torch import Tensor

from agentcomm.base.errors import AgentcommError, ProtocolError, RequirementError, RunError
from agentcomm.base.inputs import looking_in
from agentcomm.base.seeds import derive
from agentcomm.contracts.actions import ActionSpace
from agentcomm.contracts.world import World
from agentcomm.evaluation.play import play
from agentcomm.protocols.carrier import Carrier, Protocol, Sender, load
from agentcomm.protocols.team import PATIENCE
from agentcomm.protocols.team.locality import check_local
from agentcomm.protocols.team.processes import AgentProcesses, Contact
from agentcomm.protocols.team.requests import Acted, Begin, Turn, answered, from_bytes, sign, to_bytes
from agentcomm.runs import policy_file
from agentcomm.runs.assembly import install_directory, make_comms, make_world
from agentcomm.runs.folder import Run
from agentcomm.runs.policy_file import SavedPolicy


@dataclass(frozen=True)
class TeamEpisode:
    """The outcome of an episode.

    Attributes:
        seed: Seed of the episode.
        length: Steps.
        success: Whether the task's goal was reached; None if the environment does not say.
        total_reward: Return, mean over agents.
        actions: [T, N, ...] the actions of all steps.
        messages: Messages between agents that went over the protocol; None in the batch.
    """

    seed: int
    length: int
    success: bool | None
    total_reward: float
    actions: Tensor
    messages: int | None = None

    def same(self, other: TeamEpisode) -> bool:
        """Whether the outcome of two episodes is the same, action by action."""
        return (
            (self.length, self.success) == (other.length, other.success)
            and torch.equal(self.actions, other.actions)
            and abs(self.total_reward - other.total_reward) <= 1e-6 * max(1.0, abs(self.total_reward))
        )


def team_of(run: Run, seed: int | None) -> SavedPolicy:
    """The team of a training seed, or of the first one, once it is clear that its agents can be apart.

    Raises:
        RunError: If it is not trained.
        RequirementError: If it cannot act in one process per agent.
    """
    seed = run.config.seeds[0] if seed is None else seed
    if ("team", seed) not in run.trained():
        raise RunError(f"{run.path} has no trained team of seed {seed}")
    transport = run.config.transport
    if transport.codec is not None or transport.channels:
        raise RequirementError(
            f"the run's transport is {transport.label}, but one process per agent sends whole payloads over plain"
            " loopback sockets; use a run without channels and codec"
        )
    with looking_in(run.places()):
        saved = policy_file.load(run.policy("team", seed))
        with closing(make_world(saved.environment, 1)) as world:
            check_local(saved.policy.eval(), world)
    return saved


def play_in_batch(saved: SavedPolicy, seed: int, sampled: bool) -> TeamEpisode:
    """An episode in one process, as in evaluation."""
    with (
        closing(make_world(saved.environment, 1)) as world,
        closing(make_comms(world, saved.policy, seed=seed)) as comms,
    ):
        generator = torch.Generator().manual_seed(_decisions(seed)) if sampled else None
        found = play(world, saved.policy, comms, seed, generator=generator)
    assert found.action_by_step is not None
    actions = found.action_by_step[:, 0]
    length = int(found.length[0])
    success = bool(found.success[0]) if found.success_known else None
    return TeamEpisode(seed, length, success, float(found.total_reward[0]), actions[:length])


def play_in_processes(
    run: Run,
    saved: SavedPolicy,
    protocol: Protocol,
    seeds: Sequence[int],
    sampled: bool,
    tell: Callable[[TeamEpisode], None],
    begun: Callable[[], None] = lambda: None,
    patience: float = PATIENCE,
) -> None:
    """Episodes with one process per agent.

    Args:
        run: The run.
        saved: Its team; see :func:`team_of`.
        protocol: What agents and environment speak.
        seeds: Seed of each episode.
        sampled: Whether decisions are sampled instead of greedy.
        tell: Called after each episode.
        begun: Called when all agents are up.
        patience: Seconds in which they have to be, and for which each waits for a message.

    Raises:
        ProtocolError: If an agent does not start, or ends.
    """
    key = Ed25519PrivateKey.generate()
    carrier = load(protocol, timeout=2 * patience)  # an agent that acts waits for messages meanwhile
    with looking_in(run.places()), closing(make_world(saved.environment, 1)) as world:
        install_directory(world, make_comms(world, saved.policy))
        processes = AgentProcesses(
            run.path, saved.seed, world.num_agents, protocol, key.public_key().public_bytes_raw(), patience
        )
        with processes as contacts:
            begun()
            try:
                asyncio.run(_play(world, saved.policy.actions, carrier, contacts, key, seeds, sampled, tell))
            except ProtocolError as error:
                if not (why := processes.ended()):
                    raise
                raise ProtocolError(f"{error}; {why}") from error


async def _play(
    world: World,
    space: ActionSpace,
    carrier: Carrier,
    contacts: list[Contact],
    key: Ed25519PrivateKey,
    seeds: Sequence[int],
    sampled: bool,
    tell: Callable[[TeamEpisode], None],
) -> None:
    urls, keys = tuple(c.url for c in contacts), tuple(c.public for c in contacts)
    async with AsyncExitStack() as stack:
        agents = [await stack.enter_async_context(carrier.connect(url)) for url in urls]
        for number, seed in enumerate(seeds):
            decisions = _decisions(seed) if sampled else None
            begins = [Begin(agent, number, decisions, urls, keys) for agent in range(len(urls))]
            await _ask(agents, begins, key)
            tell(await _episode(world, space, agents, key, number, seed))


async def _episode(
    world: World, space: ActionSpace, agents: list[Sender], key: Ed25519PrivateKey, number: int, seed: int
) -> TeamEpisode:
    """Step the world until the episode ends."""
    observation, total, messages = world.reset(seed), 0.0, 0
    actions: list[Tensor] = []
    joined = torch.ones(1, world.num_agents, dtype=torch.bool)
    for at in range(world.max_steps):
        alive = world.alive.clone() if world.loses_members else None
        acted = [answered(each) for each in await _ask(agents, _turns(world, number, at, observation, joined), key)]
        action = torch.stack([from_bytes(each.action, space.dtype, space.shape) for each in acted]).unsqueeze(0)
        actions.append(action[0])
        messages += sum(each.sent for each in acted)
        with torch.no_grad():
            step = world.step(space.executed(action), auto_reset=False)
        total += _reward(world, step.reward, acted, alive)
        observation, joined = step.observation, step.left
        if bool(step.done[0]):
            break
    success = bool(step.success[0]) if bool(step.success_known[0]) else None
    return TeamEpisode(seed, int(step.length[0]), success, total, torch.stack(actions), messages)


def _turns(world: World, number: int, at: int, observation: Tensor, joined: Tensor) -> list[Turn]:
    """What each agent is told of the present step."""
    alive = tuple(world.alive[0].tolist()) if world.loses_members else None
    allowed = world.available()
    return [
        Turn(
            audience=agent,
            episode=number,
            step=at,
            observation=to_bytes(observation[0, agent]),
            alive=alive,
            allowed=None if allowed is None else tuple(allowed[0, agent].tolist()),
            joined=bool(joined[0, agent]),
        )
        for agent in range(world.num_agents)
    ]


def _reward(world: World, reward: Tensor, acted: list[Acted], alive: Tensor | None) -> float:
    """Reward of a step, mean over present agents, less what links cost."""
    if world.link_price:
        reward = reward - world.link_price * torch.tensor([[each.asked for each in acted]])
    if alive is None:
        return float(reward.mean(1))
    return float((reward * alive).sum(1) / alive.sum(1).clamp_min(1))


async def _ask(agents: list[Sender], requests: Sequence[Begin | Turn], key: Ed25519PrivateKey) -> list[bytes]:
    """The answers of all agents to their requests; the first one that fails ends the wait for the others."""

    async def one(request: Begin | Turn) -> bytes:
        try:
            return await agents[request.audience].send(sign(request, key))
        except AgentcommError as error:
            raise ProtocolError(f"agent {request.audience}: {error}") from error

    try:
        async with asyncio.TaskGroup() as asking:
            tasks = [asking.create_task(one(request)) for request in requests]
    except ExceptionGroup as group:
        raise group.exceptions[0] from None
    return [task.result() for task in tasks]


def _decisions(seed: int) -> int:
    """Seed of a team's sampled decisions in an episode."""
    return derive(seed, "decisions")
