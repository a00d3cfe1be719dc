"""Conformance check of environments."""

from __future__ import annotations

import json
import math
from dataclasses import fields

import torch
from torch import Tensor

from agentcomm.base.calling import answered
from agentcomm.conformance.common import WorldFactory, closing_worlds, require
from agentcomm.contracts.step import Step
from agentcomm.contracts.world import World


def check_world(
    world_factory: WorldFactory,
    num_worlds: int = 8,
    num_steps: int = 60,
    resumes: bool = True,
    quick: bool = False,
) -> None:
    """Check the contract of :class:`agentcomm.contracts.world.World` in random episodes.

    Args:
        world_factory: Creates a world with the given number of copies, always with the same arguments; with a small
            ``max_steps``, so that episodes end within ``num_steps``.
        num_worlds: Number of copies.
        num_steps: Steps of the random rollouts.
        resumes: Whether ``restore`` resumes exactly the same episodes, as all but third-party environments do.
        quick: Whether to check the first steps only: shapes, types, ranges, ends and randomness.

    Raises:
        AssertionError: If the world breaks the contract.
    """
    num_worlds, num_steps = (2, 5) if quick else (num_worlds, num_steps)
    with closing_worlds(world_factory) as factory:
        world = factory(num_worlds)
        actions = _random_actions(world, num_steps, seed=1)
        _check_description(world)
        _check_steps(world, actions)
        _check_randomness(factory, num_worlds, actions)
        if quick:
            return
        _check_refusals(world)
        if world.loses_members:
            _check_members(factory, num_worlds, actions)
        _check_masks(world, actions)
        if resumes:
            _check_resuming(factory, num_worlds, actions)
            _check_final_observations(factory, num_worlds, actions)
        world.close()  # and once more at the end: closing again does nothing


def _check_device(world: World, value: Tensor, what: str) -> None:
    # "cuda" names the current GPU, so what is made there knows which one that is.
    device = torch.empty(0, device=world.device).device
    require(value.device == device, f"{what} is on {value.device}, not on {device}")


def _random_actions(world: World, num_steps: int, seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shape, cpu = (world.num_worlds, world.num_agents), torch.device("cpu")
    return [world.actions.draw(shape, generator, cpu).to(world.device) for _ in range(num_steps)]


def _difference(first: Step, second: Step) -> str | None:
    """Name of the first field in which two steps differ, or None."""
    for field in fields(Step):
        if not torch.equal(getattr(first, field.name), getattr(second, field.name)):
            return field.name
    return None


def _check_description(world: World) -> None:
    answered(world.observe(), Tensor, f"environment {world.name!r}", "observe", "observations [B, N, O]")
    require(len(world.agents) > 0, "agents is empty")
    require(len(set(world.agents)) == len(world.agents), f"agents are not distinct: {world.agents}")
    names = world.actions.names
    require(len(set(names)) == len(names), f"actions are not distinct: {names}")
    layout = world.layout
    require(layout.width > 0, f"layout.width is {layout.width}")
    require(
        (layout.vocabulary > 0) == (layout.kind == "indices"),
        "vocabulary is required for index observations, and for no others",
    )


def _check_observation(world: World, observation: Tensor, count: int, what: str) -> None:
    layout = world.layout
    shape = (count, world.num_agents, layout.width)
    dtype = torch.float32 if layout.kind == "dense" else torch.int64
    require(observation.shape == shape, f"{what} has shape {tuple(observation.shape)}, not {shape}")
    require(observation.dtype == dtype, f"{what} is {observation.dtype}, not {dtype}")
    _check_device(world, observation, what)
    low, high = (layout.low, layout.high) if layout.kind == "dense" else (-1, layout.vocabulary - 1)
    inside = ((observation >= low) & (observation <= high)).all()
    require(inside, f"{what} exceeds the layout's range {low} .. {high}")
    readings = world.readings()
    require(
        (readings is None) == (layout.kind == "dense"),
        "readings are required for index observations, and for no others",
    )
    if readings is None:
        return
    shape = (world.num_agents, layout.width, layout.vocabulary + 1)
    require(readings.shape == shape and readings.dtype == torch.bool, f"readings must be torch.bool {shape}")
    if not world.loses_members:  # agents that have left observe nothing
        possible = readings.expand(count, -1, -1, -1).gather(3, observation.unsqueeze(-1) + 1)
        require(possible.all(), f"{what} contains values that readings exclude")


def _check_steps(world: World, actions: list[Tensor]) -> None:
    """Check shapes, types, devices, lengths and episode ends, step by step."""
    b, n = world.num_worlds, world.num_agents
    observation = world.reset(seed=0)
    _check_observation(world, observation, b, "the observation of reset")
    require((world.length == 0).all(), "episode lengths are not 0 after reset")
    length = torch.zeros(b, dtype=torch.int64, device=world.device)
    for name, value in world.state.items():
        require(len(value) == b, f"state {name!r} has leading dimension {len(value)}, not {b} worlds")
        _check_device(world, value, f"state {name!r}")
    for joint in actions:
        given, shown = joint.clone(), observation.clone()
        step = world.step(joint)
        require(torch.equal(joint, given), "step changes its input")
        require(torch.equal(observation, shown), "step changes observations that it returned earlier")
        length += 1
        for field, shape, dtype in (
            ("reward", (b, n), torch.float32),
            ("terminated", (b,), torch.bool),
            ("truncated", (b,), torch.bool),
            ("active", (b, n), torch.bool),
            ("length", (b,), torch.int64),
            ("success", (b,), torch.bool),
        ):
            value = getattr(step, field)
            require(value.shape == shape, f"{field} has shape {tuple(value.shape)}, not {shape}")
            require(value.dtype == dtype, f"{field} is {value.dtype}, not {dtype}")
            _check_device(world, value, field)
        require(step.reward.isfinite().all(), "a reward is not finite")
        require(torch.equal(step.length, length), "length does not count the steps of the running episode")
        require(not (step.terminated & step.truncated).any(), "an episode is both terminated and truncated")
        require(step.done[length >= world.max_steps].all(), "an episode continues after max_steps")
        require(
            torch.equal(step.finished, step.done.nonzero().squeeze(-1)),
            "finished does not list the worlds whose episode is done",
        )
        _check_observation(world, step.observation, b, "the observation of step")
        _check_observation(world, step.final_observation, len(step.finished), "final_observation")
        some = torch.arange(0, b, 2, device=world.device)
        require(
            torch.equal(world.observe(some), step.observation[some]), "observe(worlds) differs from observe()[worlds]"
        )
        length[step.done] = 0
        require(torch.equal(world.length, length), "a world that ended is not restarted, or another world is")
        observation = step.observation
    json.dumps(world.scene(0))


def _check_randomness(factory: WorldFactory, num_worlds: int, actions: list[Tensor]) -> None:
    """The seed determines a run, whatever happened before.

    Clean and attacked runs are compared on the same episodes, so earlier actions must not affect the episodes of a
    seed, and no global generator may be used.
    """
    first, second = factory(num_worlds), factory(num_worlds)
    ambient = torch.get_rng_state()
    start = first.reset(seed=3)
    second.reset(seed=4)
    second.step(actions[0])
    require(torch.equal(start, second.reset(seed=3)), "the episodes of a seed depend on what happened before")
    for joint in actions:
        differs = _difference(first.step(joint), second.step(joint))
        require(differs is None, f"{differs} differs between two runs of the same seed and actions")
    require(torch.equal(ambient, torch.get_rng_state()), "randomness is drawn from torch's global generator")


def _check_refusals(world: World) -> None:
    world.reset(seed=0)
    b, n = world.num_worlds, world.num_agents
    space = world.actions
    good = space.draw((b, n), torch.Generator().manual_seed(0), torch.device("cpu")).to(world.device)
    other = good.long() if good.is_floating_point() else good.float()
    before = world.observe()
    far = math.inf if good.is_floating_point() else 10**6
    for bad, what in (
        (good[:, :0], "actions of a wrong shape"),
        (other, f"actions of type {other.dtype}"),
        (good - far, "actions far too small"),
        (good + far, "actions far too large"),
        (torch.full_like(good, math.nan) if good.is_floating_point() else good - far, "actions that are not finite"),
    ):
        try:
            world.step(bad)
        except ValueError:
            continue
        except Exception as error:
            raise AssertionError(f"{what} are not rejected with a ValueError, but raise {error!r}") from error
        raise AssertionError(f"{what} are not rejected with a ValueError")
    require(torch.equal(before, world.observe()) and not world.length.any(), "rejected actions change the world")


def _check_members(factory: WorldFactory, num_worlds: int, actions: list[Tensor]) -> None:
    """Agents that have left have no effect, compared with a twin in which only their actions differ.

    Members that fail stay away until the next episode; where members return, others may take their places, and agents
    of third-party environments may come back.
    """
    world, twin = factory(num_worlds), factory(num_worlds)
    observation = world.reset(seed=8)
    twin.reset(seed=8)
    empty = 0 if world.layout.kind == "dense" else -1
    missed = False
    others = _random_actions(world, len(actions), seed=2)
    for joint, other in zip(actions, others, strict=True):
        alive = world.alive.clone()
        require(world.members_return or bool(alive.any(1).all()), "a world has no agents left")
        require((observation[~alive] == empty).all(), f"agents that have left must observe {empty} only")
        step = world.step(joint)
        require(not step.active[~alive].any(), "agents that have left are active")
        require((step.reward[~alive] == 0).all(), "agents that have left get a reward")
        there = alive.view(*alive.shape, *(1,) * (joint.dim() - 2))
        differs = _difference(step, twin.step(torch.where(there, joint, other)))
        require(differs is None, f"{differs} depends on actions of agents that have left")
        require(not step.left[~alive].any(), "agents leave that were not present")
        now = world.alive.clone()
        now[step.finished] = step.final_alive
        require(not (alive & ~now & ~step.left).any(), "left does not list the agents that left")
        back = world.config.loses_members and (now & ~alive).any()
        require(not back, "an agent returns within an episode")
        require(
            (step.final_observation[~step.final_alive] == empty).all(), "agents that have left have a final observation"
        )
        missed |= not bool(alive.all())
        observation = step.observation
    require(
        missed or not world.config.loses_members,
        f"no agent left in {len(actions)} steps: check with a larger failure or a smaller fewest",
    )


def _check_masks(world: World, actions: list[Tensor]) -> None:
    """In every state, each agent has something to do."""
    shape = (world.num_worlds, world.num_agents, world.actions.parameters)
    world.reset(seed=9)
    for joint in actions:
        allowed = world.available()
        if allowed is None:
            return
        right = allowed.shape == shape and allowed.dtype == torch.bool
        require(right, f"allowed returns {allowed.dtype} {tuple(allowed.shape)}, not torch.bool {shape}")
        parameters = world.actions.masked(torch.zeros(shape, device=allowed.device), allowed)
        chosen = world.actions.choose(parameters, None)
        require(bool(world.actions.permitted(parameters, chosen).all()), "an agent has no possible action")
        world.step(joint)


def _check_resuming(factory: WorldFactory, num_worlds: int, actions: list[Tensor]) -> None:
    world, other = factory(num_worlds), factory(num_worlds)
    world.reset(seed=5)
    other.reset(seed=6)
    half = len(actions) // 2
    for joint in actions[:half]:
        world.step(joint)
    saved = world.snapshot()
    continued = [world.step(joint) for joint in actions[half:]]
    other.restore(saved)
    for expected, joint in zip(continued, actions[half:], strict=True):
        differs = _difference(expected, other.step(joint))
        require(differs is None, f"{differs} differs after snapshot and restore: some state is not saved")


def _check_final_observations(factory: WorldFactory, num_worlds: int, actions: list[Tensor]) -> None:
    """Compare final observations with a twin that does not restart ended worlds."""
    world, twin = factory(num_worlds), factory(num_worlds)
    world.reset(seed=7)
    ended = 0
    for joint in actions:
        twin.restore(world.snapshot())
        step, plain = world.step(joint), twin.step(joint, auto_reset=False)
        last = plain.observation[step.finished]
        require(torch.equal(step.final_observation, last), "final_observation is not the last of the old episode")
        for field in ("reward", "terminated", "truncated", "active", "length", "success", "final_alive"):
            same = torch.equal(getattr(step, field), getattr(plain, field))
            require(same, f"restarting ended worlds changes the {field} of the step that ended them")
        running = ~step.done
        same = torch.equal(step.observation[running], plain.observation[running])
        require(same, "restarting ended worlds changes others")
        ended += len(step.finished)
    require(ended > 0, f"no episode ended in {len(actions)} steps: check with a smaller max_steps or more steps")
