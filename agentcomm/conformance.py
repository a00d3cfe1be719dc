"""Checks that a plug-in keeps its contract, for its author to call.

``check_world(lambda num_worlds: MyWorld(config, num_worlds))``, ``check_policy(lambda world: MyPolicy.for_world(config,
world), make_world)``, ``check_attack(MyAttack, {"argument": 1})`` and ``check_defense(MyDefense)`` raise
``AssertionError`` with what is wrong. No test framework is needed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from agentcomm.defense import ORDERS, Defense, DefenseConfig, Delivered, Verdicts
from agentcomm.messages.network import Network
from agentcomm.messages.traffic import Inbox, Links
from agentcomm.plugin import Plugin, PluginConfig
from agentcomm.policy import CommPolicy, PolicyConfig, evaluate
from agentcomm.threats import Attack, AttackConfig, Budget, Edits, Envelopes, Position, Setting, ThreatModel, View
from agentcomm.training.rollout import Sampler
from agentcomm.training.settings import PPOSettings
from agentcomm.world import Step, World

WorldFactory = Callable[[int], World]
PolicyFactory = Callable[[World], CommPolicy]


def check_world(world_factory: WorldFactory, num_worlds: int = 8, num_steps: int = 60, resumes: bool = True) -> None:
    """Check the contract of :class:`agentcomm.world.World` over random episodes.

    Args:
        world_factory: Makes a world with the given number of copies; always with the same arguments. A small
            ``max_steps`` makes sure that ``num_steps`` cover the end of episodes.
        num_worlds: Copies to check with.
        num_steps: Steps of the random rollouts.
        resumes: Whether ``set_state`` goes on with the very same episodes, as all but third-party environments can.

    Raises:
        AssertionError: If the world breaks the contract.
    """
    world = world_factory(num_worlds)
    actions = _random_actions(world, num_steps, seed=1)
    _check_description(world)
    _check_steps(world, actions)
    _check_randomness(world_factory, num_worlds, actions)
    _check_refusals(world)
    if resumes:
        _check_resuming(world_factory, num_worlds, actions)
        _check_final_observations(world_factory, num_worlds, actions)


def _require(condition: bool | Tensor, problem: str) -> None:
    if not condition:
        raise AssertionError(problem)


def _check_device(world: World, value: Tensor, what: str) -> None:
    # "cuda" names the current GPU, so what is made there knows which one that is.
    device = torch.empty(0, device=world.device).device
    _require(value.device == device, f"{what} is on {value.device}, not on {device}")


def _random_actions(world: World, num_steps: int, seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shape = (num_steps, world.num_worlds, world.num_agents)
    return list(torch.randint(world.num_actions, shape, generator=generator).to(world.device))


def _difference(first: Step, second: Step) -> str | None:
    """Name of the first field in which two steps differ, or None."""
    for field in fields(Step):
        if not torch.equal(getattr(first, field.name), getattr(second, field.name)):
            return field.name
    return None


def _check_description(world: World) -> None:
    _require(len(world.agents) > 0, "agents is empty")
    _require(len(set(world.agents)) == len(world.agents), f"agents are not distinct: {world.agents}")
    _require(len(set(world.action_names)) == len(world.action_names), f"actions are not distinct: {world.action_names}")
    layout = world.layout
    _require(layout.width > 0, f"layout.width is {layout.width}")
    _require(
        (layout.vocabulary > 0) == (layout.kind == "indices"), "vocabulary is for index observations, and needed there"
    )


def _check_observation(world: World, observation: Tensor, count: int, what: str) -> None:
    layout = world.layout
    shape = (count, world.num_agents, layout.width)
    dtype = torch.float32 if layout.kind == "dense" else torch.int64
    _require(observation.shape == shape, f"{what} has shape {tuple(observation.shape)}, not {shape}")
    _require(observation.dtype == dtype, f"{what} is {observation.dtype}, not {dtype}")
    _check_device(world, observation, what)
    low, high = (layout.low, layout.high) if layout.kind == "dense" else (-1, layout.vocabulary - 1)
    inside = ((observation >= low) & (observation <= high)).all()
    _require(inside, f"{what} leaves the layout's range {low} .. {high}")


def _check_steps(world: World, actions: list[Tensor]) -> None:
    """Shapes, types, devices, clocks and the meaning of done, step by step."""
    b, n = world.num_worlds, world.num_agents
    observation = world.reset(seed=0)
    _check_observation(world, observation, b, "the observation of reset")
    _require((world.length == 0).all(), "reset leaves episode lengths above 0")
    length = torch.zeros(b, dtype=torch.int64, device=world.device)
    for name, value in world.state.items():
        _require(len(value) == b, f"state {name!r} has leading dimension {len(value)}, not {b} worlds")
        _check_device(world, value, f"state {name!r}")
    for joint in actions:
        given, shown = joint.clone(), observation.clone()
        step = world.step(joint)
        _require(torch.equal(joint, given), "step changes the actions it is given")
        _require(torch.equal(observation, shown), "step changes observations it returned before")
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
            _require(value.shape == shape, f"{field} has shape {tuple(value.shape)}, not {shape}")
            _require(value.dtype == dtype, f"{field} is {value.dtype}, not {dtype}")
            _check_device(world, value, field)
        _require(step.reward.isfinite().all(), "a reward is not finite")
        _require(torch.equal(step.length, length), "length does not count the steps of the running episode")
        _require(not (step.terminated & step.truncated).any(), "an episode is both terminated and truncated")
        _require(step.done[length >= world.max_steps].all(), "an episode goes on after max_steps")
        _require(torch.equal(step.finished, step.done.nonzero().squeeze(-1)), "finished does not list the worlds done")
        _check_observation(world, step.observation, b, "the observation of step")
        _check_observation(world, step.final_observation, len(step.finished), "final_observation")
        some = torch.arange(0, b, 2, device=world.device)
        _require(
            torch.equal(world.observe(some), step.observation[some]), "observe(worlds) differs from observe()[worlds]"
        )
        length[step.done] = 0
        _require(torch.equal(world.length, length), "a world that ended is not restarted, or another one is")
        observation = step.observation
    json.dumps(world.scene(0))


def _check_randomness(factory: WorldFactory, num_worlds: int, actions: list[Tensor]) -> None:
    """Same seed, same run, whatever happened before.

    A clean run and one under attack are compared over the same episodes, so nothing an agent did earlier may
    change what a seed starts, and nothing may be drawn from generators that others use as well.
    """
    first, second = factory(num_worlds), factory(num_worlds)
    ambient = torch.get_rng_state()
    start = first.reset(seed=3)
    second.reset(seed=4)
    second.step(actions[0])
    _require(torch.equal(start, second.reset(seed=3)), "the same seed starts different episodes after another history")
    for joint in actions:
        differs = _difference(first.step(joint), second.step(joint))
        _require(differs is None, f"{differs} differs between two runs of the same seed and actions")
    _require(torch.equal(ambient, torch.get_rng_state()), "randomness is drawn from torch's global generator")


def _check_refusals(world: World) -> None:
    world.reset(seed=0)
    b, n = world.num_worlds, world.num_agents
    good = torch.zeros(b, n, dtype=torch.int64, device=world.device)
    before = world.observe()
    for bad, what in (
        (good[:, :0], "actions of a wrong shape"),
        (good.float(), "floating-point actions"),
        (good - 1, "negative actions"),
        (good + world.num_actions, "actions beyond num_actions"),
    ):
        try:
            world.step(bad)
        except ValueError:
            continue
        except Exception as error:
            raise AssertionError(f"{what} are not refused with a ValueError but end in {error!r}") from error
        raise AssertionError(f"{what} are not refused with a ValueError")
    _require(torch.equal(before, world.observe()) and not world.length.any(), "refused actions change the world")


def _check_resuming(factory: WorldFactory, num_worlds: int, actions: list[Tensor]) -> None:
    world, other = factory(num_worlds), factory(num_worlds)
    world.reset(seed=5)
    other.reset(seed=6)
    half = len(actions) // 2
    for joint in actions[:half]:
        world.step(joint)
    saved = world.get_state()
    continued = [world.step(joint) for joint in actions[half:]]
    other.set_state(saved)
    for expected, joint in zip(continued, actions[half:], strict=True):
        differs = _difference(expected, other.step(joint))
        _require(differs is None, f"{differs} differs after get_state and set_state: something is not saved")


def _check_final_observations(factory: WorldFactory, num_worlds: int, actions: list[Tensor]) -> None:
    """Against a twin that does not restart ended worlds, and so shows what their last observation is."""
    world, twin = factory(num_worlds), factory(num_worlds)
    world.reset(seed=7)
    ended = 0
    for joint in actions:
        twin.set_state(world.get_state())
        step, plain = world.step(joint), twin.step(joint, auto_reset=False)
        last = plain.observation[step.finished]
        _require(torch.equal(step.final_observation, last), "final_observation is not the last of the old episode")
        running = ~step.done
        same = torch.equal(step.observation[running], plain.observation[running])
        _require(same, "restarting ended worlds changes others")
        ended += len(step.finished)
    _require(ended > 0, f"no episode ended in {len(actions)} steps: check with a smaller max_steps or more steps")


def _check_plugin(plugin: type[Plugin], base: type[PluginConfig]) -> None:
    """Name, version, and a config that is frozen, described and refuses unknown keys."""
    _require(isinstance(getattr(plugin, "name", None), str), f"{plugin.__name__} has no name")
    _require(isinstance(plugin.version, str), f"version is {plugin.version!r}, not a string")
    config = plugin.Config
    _require(isinstance(config, type) and issubclass(config, base), f"Config is {config!r}, not a {base.__name__}")
    _require(config.model_config.get("frozen") is True, "Config is not frozen")
    _require(config.model_config.get("extra") == "forbid", "Config takes unknown keys")
    for name, info in config.model_fields.items():
        _require(bool(info.description), f"argument {name!r} has no description")


# ---- policies


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
    _check_plugin(type(policy), PolicyConfig)
    observation = world.reset(seed=0)
    _check_graphs(policy, world)
    _check_parts(policy, observation, world)
    _check_secrecy(policy, observation)
    _check_control(policy, world)
    # Parts may rest at the beginning of training or at its end, but not at both.
    trained: set[str] = set()
    for attacked, progress in ((False, 0.0), (True, 1.0)):
        policy.anneal(progress)
        trained |= _check_replay(policy, world_factory(num_worlds), attacked)
    idle = [name for name, _ in policy.named_parameters() if name not in trained]
    _require(not idle or not policy.topology.degree, f"no gradient reaches {', '.join(idle)}")


def _check_graphs(policy: CommPolicy, world: World) -> None:
    topology, b, n = policy.topology, world.num_worlds, world.num_agents
    noise = topology.noise(b, torch.Generator(world.device).manual_seed(0))
    again = topology.noise(b, torch.Generator(world.device).manual_seed(0))
    _require(torch.equal(noise, again), "the graph's noise is not drawn from the generator it is handed")
    receiver = torch.arange(n, device=world.device).view(1, -1, 1)
    for given in (None, noise) if topology.learned else (None,):
        source = topology.neighbors(given, b)
        shape = (b, n, topology.degree)
        _require(source.shape == shape, f"neighbors has shape {tuple(source.shape)}, not {shape}")
        _require(source.dtype == torch.int64, f"neighbors is {source.dtype}, not torch.int64")
        _require(((source >= 0) & (source < n)).all(), "neighbors names agents that do not exist")
        _require((source != receiver).all(), "an agent is its own neighbor")
        ordered = source.sort(-1).values
        _require((ordered.diff(dim=-1) > 0).all(), "a receiver has the same neighbor twice")
    if topology.learned:
        weight = topology.weight(source, noise)
        _require(weight is not None and weight.shape == source.shape, "a learned graph has no weight per edge")
        _require((weight == 1).all(), "straight-through weights are not exactly 1")
        _require(len(policy.graph_parameters()) > 0, "a learned graph has no parameters")


def _clear(source: Tensor, open_: Tensor | None = None) -> Callable[[int, Tensor], Inbox]:
    """Delivers everything to open gates, untouched."""
    mask = torch.ones_like(source, dtype=torch.bool) if open_ is None else open_.unsqueeze(-1).expand_as(source)
    return lambda _, spoken: Inbox(spoken, source, mask, source)


def _check_parts(policy: CommPolicy, observation: Tensor, world: World) -> None:
    b, n = observation.shape[:2]
    source = policy.topology.neighbors(None, b)
    _require(policy.rounds >= 0 and policy.width > 0, f"rounds is {policy.rounds}, width is {policy.width}")
    ambient = torch.get_rng_state()
    hidden = policy.encode(observation)
    first = hidden
    _require(hidden.shape[:2] == (b, n), f"encode returns {tuple(hidden.shape)}, not one vector per world and agent")
    gate = policy.listen(hidden)
    _require(gate is None or gate.shape == (b, n), "listen does not return one logit per world and agent")
    for round_ in range(policy.rounds):
        spoken = policy.speak(hidden, round_)
        shape = (b, n, policy.width)
        _require(spoken.shape == shape, f"speak returns {tuple(spoken.shape)}, not {shape}")
        _require(spoken.dtype == torch.float32, f"speak returns {spoken.dtype}, not torch.float32")
        said = spoken.detach().clone()
        heard = policy.hear(hidden, _clear(source)(round_, spoken), round_)
        _require(heard.shape == hidden.shape, f"hear turns {tuple(hidden.shape)} into {tuple(heard.shape)}")
        _require(torch.equal(said, spoken), "hear changes what others said")
        hidden = heard
    logits, value = policy.run(observation, _clear(source))
    shape = (b, n, world.num_actions)
    _require(logits.shape == shape, f"act returns {tuple(logits.shape)}, not {shape}")
    _require(value.shape == (b, n), f"value returns {tuple(value.shape)}, not {(b, n)}")
    _require(logits.isfinite().all() and value.isfinite().all(), "logits or values are not finite")
    repeated, _ = policy.run(observation, _clear(source), first)
    _require(torch.equal(logits, repeated), "the same observations and messages give other logits")
    _require(torch.equal(ambient, torch.get_rng_state()), "randomness is drawn from torch's global generator")
    some = torch.arange(0, b, 2, device=observation.device)
    part, _ = policy.run(observation[some], _clear(source[some]))
    _require(torch.allclose(part, logits[some], atol=1e-4), "what one world does depends on the others of its batch")


def _check_secrecy(policy: CommPolicy, observation: Tensor) -> None:
    """Agents know of each other by messages only: with others' observations swapped and gates shut, nothing changes.

    The critic may see everybody's observations, but knows nothing of messages.
    """
    b, n = observation.shape[:2]
    source = policy.topology.neighbors(None, b)
    shut = torch.zeros(b, n, dtype=torch.bool, device=observation.device)
    own = policy.listen(policy.encode(observation))
    logits, value = policy.run(observation, _clear(source, shut))
    _, heard = policy.run(observation, _clear(source))
    _require(torch.allclose(value, heard, atol=1e-4), "values depend on what was heard")
    for agent in range(n):
        other = observation.roll(1, 0)
        other[:, agent] = observation[:, agent]
        seen, _ = policy.run(other, _clear(source, shut))
        same = torch.allclose(seen[:, agent], logits[:, agent], atol=1e-4)
        _require(same, "an agent knows what nobody told it")
        gate = policy.listen(policy.encode(other))
        if gate is not None and own is not None:
            _require(torch.allclose(gate[:, agent], own[:, agent], atol=1e-4), "a gate knows what its agent cannot see")

    def refused(_: int, spoken: Tensor) -> Inbox:
        mask = torch.zeros_like(source, dtype=torch.bool)
        offset = torch.full((*source.shape, policy.width), 1e6, device=source.device)
        return Inbox(spoken, source, mask, source, torch.zeros_like(source, dtype=spoken.dtype), offset)

    seen, _ = policy.run(observation, refused)
    _require(torch.allclose(seen, logits, atol=1e-4), "messages that were not accepted are heard")


def _check_control(policy: CommPolicy, world: World) -> None:
    config = type(policy).without_messages(policy.config)
    silent = type(policy).for_world(config, world)
    _require(silent.topology.degree == 0, "without_messages leaves links")
    _require(not silent.graph_parameters(), "without_messages leaves a graph to learn")


def _check_replay(policy: CommPolicy, world: World, attacked: bool) -> set[str]:
    """Evaluating a rollout again gives the probabilities it was sampled with; the parameters that this trains."""
    topology = policy.topology
    sizes = (world.num_worlds, world.num_agents, topology.degree, policy.width, policy.rounds)
    setting = Setting(*sizes, device=world.device)
    network = Network(setting, [_Disturb(AttackConfig(), setting)] if attacked else [])
    ambient = torch.get_rng_state()
    fragment = Sampler(world, policy, network, PPOSettings(held_out=0.0), seed=0).collect(16)
    _require(torch.equal(ambient, torch.get_rng_state()), "randomness is drawn from torch's global generator")
    now = evaluate(policy, fragment.columns, graph_gradient=topology.learned)
    differences = [getattr(now, name) - fragment.columns[name] for name in ("log_probability", "gate_log_probability")]
    error = torch.stack(differences).abs().max().detach()
    _require(error < 1e-4, f"evaluating a recorded rollout changes its log-probabilities by up to {float(error):.2g}")
    loss = (now.log_probability + now.gate_log_probability + now.entropy + now.value).sum()
    policy.zero_grad()
    torch.autograd.backward(loss)
    _require(all(p.grad is None or p.grad.isfinite().all() for p in policy.parameters()), "a gradient is not finite")
    trained = {name for name, p in policy.named_parameters() if p.grad is not None}
    policy.zero_grad()
    return trained


# ---- attacks and defenses


class _Disturb(Attack):
    """Does a little of everything, to see how others take it."""

    name = "disturb"

    def threat_model(self) -> ThreatModel:
        return ThreatModel(Position(kind="edge"), frozenset({"read", "drop", "modify", "inject"}))

    def injections(self) -> int:
        return 1

    def apply(self, view: View) -> Edits:
        s = self.setting
        some = view.rand(*view.reach.shape)
        places = (s.num_worlds, s.num_agents, 1)
        receiver = torch.arange(s.num_agents, device=s.device).view(1, -1, 1).expand(places)
        at = view.step.view(-1, 1, 1).expand(places)
        none = torch.zeros(places, dtype=torch.int64, device=s.device)
        inject = Envelopes(
            where=view.rand(*places) < 0.3,
            payload=view.randn(*places, s.width),
            sender=(receiver + 1) % s.num_agents,
            audience=receiver,
            sequence=at * s.rounds + view.round,
            sent_at=at,
            kind=none + view.round,
            key=none - 1,
            seal=none,
            sign=True,
        )
        change = view.randn(*view.reach.shape, s.width)
        return Edits(view.reach & (some < 0.2), view.reach & (some > 0.6), change, inject)


@dataclass(frozen=True)
class _Exchange:
    spoken: Tensor
    links: Links
    step: Tensor
    kind: int
    ended: Tensor


def _conversation(s: Setting, num_steps: int, seed: int) -> list[_Exchange]:
    """Random tokens on random links; gates shut and episodes end at random, in each world for itself."""
    g = torch.Generator().manual_seed(seed)
    at, out = torch.zeros(s.num_worlds, dtype=torch.int64), []
    for _ in range(num_steps):
        keys = torch.rand(s.num_worlds, s.num_agents, s.num_agents, generator=g)
        keys.diagonal(dim1=1, dim2=2).fill_(-1)
        open_ = torch.rand(s.num_worlds, s.num_agents, generator=g) < 0.8
        links = Links(keys.topk(s.degree, -1).indices.sort(-1).values, open_)
        done = (torch.rand(s.num_worlds, generator=g) < 0.15).nonzero().squeeze(-1)
        for kind in range(s.rounds):
            spoken = torch.randn(s.num_worlds, s.num_agents, s.width, generator=g)
            spoken = torch.nn.functional.layer_norm(spoken, (s.width,))
            out.append(_Exchange(spoken, links, at.clone(), kind, done if kind == s.rounds - 1 else done[:0]))
        at = at + 1
        at[done] = 0
    return out


def _carry(network: Network, exchanges: Sequence[_Exchange], other_words_in: int | None = None) -> list[Tensor]:
    """What was heard, [B, N, M, D + 1] with the mask in the last place; in one world other things may be said."""
    out = []
    slots = network.setting.degree + network.spare
    for e in exchanges:
        spoken = e.spoken.clone()
        if other_words_in is not None:
            spoken[other_words_in] = spoken[other_words_in].flip(0)
        inbox = network.exchange(spoken, e.links, e.step, e.kind)
        payload = inbox.payload().masked_fill(~inbox.mask.unsqueeze(-1), 0.0)
        heard = torch.cat([payload, inbox.mask.unsqueeze(-1).float()], -1)
        out.append(torch.nn.functional.pad(heard, (0, 0, 0, slots - heard.shape[2])))
        if len(e.ended):
            network.reset(e.ended)
    return out


def _same(first: Sequence[Tensor], second: Sequence[Tensor], worlds: Sequence[int] | None = None) -> bool:
    chosen = slice(None) if worlds is None else list(worlds)
    return all(torch.equal(a[chosen], b[chosen]) for a, b in zip(first, second, strict=True))


def _check_memory(make: Callable[[], dict[str, Tensor]], worlds: int) -> None:
    memory = make()
    fresh = {name: value.clone() for name, value in memory.items()}
    for name, value in memory.items():
        _require(len(value) == worlds, f"memory {name!r} has leading dimension {len(value)}, not {worlds} worlds")
        value.fill_(1)
    again = make()
    same = again.keys() == fresh.keys() and all(torch.equal(again[name], value) for name, value in fresh.items())
    _require(same, "memory() does not start the same each time: it must make new tensors")


def _check_state(build: Callable[[], Network], exchanges: list[_Exchange]) -> None:
    """Same seed, same messages; saved and restored; worlds reset one by one; and none that hears of another."""
    ambient = torch.get_rng_state()
    whole = _carry(build(), exchanges)
    _require(torch.equal(ambient, torch.get_rng_state()), "randomness is drawn from torch's global generator")
    _require(_same(whole, _carry(build(), exchanges)), "the same seed and messages give another outcome")
    half = len(exchanges) // 2 + 1  # between two rounds of a step
    first, second = build(), build()
    _carry(first, exchanges[:half])
    second.set_state(first.get_state())
    goes_on = _same(whole[half:], _carry(second, exchanges[half:]))
    _require(goes_on, "a restored run differs: something is kept outside memory")
    others = list(range(1, first.setting.num_worlds))
    apart = _same(whole, _carry(build(), exchanges, other_words_in=0), others)
    _require(apart, "what is said in one world changes another")
    used, new = build(), build()
    _carry(used, exchanges)
    used.reset(torch.arange(used.setting.num_worlds))
    for old, fresh in zip(used.guards, new.guards, strict=True):
        old.generator.set_state(fresh.generator.get_state())
    _require(_same(_carry(used, exchanges), _carry(new, exchanges)), "something of an episode outlives it")


def check_attack(attack: type[Attack], arguments: dict[str, Any] | None = None, num_agents: int = 4) -> None:
    """Check the contract of :class:`agentcomm.threats.Attack` on random traffic.

    Args:
        attack: The attack's class.
        arguments: Its arguments; those by default when not given.
        num_agents: Size of the team that it attacks.

    Raises:
        AssertionError: If the attack breaks the contract.
    """
    _check_plugin(attack, AttackConfig)
    for risk in attack.risks:
        known = re.fullmatch(r"(ua|aa|ae)\.l[123]\.[a-z_]+", risk) is not None
        _require(known, f"{risk!r} is no risk id, like aa.l2.agent_spoofing")
    config = attack.Config.model_validate(arguments or {})
    assert isinstance(config, AttackConfig)
    _check_attack_on(attack, config, _setting(num_agents, 0))
    setting = _setting(num_agents, 2)
    _check_attack_on(attack, config, setting)
    exchanges = _conversation(setting, 10, seed=0)

    def build(budget: Budget | None = None) -> Network:
        given = config if budget is None else config.model_copy(update={"budget": budget})
        return Network(setting, [attack(given, setting)], seed=1)

    _check_state(build, exchanges)
    clean = Network(setting)
    plain = [clean.exchange(e.spoken, e.links, e.step, e.kind) for e in exchanges]
    for budget in (Budget(per_step=0), Budget(per_episode=0), Budget(start_step=1000)):
        idle = build(budget)
        for e, expected in zip(exchanges, plain, strict=True):
            got = idle.exchange(e.spoken, e.links, e.step, e.kind)
            same = all(_equal(getattr(got, f.name), getattr(expected, f.name)) for f in fields(Inbox))
            _require(same, f"it acts without a budget: threat_model leaves out {budget!r}")
            idle.reset(e.ended)


def _setting(num_agents: int, degree: int) -> Setting:
    return Setting(3, num_agents, min(degree, num_agents - 1), 8, 2, torch.device("cpu"))


def _check_attack_on(attack: type[Attack], config: AttackConfig, setting: Setting) -> None:
    made = attack(config, setting)
    _require(isinstance(made.threat_model(), ThreatModel), "threat_model does not return a ThreatModel")
    _require(made.threat_model() == made.threat_model(), "the threat model changes from call to call")
    _require(made.injections() == made.injections() >= 0, "injections changes from call to call")
    _check_memory(made.memory, setting.num_worlds)
    network = Network(setting, [made])
    _carry(network, _conversation(setting, 16, seed=1))
    # That the guard cuts an attack off at the end of its budget is no fault of the attack.
    broken = {rule: count for rule, count in network.guards[0].violations.items() if rule != "beyond the budget"}
    _require(not broken, f"it asks for more than its threat model allows: {broken}")


def _equal(first: Tensor | None, second: Tensor | None) -> bool:
    if first is None or second is None:
        return first is second
    return torch.equal(first, second)


class _Watched(Defense):
    """Looks over a defense's shoulder."""

    def __init__(self, inner: Defense) -> None:
        super().__init__(inner.config, inner.setting)
        self.inner = inner
        self.name, self.order, self.needs_seal = inner.name, inner.order, inner.needs_seal  # type: ignore[misc]

    def memory(self) -> dict[str, Tensor]:
        return self.inner.memory()

    def screen(self, delivered: Delivered, memory: dict[str, Tensor]) -> Verdicts:
        names = ("present", "sender", "audience", "sequence", "sent_at", "kind", "key", "payload", "step")
        before = {name: getattr(delivered, name).clone() for name in names}
        places = dict(memory)
        verdicts = self.inner.screen(delivered, memory)
        changed = [name for name, value in before.items() if not torch.equal(value, getattr(delivered, name))]
        _require(not changed, f"screen changes {', '.join(changed)} of what was delivered")
        kept = places.keys() == memory.keys() and all(memory[name] is value for name, value in places.items())
        _require(kept, "screen swaps tensors of its memory; they must be changed in place")
        shape = delivered.present.shape
        if verdicts.refuse is not None:
            fits = verdicts.refuse.shape == shape and verdicts.refuse.dtype == torch.bool
            _require(fits, f"refuse must be torch.bool {tuple(shape)}")
        if verdicts.scale is not None:
            fits = verdicts.scale.shape == shape and verdicts.scale.dtype == torch.float32
            _require(fits, f"scale must be torch.float32 {tuple(shape)}")
            _require(verdicts.scale[delivered.present].isfinite().all(), "scale is not finite")
        return verdicts


def check_defense(
    defense: type[Defense], arguments: dict[str, Any] | None = None, num_agents: int = 4, lossless: bool = True
) -> None:
    """Check the contract of :class:`agentcomm.defense.Defense` on random traffic, clean and attacked.

    Args:
        defense: The defense's class.
        arguments: Its arguments; those by default when not given.
        num_agents: Size of the team that it defends.
        lossless: Whether it must let clean traffic pass bit for bit. Defenses that pay for robustness with clean
            performance, such as quotas, do not.

    Raises:
        AssertionError: If the defense breaks the contract.
    """
    _check_plugin(defense, DefenseConfig)
    _require(defense.order in ORDERS, f"order is {defense.order!r}, not one of {', '.join(ORDERS)}")
    config = defense.Config.model_validate(arguments or {})
    assert isinstance(config, DefenseConfig)
    for degree in (0, 2):
        setting = _setting(num_agents, degree)
        exchanges = _conversation(setting, 10, seed=degree)
        _check_memory(defense(config, setting).memory, setting.num_worlds)

        def build(attacked: bool = True, setting: Setting = setting) -> Network:
            attacks = [_Disturb(AttackConfig(), setting)] if attacked else []
            return Network(setting, attacks, [_Watched(defense(config, setting))], seed=1)

        _carry(build(), exchanges)
        if lossless:
            passed = _same(_carry(build(attacked=False), exchanges), _carry(Network(setting), exchanges))
            _require(passed, "clean messages are refused or changed (pass lossless=False if that is its price)")
    _check_state(build, exchanges)
