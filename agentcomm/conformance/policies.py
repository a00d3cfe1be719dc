"""Does a policy keep its contract?"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from agentcomm.conformance.common import PolicyFactory, WorldFactory, check_plugin, require
from agentcomm.conformance.stages import Disturb
from agentcomm.contracts.attack import AttackConfig
from agentcomm.contracts.shape import Setting
from agentcomm.messages.traffic import Inbox
from agentcomm.policy import CommPolicy, Deliver, PolicyConfig
from agentcomm.replaying import evaluate
from agentcomm.step.comms import Comms
from agentcomm.training.rollout import Sampler
from agentcomm.training.settings import PPOSettings
from agentcomm.world import World


def check_policy(policy_factory: PolicyFactory, world_factory: WorldFactory, num_worlds: int = 6) -> None:
    """Check the contract of :class:`agentcomm.policy.CommPolicy` in random episodes, with messages disturbed.

    Args:
        policy_factory: Makes the policy for a world. Its weights may be random.
        world_factory: Makes a world of three or more agents; a small ``max_steps`` lets episodes end within 16 steps.
        num_worlds: Copies to check with, four or more.

    Raises:
        AssertionError: If the policy breaks the contract.
    """
    world = world_factory(num_worlds)
    policy = policy_factory(world)
    check_plugin(type(policy), PolicyConfig)
    observation = world.reset(seed=0)
    _check_graphs(policy, world, observation)
    _check_parts(policy, observation, world)
    _check_secrecy(policy, observation)
    _check_control(policy, world)
    # Parts may rest at the beginning of training or at its end, but not at both.
    trained: set[str] = set()
    for attacked, progress in ((False, 0.0), (True, 1.0)):
        policy.anneal(progress)
        trained |= _check_replay(policy, world_factory(num_worlds), attacked)
    idle = [name for name, _ in policy.named_parameters() if name not in trained]
    require(not idle or not policy.topology.degree, f"no gradient reaches {', '.join(idle)}")


def _check_graphs(policy: CommPolicy, world: World, observation: Tensor) -> None:
    topology, b, n = policy.topology, world.num_worlds, world.num_agents
    hidden = policy.encode(observation)
    draw = topology.draw(b, torch.Generator(world.device).manual_seed(0))
    again = topology.draw(b, torch.Generator(world.device).manual_seed(0))
    require(torch.equal(draw, again), "draws do not come from the generator that draw is handed")
    sampled = topology.learned or topology.dynamic
    require(len(draw) == (b if sampled else 0), f"draw returns {len(draw)} draws for {b} worlds")
    receiver = torch.arange(n, device=world.device).view(1, -1, 1)
    for given in (None, draw) if sampled else (None,):
        source, kept = topology.graph(given, b, hidden)
        shape = (b, n, topology.degree)
        require(source.shape == shape, f"graph has senders of shape {tuple(source.shape)}, not {shape}")
        require(source.dtype == torch.int64, f"graph has senders of type {source.dtype}, not torch.int64")
        require(((source >= 0) & (source < n)).all(), "graph names agents that do not exist")
        require((source != receiver).all(), "an agent is its own neighbor")
        require(kept is None or kept.shape == shape, "kept says nothing, or something of every sender")
        ordered = source.sort(-1).values
        require((ordered.diff(dim=-1) > 0).all(), "a receiver has the same neighbor twice")
    if sampled:
        weight = topology.weight(source, draw, hidden)
        require(weight is not None and weight.shape == source.shape, "a sampled graph has no weight per edge")
        require((weight == 1).all(), "straight-through weights are not exactly 1")
    if topology.learned:
        require(len(policy.graph_parameters()) > 0, "a learned graph has no parameters")


def _some_actions(policy: CommPolicy, worlds: int) -> Tensor:
    """[worlds, N] actions that do not matter, but must be some."""
    agents = torch.arange(policy.num_agents)
    return (torch.arange(worlds).unsqueeze(1) + agents) % policy.num_actions


def _run(policy: CommPolicy, observation: Tensor, deliver: Deliver, worlds: Tensor | None = None) -> Tensor:
    """Logits, with actions to tell of that depend on the world's number only."""
    actions = _some_actions(policy, len(observation) if worlds is None else int(worlds.max()) + 1)
    actions = (actions if worlds is None else actions[worlds]).to(observation.device)
    return policy.run(policy.encode(observation), deliver, actions)


def _clear(source: Tensor, open_: Tensor | None = None) -> Callable[[int, Tensor], Inbox]:
    """Delivers everything to open gates, untouched."""
    mask = torch.ones_like(source, dtype=torch.bool) if open_ is None else open_.unsqueeze(-1).expand_as(source)
    return lambda _, spoken: Inbox(spoken, source, mask, source)


def _check_parts(policy: CommPolicy, observation: Tensor, world: World) -> None:
    b, n = observation.shape[:2]
    source = policy.topology.graph(None, b, policy.encode(observation)).source
    require(policy.rounds >= 0 and policy.width > 0, f"rounds is {policy.rounds}, width is {policy.width}")
    sizes = (policy.num_agents, policy.num_actions)
    require(sizes == (n, world.num_actions), f"num_agents and num_actions are {sizes}")
    ambient = torch.get_rng_state()
    hidden = policy.encode(observation)
    first = hidden
    require(hidden.shape[:2] == (b, n), f"encode returns {tuple(hidden.shape)}, not one vector per world and agent")
    gate = policy.listen(hidden)
    require(gate is None or gate.shape == (b, n), "listen does not return one logit per world and agent")
    for round_ in range(policy.rounds):
        last = policy.tells_actions and round_ == policy.rounds - 1
        spoken = policy.tell(hidden, _some_actions(policy, b)) if last else policy.speak(hidden, round_)
        shape = (b, n, policy.width)
        require(spoken.shape == shape, f"{'tell' if last else 'speak'} returns {tuple(spoken.shape)}, not {shape}")
        require(spoken.dtype == torch.float32, f"speak returns {spoken.dtype}, not torch.float32")
        said = spoken.detach().clone()
        heard = policy.hear(hidden, _clear(source)(round_, spoken), round_)
        require(heard.shape == hidden.shape, f"hear turns {tuple(hidden.shape)} into {tuple(heard.shape)}")
        require(torch.equal(said, spoken), "hear changes what others said")
        hidden = heard
    logits, value = _run(policy, observation, _clear(source)), policy.value(first)
    shape = (b, n, world.num_actions)
    require(logits.shape == shape, f"act returns {tuple(logits.shape)}, not {shape}")
    require(value.shape == (b, n), f"value returns {tuple(value.shape)}, not {(b, n)}")
    require(logits.isfinite().all() and value.isfinite().all(), "logits or values are not finite")
    repeated = _run(policy, observation, _clear(source))
    require(torch.equal(logits, repeated), "the same observations and messages give other logits")
    require(torch.equal(ambient, torch.get_rng_state()), "randomness is drawn from torch's global generator")
    some = torch.arange(0, b, 2, device=observation.device)
    part = _run(policy, observation[some], _clear(source[some]), some)
    require(torch.allclose(part, logits[some], atol=1e-4), "what one world does depends on the others of its batch")


def _check_secrecy(policy: CommPolicy, observation: Tensor) -> None:
    """Agents know of each other by messages only: with others' observations swapped and gates shut, nothing changes.

    The critic may see everybody's observations, but knows nothing of messages.
    """
    b, n = observation.shape[:2]
    source = policy.topology.graph(None, b, policy.encode(observation)).source
    shut = torch.zeros(b, n, dtype=torch.bool, device=observation.device)
    own = policy.listen(policy.encode(observation))
    logits = _run(policy, observation, _clear(source, shut))
    for agent in range(n):
        other = observation.roll(1, 0)
        other[:, agent] = observation[:, agent]
        seen = _run(policy, other, _clear(source, shut))
        same = torch.allclose(seen[:, agent], logits[:, agent], atol=1e-4)
        require(same, "an agent knows what nobody told it")
        gate = policy.listen(policy.encode(other))
        if gate is not None and own is not None:
            require(torch.allclose(gate[:, agent], own[:, agent], atol=1e-4), "a gate knows what its agent cannot see")

    def refused(_: int, spoken: Tensor) -> Inbox:
        mask = torch.zeros_like(source, dtype=torch.bool)
        offset = torch.full((*source.shape, policy.width), 1e6, device=source.device)
        return Inbox(spoken, source, mask, source, torch.zeros_like(source, dtype=spoken.dtype), offset)

    seen = _run(policy, observation, refused)
    require(torch.allclose(seen, logits, atol=1e-4), "messages that were not accepted are heard")


def _check_control(policy: CommPolicy, world: World) -> None:
    config = type(policy).without_messages(policy.config)
    silent = type(policy).for_world(config, world)
    require(silent.topology.degree == 0, "without_messages leaves links")
    require(not silent.graph_parameters(), "without_messages leaves a graph to learn")


def _check_replay(policy: CommPolicy, world: World, attacked: bool) -> set[str]:
    """Evaluating a rollout again gives the probabilities it was sampled with; the parameters that this trains."""
    topology = policy.topology
    sizes = (world.num_worlds, world.num_agents, topology.degree, policy.width, policy.exchanges)
    setting = Setting(*sizes, device=world.device)
    comms = Comms.between(setting, [Disturb(AttackConfig(), setting)] if attacked else [])
    ambient = torch.get_rng_state()
    fragment = Sampler(world, policy, comms, PPOSettings(held_out=0.0), seed=0).collect(16)
    require(torch.equal(ambient, torch.get_rng_state()), "randomness is drawn from torch's global generator")
    now = evaluate(policy, fragment.columns, graph_gradient=topology.learned)
    differences = [getattr(now, name) - fragment.columns[name] for name in ("log_probability", "gate_log_probability")]
    error = torch.stack(differences).abs().max().detach()
    require(error < 1e-4, f"evaluating a recorded rollout changes its log-probabilities by up to {float(error):.2g}")
    loss = (now.log_probability + now.gate_log_probability + now.entropy + now.value).sum()
    policy.zero_grad()
    torch.autograd.backward(loss)
    require(all(p.grad is None or p.grad.isfinite().all() for p in policy.parameters()), "a gradient is not finite")
    trained = {name for name, p in policy.named_parameters() if p.grad is not None}
    policy.zero_grad()
    return trained
