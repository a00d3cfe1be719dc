"""Builds the parts of a run from its config: worlds, policy, message layer and adversary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from agentcomm.base import registry
from agentcomm.base.calling import described
from agentcomm.base.errors import ConfigError, HookError
from agentcomm.base.registry import Axis
from agentcomm.base.seeds import derive
from agentcomm.contracts.attack import Attack, hooks
from agentcomm.contracts.defense import defense_hooks
from agentcomm.contracts.policy import CommPolicy
from agentcomm.contracts.shape import TeamShape
from agentcomm.contracts.world import Observation, World
from agentcomm.directory.world import DirectoryWorld
from agentcomm.runs.choices import PLAIN_TRANSPORT, Choice, TransportConfig, build
from agentcomm.runs.config import Variant
from agentcomm.step.comms import Comms


def make_world(choice: Choice, num_worlds: int, device: str | torch.device = "cpu") -> World:
    """B worlds of the chosen environment."""
    world: World = registry.find("environment", choice.name)(build("environment", choice), num_worlds, device)
    return world


def make_policy(choice: Choice, world: World, variant: Variant = "team", seed: int = 0) -> CommPolicy:
    """The chosen policy for a world, with weights initialized from the seed; ``control`` sends no messages."""
    plugin: type[CommPolicy] = registry.find("policy", choice.name)
    config = build("policy", choice)
    if variant == "control":
        config = plugin.without_messages(config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "weights"))
        return plugin.for_world(config, world).to(world.device)


def resize_team(policy: CommPolicy, trained: World, world: World) -> None:
    """Adapt a trained policy to a world with another team size.

    Each agent takes over the identity of a trained agent of its role, in turn.

    Raises:
        ConfigError: If observations, actions or roles differ, or the policy cannot change its team size.
    """
    if _input(trained.layout) != _input(world.layout):
        raise ConfigError(f"the policy was trained for observations {trained.layout}, not {world.layout}")
    if trained.action_names != world.action_names:
        raise ConfigError(f"the policy was trained for actions {trained.action_names}, not {world.action_names}")
    if trained.roles == world.roles:
        return
    seen: dict[int, int] = {}
    identity = []
    for role in world.roles:
        pool = [agent for agent, known in enumerate(trained.roles) if known == role]
        if not pool:
            raise ConfigError(f"the trained team has no agent of role {role}")
        identity.append(pool[seen.get(role, 0) % len(pool)])
        seen[role] = seen.get(role, 0) + 1
    policy.resize_team(identity)


def _input(layout: Observation) -> tuple[str, int]:
    """The part of a layout that must match: index observations may list more or fewer of the same codes."""
    return layout.kind, layout.vocabulary or layout.width


def _numbers(policy: CommPolicy) -> int:
    """Number of entries of a greedy payload that carry information."""
    return policy.width if policy.message_noise is None else int(policy.message_noise.spoken.sum())


def _attack(choice: Choice, team_shape: TeamShape) -> Attack:
    """An attack, which is not told that it runs as its no-op control if the guards make that of it."""
    plugin: type[Attack] = registry.find("attack", choice.name)
    config = build("attack", choice)
    if not (plugin.own_control or "on_directory" in hooks(plugin)):
        config = config.model_copy(update={"noop_control": False})
    return plugin(config, team_shape)


def make_comms(
    world: World,
    policy: CommPolicy,
    attacks: Sequence[Choice] = (),
    defenses: Sequence[Choice] = (),
    seed: int = 0,
    transport: TransportConfig = PLAIN_TRANSPORT,
    secret: int | None = None,
) -> Comms:
    """The message layer, adversary and defenders of a team; those of the world's directory are installed there.

    Args:
        world: The worlds.
        policy: The team's policy.
        attacks: Attacks, in the order in which they act.
        defenses: Defenses.
        seed: As for :meth:`agentcomm.step.comms.Comms.between`.
        transport: How messages travel.
        secret: As for :meth:`agentcomm.step.comms.Comms.between`.

    Raises:
        ConfigError: If a part does not fit the team, or the carrier cannot carry the output of the codec.
        HookError: If the code of a plug-in tries to end the process.
    """
    team_shape = TeamShape(
        num_worlds=world.num_worlds,
        num_agents=world.num_agents,
        degree=policy.topology.degree,
        width=policy.width,
        rounds=policy.exchanges,
        device=world.device,
    )

    def make(axis: Axis, choices: Sequence[Choice], *more: int) -> list[Any]:
        return [registry.find(axis, c.name)(build(axis, c), replace(team_shape), *more) for c in choices]

    codecs = () if transport.codec is None else (transport.codec,)
    named = ", ".join(c.label for c in (*attacks, *defenses, *transport.channels, *codecs))
    directory = world.directory if isinstance(world, DirectoryWorld) else None
    try:
        made = [_attack(choice, replace(team_shape)) for choice in attacks]
        for attack in made:
            if directory is None and "on_directory" in hooks(type(attack)):
                raise ValueError(f"{attack.name} needs a directory, but {world.name} has none")
        slots = team_shape.degree + sum(attack.injections() for attack in made)
        channels = make("channel", transport.channels, slots)
        for attack in made:
            if attack.needs_fragmentation and not any(channel.fragments_messages for channel in channels):
                raise ValueError(
                    f"{attack.name} acts on fragments, but no channel fragments messages: add `--channel fragments`"
                )
        codec = next(iter(make("codec", codecs)), None)
        defended, numbers = make("defense", defenses), _numbers(policy)
        for defense in defended:
            if directory is None and "on_directory" in defense_hooks(type(defense)):
                raise ValueError(f"{defense.name} needs a directory, but {world.name} has none")
        sizes = None if directory is None else directory.shape
        wiring = (channels, codec, transport.step_seconds, numbers, sizes, transport.carrier)
        comms = Comms.between(team_shape, made, defended, seed, *wiring, secret)
        for guard, choice in zip(comms.adversary.guards, attacks, strict=True):
            guard.noop_control = build("attack", choice).noop_control
        if directory is not None:
            directory.install(comms.adversary.directory_guards, comms.defenders.directory_screens)
        return comms
    except SystemExit as error:
        raise HookError(f"{named}: the code of a plug-in tries to end the process: {described(error)}") from error
    except ValueError as error:
        raise ConfigError(f"{named} does not fit a team of {world.num_agents}: {error}") from error
