"""Environments whose actions carry messages: the testbed's message layer for learners of any kind."""

from __future__ import annotations

import pickle
import warnings
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Dict, Discrete, MultiDiscrete
from gymnasium.spaces.utils import flatten_space
from pettingzoo import ParallelEnv
from pettingzoo.test import parallel_api_test, parallel_seed_test

from agentcomm.base import registry
from agentcomm.base.errors import AgentcommError, ConfigError, RequirementError
from agentcomm.base.modules import permit
from agentcomm.base.seeds import derive
from agentcomm.contracts.attack import hooks
from agentcomm.contracts.inbox import Inbox
from agentcomm.pettingzoo.message_actions import MessageActionWrapper
from agentcomm.pettingzoo.message_actions_inbox import Received, Symbols, Vectors, receive
from agentcomm.runs.assembly import make_comms, make_policy, make_world
from agentcomm.runs.choices import Choice, TransportConfig
from agentcomm.runs.given import attacks_of, group_of
from agentcomm.step.loop import TeamLoop

LINE = {"members": 3, "symbols": 4}


class Steering(ParallelEnv):  # type: ignore[misc]
    """Two agents of different spaces with continuous actions; each earns the sum of what the other does."""

    possible_agents = ("left", "right")
    metadata: ClassVar = {"name": "steering_v0", "is_parallelizable": True, "render_modes": []}

    def __init__(self) -> None:
        self.agents: list[str] = []
        self.spaces = {
            "left": (Box(0, 2, (1, 2), np.float32), Box(-1, 1, (2,), np.float32)),
            "right": (Dict({"near": Discrete(2), "far": Box(0, 1, (1,), np.float32)}), Box(-2, 2, (1,), np.float32)),
        }

    def observation_space(self, agent: str) -> Any:
        return self.spaces[agent][0]

    def action_space(self, agent: str) -> Any:
        return self.spaces[agent][1]

    def _seen(self) -> dict[str, Any]:
        first, second = self.random.random(2, np.float32)
        right = {"near": int(first > 0.5), "far": np.full(1, second, np.float32)}
        return {"left": np.full((1, 2), first, np.float32), "right": right}

    def reset(self, seed: int | None = None, options: Any = None) -> Any:
        self.random = np.random.default_rng(seed)
        self.t, self.agents = 0, list(self.possible_agents)
        return self._seen(), {agent: {} for agent in self.agents}

    def step(self, actions: dict[str, Any]) -> Any:
        assert all(self.action_space(agent).contains(action) for agent, action in actions.items())
        self.t += 1
        rewards = {"left": float(actions["right"].sum()), "right": float(actions["left"].sum())}
        over, who = self.t == 5, self.agents
        self.agents = [] if over else who
        return self._seen(), rewards, dict.fromkeys(who, False), dict.fromkeys(who, over), {agent: {} for agent in who}


FORMS: dict[str, Any] = {
    "flat symbols": lambda: MessageActionWrapper("relay_line", **LINE),
    "nested, attacked and defended": lambda: MessageActionWrapper(
        "predator_prey", Symbols(silence=True), flat=False, attacks=["impersonate", "noise"], defenses="authenticate"
    ),
    "flat vectors of different agents": lambda: MessageActionWrapper(Steering(), Vectors(width=3), team_reward=True),
    "members that leave, over a lossy channel": lambda: MessageActionWrapper(
        "predator_prey", Vectors(width=2), flat=False, transport={"channels": ["loss", "delay"]}, failure=0.2
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_passes_pettingzoo_checks_without_warnings(form: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        parallel_api_test(FORMS[form](), num_cycles=100)
        parallel_seed_test(FORMS[form], num_cycles=30)


def test_flat_spaces_are_what_learners_of_fixed_size_take() -> None:
    flat, nested = (MessageActionWrapper("relay_line", flat=kind, **LINE) for kind in (True, False))
    assert flat.action_space("agent_0") == MultiDiscrete([4, 4])
    steering = MessageActionWrapper(Steering(), Vectors(width=3, limit=2))
    assert steering.action_space("left") == Box(np.float32([-1] * 2 + [-2] * 3), np.float32([1] * 2 + [2] * 3))
    first, second = flat.reset(seed=3)[0]["agent_1"], nested.reset(seed=3)[0]["agent_1"]
    assert flat.observation_space("agent_1").shape == flatten_space(nested.observation_space("agent_1")).shape
    received = Received(*second["inbox"].values(), 4) if list(second["inbox"]) == list(Received._fields[:3]) else None
    assert received is not None
    assert np.array_equal(first, received.flat(second["observation"]))


def pick(agent: str, observation: np.ndarray, inbox: Received) -> tuple[int, int]:
    """Some agent whose actions and messages depend on everything that it is shown."""
    weight = np.arange(1, inbox.payload.size + 1).reshape(inbox.payload.shape)
    heard = int((inbox.payload * weight).sum() + (inbox.mask * inbox.sender).sum())
    total = int(agent[-1]) + 3 * int(observation.argmax()) + heard
    return total % 4, (total // 2) % 5


MESSAGES = {"symbols": 4, "silence": True}
STACKS: list[tuple[list[str], str, dict[str, Any]]] = [
    ([], "", {}),
    (["drop:probability=0.5"], "", {}),
    (["noise", "impersonate"], "", {"channels": ["delay"]}),
    (["impersonate"], "authenticate+clip", {"channels": ["loss"], "codec": "int8"}),
    (["replay"], "authenticate+quarantine", {}),
]


@pytest.mark.parametrize(("attacks", "defenses", "transport"), STACKS)
def test_the_wrapper_and_the_loop_run_the_same_episodes(
    attacks: list[str], defenses: str, transport: dict[str, Any]
) -> None:
    """Step for step: what the trained policy is evaluated with is what it was trained with."""
    choice = Choice.model_validate({"name": "foreign", "make": "test_message_actions:pick", "messages": MESSAGES})
    permit(["test_message_actions"])
    world = make_world(Choice.model_validate({"name": "relay_line"} | LINE), 1)
    policy = make_policy(choice, world)
    policy.taken_over.fill_(1)  # type: ignore[operator]
    group = group_of(defenses) if defenses else ()
    made = TransportConfig.model_validate(transport)
    comms = make_comms(world, policy, attacks_of(attacks), group, derive(7, "messages"), made)
    loop = TeamLoop(world, policy, comms)
    loop.reset(7)
    env = MessageActionWrapper(
        "relay_line", Symbols(**MESSAGES), attacks=attacks, defenses=defenses, transport=transport, flat=False, **LINE
    )
    seen, _ = env.reset(seed=7)
    for _ in range(world.max_steps):
        received = {agent: Received(*one["inbox"].values(), 4) for agent, one in seen.items()}
        actions = {}
        for agent, one in seen.items():
            action, message = pick(agent, one["observation"], received[agent])
            actions[agent] = {"action": action, "message": message}
        record = loop.step()
        assert record.decision.action[0].tolist() == [given["action"] for given in actions.values()]
        loop.finish(record)
        seen, rewards, *_ = env.step(actions)
        assert record.reward[0].tolist() == list(rewards.values())
    assert env.agents == []
    ledger = comms.network.ledger
    assert {name: int(ledger[name]) for name in env.counts} == env.counts
    assert env.counts["sent"] > 9


BLACK_BOX = [
    form
    for form, (name, _) in registry.forms("attack").items()
    if hooks(registry.find("attack", name)) == {"on_messages"}
]


def usable(form: str, budget: dict[str, Any]) -> MessageActionWrapper | None:
    """An environment under an attack; None if the attack does not fit."""
    name, arguments = registry.forms("attack")[form]
    attack = {"name": name} | arguments | {"budget": budget}
    try:
        return MessageActionWrapper("relay_line", attacks=attack, transport={"channels": ["fragments"]}, **LINE)
    except AgentcommError:
        return None


def rolled(env: MessageActionWrapper) -> list[np.ndarray]:
    """Observations of two episodes with given actions."""
    seen = [*env.reset(seed=1)[0].values()]
    random = np.random.default_rng(0)
    for episode in range(2):
        while env.agents:
            observations = env.step({agent: random.integers(4, size=2) for agent in env.agents})[0]
            seen += observations.values()
        if not episode:
            seen += env.reset()[0].values()
    return seen


def test_an_attack_without_budget_changes_no_bit() -> None:
    plain = rolled(MessageActionWrapper("relay_line", transport={"channels": ["fragments"]}, **LINE))
    tried = 0
    for form in BLACK_BOX:
        env = usable(form, {"per_episode": 0})
        if env is None:
            continue
        tried += 1
        assert all(map(np.array_equal, rolled(env), plain)), form
    assert tried > 15


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"attacks": "gradient"}, "it needs knowledge of the policy"),
        ({"attacks": "covert"}, "acts through on_action, which a wrapped environment does not have"),
        ({"attacks": "sybil"}, "on_directory"),
        ({"defenses": "warden"}, "acts through on_action"),
        ({"defenses": "outliers"}, "learns from clean episodes"),
        ({"env": 3}, "a PettingZoo"),
        ({"env": Steering()}, "members, symbols: arguments go with the name"),
        ({"topology": "learned"}, "choose a fixed one"),
        ({"messages": Vectors()}, r"choose messages=Symbols\(...\), or flat=False"),
    ],
)
def test_what_cannot_work_is_refused_at_once(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises((RequirementError, ConfigError), match=message):
        MessageActionWrapper(**({"env": "relay_line"} | arguments | (LINE if arguments.get("env") != 3 else {})))


def test_copies_are_environments_of_the_same_kind() -> None:
    """Vectorizing tools copy environments."""
    env = MessageActionWrapper("relay_line", attacks="impersonate", **LINE)
    env.reset(seed=4)
    assert all(map(np.array_equal, rolled(pickle.loads(pickle.dumps(env))), rolled(env)))


def test_wrong_actions_are_named() -> None:
    env = MessageActionWrapper("relay_line", flat=False, **LINE)
    env.reset(seed=0)
    for action, message in (
        ({"action": 0, "message": 9}, "the message of agent 'agent_0' is 9"),
        (3, "must be a dict with 'action' and 'message'"),
    ):
        with pytest.raises(ValueError, match=message):
            env.step(dict.fromkeys(env.agents, action))
    flat = MessageActionWrapper("relay_line", **LINE)
    flat.reset(seed=0)
    with pytest.raises(ValueError, match="the action of agent 'agent_0'"):
        flat.step(dict.fromkeys(flat.agents, np.zeros(3, int)))


def test_messages_are_sorted_by_claimed_sender_and_read_safely() -> None:
    links = torch.tensor([[[1, 2], [0, 2], [0, 1]]])
    source = torch.cat([links, torch.tensor([[[2, 0], [0, 1], [0, 0]]])], 2)  # agent 0: claims 2, and to be an outsider
    mask = torch.tensor([[[1, 1, 1, 1], [1, 0, 0, 0], [0, 0, 0, 0]]]).bool()
    payload = torch.arange(3 * 4 * 2).view(1, 3, 4, 2).float() / 10
    payload[0, 0, 3] = torch.tensor([torch.nan, torch.inf])
    spoken = torch.zeros(1, 3, 2)
    got = receive(Inbox(spoken, source, mask, links, delta=payload), Vectors(width=2, limit=1.5))
    assert got.sender.tolist() == [[[1, 2, 3], [0, 2, 3], [0, 1, 3]]]
    assert got.mask.tolist() == [[[True, True, True], [True, False, False], [False] * 3]]
    assert torch.equal(got.payload[0, 0, 1], payload[0, 0, 2]), "of two messages that claim agent 2, the later one"
    assert got.payload[0, 0, 2].tolist() == [0.0, 1.5], "not a number, and infinite"
    assert (got.payload[0, 2] == 0).all()
    alone = receive(Inbox(spoken, links[..., :0], mask[..., :0], links[..., :0]), Vectors(width=2))
    assert alone.payload.shape == (1, 3, 1, 2)
    assert not alone.mask.any()
    read = receive(Inbox(spoken, source, mask, links, delta=payload), Symbols(symbols=2))
    assert read.payload[0, 0].tolist() == [[0, 1], [0, 1], [0, 1]]
