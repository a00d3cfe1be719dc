"""Builds the parts of a run from its config: worlds, policy, message layer and adversary."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from agentcomm.base import registry
from agentcomm.base.calling import calling
from agentcomm.base.errors import CheckpointError, ConfigError, RequirementError
from agentcomm.base.modules import check_permitted
from agentcomm.base.seeds import derive
from agentcomm.contracts.channel import Channel
from agentcomm.contracts.codec import Codec
from agentcomm.contracts.defense import Defense
from agentcomm.contracts.deployment import Deployment
from agentcomm.contracts.directory_hook import DirectoryShape
from agentcomm.contracts.policy import CommPolicy
from agentcomm.contracts.shape import TeamShape
from agentcomm.contracts.world import Observation, World
from agentcomm.directory.world import DirectoryWorld
from agentcomm.runs.choices import PLAIN_TRANSPORT, Choice, TransportConfig, build
from agentcomm.runs.config import RunConfig, Variant
from agentcomm.runs.fitting import check_attacks, check_defenses, construct
from agentcomm.step.comms import Comms


def make_world(choice: Choice, num_worlds: int, device: str | torch.device = "cpu") -> World:
    """B worlds of the chosen environment."""
    plugin, config = registry.find("environment", choice.name), build("environment", choice)
    check_permitted(config.code())
    with calling(f"environment {choice.label!r}", "__init__"):
        world: World = plugin(config, num_worlds, device)
    if config.observation == "indices" and world.layout.kind != "indices":
        world.close()
        raise ConfigError(f"environment {choice.label!r}: observation: it offers vectors only; leave 'indices' out")
    return world


def environment_of(choice: Choice, seed: int) -> Choice:
    """The environment of the team of a training seed, with what it draws per team."""
    config = build("environment", choice)
    drawn = config.of_team(seed)
    given = {name: getattr(drawn, name) for name in type(config).model_fields}
    return choice.changed({name: value for name, value in given.items() if value != getattr(config, name)})


def make_policy(choice: Choice, world: World, variant: Variant = "team", seed: int = 0) -> CommPolicy:
    """The chosen policy for a world, with weights initialized from the seed; ``control`` sends no messages."""
    plugin: type[CommPolicy] = registry.find("policy", choice.name)
    config = build("policy", choice)
    if variant == "control":
        config = plugin.without_messages(config)
    with torch.random.fork_rng(devices=[]), calling(f"policy {choice.label!r}", "for_world"):
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
    if trained.actions.widest() != world.actions.widest():
        raise ConfigError(f"the policy was trained for actions {trained.actions}, not {world.actions}")
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


def charge_for_messages(policy: CommPolicy, codec: Codec | None) -> None:
    """Let training pay what a codec charges for the policy's messages."""
    policy.message_price = codec.price if codec is not None and codec.charges else None


def make_codec(team_shape: TeamShape, transport: TransportConfig) -> Codec | None:
    """The codec of a transport; None if it has none."""
    return None if transport.codec is None else construct("codec", transport.codec, team_shape)


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
        RequirementError: If an attack or a defense lacks something that it needs.
        AgentcommError: If a part does not fit the team, or the carrier cannot carry the output of the codec.
    """
    directory = world.directory if isinstance(world, DirectoryWorld) else None
    sizes = None if directory is None else directory.shape
    parts = (attacks, defenses, seed, transport, secret, _numbers(policy), sizes)
    comms = connect(deployment(world, policy), *parts)
    install_directory(world, comms)
    return comms


def connect(
    where: Deployment,
    attacks: Sequence[Choice] = (),
    defenses: Sequence[Choice] = (),
    seed: int = 0,
    transport: TransportConfig = PLAIN_TRANSPORT,
    secret: int | None = None,
    numbers: int | None = None,
    directory: DirectoryShape | None = None,
) -> Comms:
    """The message layer, adversary and defenders of a team that need not have a policy of the testbed.

    Args:
        where: The team and its environment, without codec, channels and defenses.
        attacks: Attacks, in the order in which they act.
        defenses: Defenses.
        seed: As for :meth:`agentcomm.step.comms.Comms.between`.
        transport: How messages travel.
        secret: As for :meth:`agentcomm.step.comms.Comms.between`.
        numbers: Entries of a payload that carry information; None for all.
        directory: Sizes of the team's directory; None without one.

    Raises:
        AgentcommError: As :func:`make_comms`.
    """
    team_shape = where.shape
    made = [construct("attack", choice, team_shape) for choice in attacks]
    slots = team_shape.degree + sum(attack.injections() for attack in made)
    channels = [construct("channel", choice, team_shape, slots) for choice in transport.channels]
    codec = make_codec(team_shape, transport)
    defended = [construct("defense", choice, team_shape) for choice in defenses]
    where = replace(where, codec=codec, channels=tuple(channels), defenses=tuple(defended))
    check_attacks(attacks, made, where, directory)
    check_defenses(defenses, defended, where)
    numbers = team_shape.width if numbers is None else numbers
    wiring = (channels, codec, transport.step_seconds, numbers, directory, transport.carrier)
    try:
        comms = Comms.between(team_shape, made, defended, seed, *wiring, secret)
    except ValueError as error:
        named = ", ".join((*(choice.label for choice in attacks), transport.label or "a plain transport"))
        team = f"this team of {team_shape.num_agents}"
        raise ConfigError(f"{named} cannot be used by {team}: {error}") from error
    for guard, choice in zip(comms.adversary.guards, attacks, strict=True):
        guard.run_as = build("attack", choice).run_as
    return comms


def install_directory(world: World, comms: Comms) -> None:
    """Let attacks and defenses act on the world's directory, if it has one."""
    if isinstance(world, DirectoryWorld):
        world.directory.install(comms.adversary.directory_guards, comms.defenders.directory_screens)


def check_training(config: RunConfig) -> None:
    """Set up a run's team once with a single world, to find errors before training starts.

    Raises:
        AgentcommError: If a part does not fit, or an attack could do nothing in training.
    """
    with closing(make_world(config.environment, 1)) as world:
        policy = make_policy(config.policy, world)
        if not any(parameter.requires_grad for parameter in policy.parameters()):
            raise ConfigError(
                f"policy {config.policy.name!r} has no weights, so there is nothing to train; evaluate it instead"
            )
        comms = make_comms(world, policy, config.attacks, config.defenses, transport=config.transport)
        where = deployment(world, policy)
        for defense in comms.network.defenses:
            _check_trainable(defense)
        _check_planned(config, world, policy)
        _check_phases(config, world, policy, comms)
    for choice, guard in zip(config.attacks, comms.adversary.guards, strict=True):
        reason = guard.attack.idle(where)
        if reason is not None:
            raise RequirementError(f"training under attack '{choice.label}' would be training without it: {reason}")


def _check_trainable(defense: Defense) -> None:
    if defense.calibration:
        raise RequirementError(
            f"defense {defense.name!r} cannot be used in training: it learns from {defense.calibration} clean episodes"
            " of the trained team, which does not exist yet; list it under evaluation.defenses"
        )
    if not defense.in_training or defense.reselects:
        reason = "links that it closes are replaced (reselect=true), which the update cannot credit"
        reason = reason if defense.in_training else "it is for evaluation only"
        raise RequirementError(f"defense {defense.name!r} cannot be used in training: {reason}")


def _check_planned(config: RunConfig, world: World, policy: CommPolicy) -> None:
    """Check that what is to be evaluated finds what it needs under some of the conditions.

    Attacks may need a policy that is trained later; whatever else is wrong with them is said when they are evaluated.
    """
    transports = [under.transport for under in config.evaluation.expand(config.transport) if under.crossed]
    for attack in config.evaluation.attacks:
        try:
            _somewhere(partial(make_comms, world, policy, [attack], ()), transports)
        except RequirementError:
            raise
        except (CheckpointError, ConfigError):
            continue
    for group in config.evaluation.defenses:
        _somewhere(partial(make_comms, world, policy, (), group), transports)


def _somewhere(make: Callable[..., Comms], transports: Sequence[TransportConfig]) -> None:
    """Make something with one of the transports, or raise the last requirement that is not met."""
    missing: RequirementError | None = None
    for transport in transports:
        try:
            make(transport=transport)
        except RequirementError as error:
            missing = error
        else:
            return
    if missing is not None:
        raise missing


def _check_phases(config: RunConfig, world: World, policy: CommPolicy, comms: Comms) -> None:
    """Check that a team that fits the run's config fits all phases of its schedule of training."""
    for number, phase in enumerate(config.training.schedule):
        where = f"training.schedule[{number}]"
        for setup in config.setup.ends(phase):
            with closing(make_world(setup.environment, 1)) as other:
                for what, of in _INTERFACE.items():
                    if of(other) != of(world):
                        raise ConfigError(
                            f"{where}.environment changes the {what} from {of(world)} to"
                            f" {of(other)}; a schedule may only change what a trained team can cope with"
                        )
                parts = (setup.attacks, setup.defenses)
                changed = make_comms(other, policy, *parts, transport=setup.transport)
                if _form(changed.snapshot()) != _form(comms.snapshot()):
                    raise ConfigError(
                        f"{where} changes how much attacks, defenses or channels remember; a schedule may only change"
                        " arguments such as probabilities"
                    )


def _form(state: Any) -> Any:
    """The names and shapes in a saved state."""
    if isinstance(state, dict):
        return {name: _form(value) for name, value in state.items()}
    if isinstance(state, list):
        return [_form(value) for value in state]
    return getattr(state, "shape", None)


# What a policy is built for.
_INTERFACE: dict[str, Callable[[World], object]] = {
    "agents": lambda world: world.agents,
    "roles": lambda world: world.roles,
    "actions": lambda world: world.actions,
    "observation": lambda world: world.layout,
}


def deployment(
    world: World,
    policy: CommPolicy,
    codec: Codec | None = None,
    channels: Sequence[Channel] = (),
    defenses: Sequence[Defense] = (),
) -> Deployment:
    """A team, its transport and its environment, for plug-ins that say what they need of them."""
    return Deployment(
        shape=shape_of(world, policy),
        environment=world.name,
        directory=isinstance(world, DirectoryWorld),
        votes=world.votes,
        gated=policy.gate is not None,
        remembers=policy.keeps_heard,
        predictable=policy.predictable,
        codec=codec,
        channels=tuple(channels),
        defenses=tuple(defenses),
    )


def shape_of(world: World, policy: CommPolicy) -> TeamShape:
    """The shape of a team in these worlds."""
    return TeamShape(
        num_worlds=world.num_worlds,
        num_agents=world.num_agents,
        degree=policy.topology.degree,
        width=policy.width,
        rounds=policy.exchanges,
        device=world.device,
        actions=policy.actions,
    )
