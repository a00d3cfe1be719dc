"""Conformance check of policies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from agentcomm.base.calling import answered, calling
from agentcomm.conformance.common import PolicyFactory, WorldFactory, check_plugin, closing_worlds, require
from agentcomm.conformance.disturb import Disturb
from agentcomm.conformance.topologies import check_graphs
from agentcomm.contracts.attack import AttackConfig
from agentcomm.contracts.inbox import Inbox
from agentcomm.contracts.policy import CommPolicy, Deliver, PolicyConfig
from agentcomm.contracts.shape import TeamShape
from agentcomm.contracts.world import World
from agentcomm.runs.ppo_settings import PPOSettings
from agentcomm.step.comms import Comms
from agentcomm.step.hooks import ask_memory
from agentcomm.step.perceive import perceive
from agentcomm.step.replay import reevaluate
from agentcomm.training.minibatches import batch_of
from agentcomm.training.rollout import Sampler

RETURNS = {
    "encode": "hidden vectors [B, N, H]",
    "speak": "payloads [B, N, D]",
    "hear": "hidden vectors [B, N, H]",
    "act": "action parameters [B, N, P]",
    "value": "values [B, N]",
}


def check_policy(
    policy_factory: PolicyFactory, world_factory: WorldFactory, num_worlds: int = 6, quick: bool = False
) -> None:
    """Check the contract of :class:`agentcomm.contracts.policy.CommPolicy` in random episodes, clean and attacked.

    Args:
        policy_factory: Creates the policy for a world; its weights may be random.
        world_factory: Creates a world of three or more agents; with a small ``max_steps``, so that episodes end within
            16 steps.
        num_worlds: Number of worlds, four or more.
        quick: Whether to check a single decision only, and no rollout.

    Raises:
        AssertionError: If the policy breaks the contract.
    """
    with closing_worlds(world_factory) as factory:
        _check_policy(policy_factory, factory, num_worlds, quick)


def _check_policy(policy_factory: PolicyFactory, world_factory: WorldFactory, num_worlds: int, quick: bool) -> None:
    world = world_factory(num_worlds)
    policy = policy_factory(world)
    check_plugin(type(policy), PolicyConfig, quick)
    observation = world.reset(seed=0)
    check_graphs(policy.topology, _call(policy, "encode", observation))
    learns = bool(policy.graph_parameters())
    require(learns == policy.topology.learned, "a learned graph has no parameters")
    _check_parts(policy, observation, world)
    _check_secrecy(policy, observation)
    _check_control(policy, world)
    if quick:
        return
    # Parameters may be unused at the beginning or at the end of training, but not both.
    trained: set[str] = set()
    for attacked, progress in ((False, 0.0), (True, 1.0)):
        policy.anneal(progress)
        trained |= _check_replay(policy, world_factory(num_worlds), attacked)
    idle = [name for name, _ in policy.named_parameters() if name not in trained]
    require(not idle or not policy.topology.degree, f"no gradient reaches {', '.join(idle)}")


def _some_actions(policy: CommPolicy, worlds: int) -> Tensor:
    """[worlds, N] arbitrary actions."""
    agents = torch.arange(policy.num_agents)
    return policy.actions.from_option((torch.arange(worlds).unsqueeze(1) + agents) % policy.actions.options)


def _run(policy: CommPolicy, observation: Tensor, deliver: Deliver, worlds: Tensor | None = None) -> Tensor:
    """Logits, with arbitrary actions for autoregressive policies that depend on the index of the world."""
    actions = _some_actions(policy, len(observation) if worlds is None else int(worlds.max()) + 1)
    actions = (actions if worlds is None else actions[worlds]).to(observation.device)
    hidden, memory = perceive(policy, observation, _some_memory(policy, observation))
    return policy.run(hidden, deliver, actions, memory)


def _hidden(policy: CommPolicy, observation: Tensor) -> Tensor:
    """[worlds, N, H] before any message."""
    return perceive(policy, observation, _some_memory(policy, observation))[0]


def _some_memory(policy: CommPolicy, observation: Tensor) -> Tensor:
    """[worlds, N, S], some memory of each agent that depends on its own observation in [worlds, N, O]."""
    seen = observation.double().sum(-1, keepdim=True)
    return (seen * (1 + torch.arange(policy.memory_width, device=observation.device))).sin().float()


def _call(policy: CommPolicy, hook: str, *arguments: Any) -> Tensor:
    """What a method of a policy returns; its errors name the policy, the method, and file and line."""
    what = f"policy {policy.name!r}"
    with calling(what, hook):
        return answered(getattr(policy, hook)(*arguments), Tensor, what, hook, RETURNS[hook])


def _clear(source: Tensor, open_: Tensor | None = None) -> Callable[[int, Tensor], Inbox]:
    """Delivers all messages to open gates unchanged."""
    mask = torch.ones_like(source, dtype=torch.bool) if open_ is None else open_.unsqueeze(-1).expand_as(source)
    return lambda _, spoken: Inbox(spoken, source, mask, source)


def _check_parts(policy: CommPolicy, observation: Tensor, world: World) -> None:
    b, n = observation.shape[:2]
    source = policy.topology.graph(None, b, _call(policy, "encode", observation)).source
    require(policy.rounds >= 0 and policy.width > 0, f"rounds is {policy.rounds}, width is {policy.width}")
    sizes = (policy.num_agents, policy.actions)
    require(sizes == (n, type(policy).actions_in(policy.config, world)), f"num_agents and actions are {sizes}")
    ambient = torch.get_rng_state()
    hidden = _call(policy, "encode", observation)
    require(hidden.shape[:2] == (b, n), f"encode returns {tuple(hidden.shape)}, not one vector per world and agent")
    hidden, memory = perceive(policy, observation, _some_memory(policy, observation))
    first = hidden
    gated = policy.gate is None or policy.listen(hidden).shape == (b, n)
    require(gated, "listen does not return one logit per world and agent")
    for round_ in range(policy.rounds):
        last = policy.autoregressive and round_ == policy.rounds - 1
        spoken = policy.tell(hidden, _some_actions(policy, b)) if last else _call(policy, "speak", hidden, round_)
        shape = (b, n, policy.width)
        require(spoken.shape == shape, f"{'tell' if last else 'speak'} returns {tuple(spoken.shape)}, not {shape}")
        require(spoken.dtype == torch.float32, f"speak returns {spoken.dtype}, not torch.float32")
        said = spoken.detach().clone()
        heard = _call(policy, "hear", hidden, _clear(source)(round_, spoken), round_)
        require(heard.shape == hidden.shape, f"hear turns {tuple(hidden.shape)} into {tuple(heard.shape)}")
        require(torch.equal(said, spoken), "hear changes the payloads of others")
        hidden = heard
    if policy.keeps_heard:
        hidden, _ = ask_memory(policy, policy.retain, hidden, memory)
    _call(policy, "act", hidden)
    logits, value = _run(policy, observation, _clear(source)), _call(policy, "value", first)
    shape = (b, n, world.actions.parameters)
    require(logits.shape == shape, f"act returns {tuple(logits.shape)}, not {shape}")
    require(value.shape == (b, n), f"value returns {tuple(value.shape)}, not {(b, n)}")
    require(logits.isfinite().all() and value.isfinite().all(), "logits or values are not finite")
    repeated = _run(policy, observation, _clear(source))
    require(torch.equal(logits, repeated), "the same observations and messages give different logits")
    require(torch.equal(ambient, torch.get_rng_state()), "randomness is drawn from torch's global generator")
    some = torch.arange(0, b, 2, device=observation.device)
    part = _run(policy, observation[some], _clear(source[some]), some)
    require(
        torch.allclose(part, logits[some], atol=1e-4), "the logits of a world depend on the other worlds of its batch"
    )


def _check_secrecy(policy: CommPolicy, observation: Tensor) -> None:
    """Agents affect each other through messages only: with closed gates, others' observations have no effect.

    The critic may use the observations of all agents, but no messages.
    """
    b, n = observation.shape[:2]
    hidden = _hidden(policy, observation)
    source = policy.topology.graph(None, b, hidden).source
    closed = torch.zeros(b, n, dtype=torch.bool, device=observation.device)
    own = None if policy.gate is None else policy.listen(hidden)
    logits = _run(policy, observation, _clear(source, closed))
    for agent in range(n):
        other = observation.roll(1, 0)
        other[:, agent] = observation[:, agent]
        seen = _run(policy, other, _clear(source, closed))
        same = torch.allclose(seen[:, agent], logits[:, agent], atol=1e-4)
        require(same, "an agent's logits depend on observations of others without messages")
        if own is not None:
            gate = policy.listen(_hidden(policy, other))
            require(
                torch.allclose(gate[:, agent], own[:, agent], atol=1e-4),
                "a gate depends on observations of other agents",
            )

    def refused(_: int, spoken: Tensor) -> Inbox:
        mask = torch.zeros_like(source, dtype=torch.bool)
        offset = torch.full((*source.shape, policy.width), 1e6, device=source.device)
        return Inbox(spoken, source, mask, source, torch.zeros_like(source, dtype=spoken.dtype), offset)

    seen = _run(policy, observation, refused)
    require(torch.allclose(seen, logits, atol=1e-4), "messages that were not accepted have an effect")


def _check_control(policy: CommPolicy, world: World) -> None:
    config = type(policy).without_messages(policy.config)
    silent = type(policy).for_world(config, world)
    require(silent.topology.degree == 0, "the graph of without_messages has links")
    require(not silent.graph_parameters(), "the graph of without_messages is learned")


def _check_replay(policy: CommPolicy, world: World, attacked: bool) -> set[str]:
    """Check that reevaluation gives the recorded log-probabilities; returns the parameters that get gradients."""
    topology = policy.topology
    sizes = (world.num_worlds, world.num_agents, topology.degree, policy.width, policy.exchanges)
    team_shape = TeamShape(*sizes, device=world.device)
    comms = Comms.between(team_shape, [Disturb(AttackConfig(), team_shape)] if attacked else [])
    ambient = torch.get_rng_state()
    settings = PPOSettings(held_out=0.0, minibatch=None, chunk=5)
    fragment = Sampler(world, policy, comms, settings, seed=0).collect(16)
    require(torch.equal(ambient, torch.get_rng_state()), "randomness is drawn from torch's global generator")
    rows = next(batch_of(policy, fragment.columns, settings).epoch(0, policy, torch.Generator()))
    now = reevaluate(policy, rows, graph_gradient=topology.learned)
    differences = [getattr(now, name) - rows[name] for name in ("log_probability", "gate_log_probability")]
    error = torch.stack(differences).abs().max().detach()
    require(error < 1e-4, f"reevaluating a rollout changes its log-probabilities by up to {float(error):.2g}")
    loss = (now.log_probability + now.gate_log_probability + now.entropy + now.value).sum()
    loss = loss if now.auxiliary is None else loss + now.auxiliary
    if not any(True for _ in policy.parameters()):
        return set()  # as of a policy that is not trained here
    policy.zero_grad()
    torch.autograd.backward(loss)
    require(all(p.grad is None or p.grad.isfinite().all() for p in policy.parameters()), "a gradient is not finite")
    trained = {name for name, p in policy.named_parameters() if p.grad is not None}
    policy.zero_grad()
    return trained
