"""Every registered environment keeps the World contract, and the check notices those that do not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import product
from typing import Any

import pytest
import torch
from thinning import one_of_each_plugin, thinned
from torch import Tensor

from agentcomm.base import registry
from agentcomm.base.errors import ConfigError
from agentcomm.conformance import check_world
from agentcomm.contracts.step import Step
from agentcomm.contracts.world import Observation, Transition, World, WorldConfig
from agentcomm.pettingzoo.adapter import ParallelWorld

FORMS = registry.forms("environment")
OBSERVATIONS = ("dense", "indices")
SEEN = [(form, OBSERVATIONS[(number + other) % 2]) for other in (0, 1) for number, form in enumerate(FORMS)]
MISSING: list[dict[str, Any]] = [{"failure": 0.2}, {"fewest": 1}, {"failure": 0.1, "fewest": 2}]
WITH_MISSING = list(product(registry.names("environment"), OBSERVATIONS, MISSING))


# Each form with the one or the other observation. Plug-ins that can lose members have both below, the others here.
WHOLE = [
    form for form in one_of_each_plugin(FORMS) if not registry.find("environment", FORMS[form][0]).can_lose_members
]


@pytest.mark.parametrize(("form", "observation"), thinned(SEEN, [*SEEN[: len(FORMS)], *product(WHOLE, OBSERVATIONS)]))
def test_registered_environments_conform(form: str, observation: str) -> None:
    name, arguments = FORMS[form]
    config = registry.build_config("environment", name, arguments | {"max_steps": 7, "observation": observation})
    environment = registry.find("environment", name)
    try:
        environment(config, 1)
    except ConfigError as error:
        pytest.skip(str(error))
    check_world(lambda num_worlds: environment(config, num_worlds), resumes=not issubclass(environment, ParallelWorld))


@pytest.mark.parametrize(("name", "observation", "arguments"), thinned(WITH_MISSING, WITH_MISSING[::2]))
def test_registered_environments_conform_when_members_are_missing(
    name: str, observation: str, arguments: dict[str, Any]
) -> None:
    config = registry.build_config("environment", name, {"max_steps": 7, "observation": observation} | arguments)
    environment = registry.find("environment", name)
    if environment.can_lose_members:
        check_world(lambda num_worlds: environment(config, num_worlds))
    else:
        with pytest.raises(ConfigError, match="members cannot fail"):
            environment(config, 1)


class Counter(World):
    """Agents count up to a random number; the smallest world that conforms."""

    agents = ("one", "two")
    action_names = ("wait", "count")
    layout = Observation("dense", 2)

    def __init__(self, num_worlds: int, **arguments: Any) -> None:
        super().__init__(WorldConfig(max_steps=6, observation="dense", **arguments), num_worlds)
        self.state = {"count": torch.zeros(num_worlds, 2), "goal": torch.zeros(num_worlds, 1)}

    def begin(self, worlds: Tensor, generator: torch.Generator, scene: Mapping[str, Any] | None = None) -> None:
        self.state["count"][worlds] = 0.0
        self.state["goal"][worlds] = torch.randint(1, 5, (len(worlds), 1), generator=generator).float()

    def advance(self, actions: Tensor, generator: torch.Generator) -> Transition:
        self.state["count"] = self.state["count"] + actions
        reached = self.state["count"] >= self.state["goal"]
        return Transition(reached.float(), reached.all(1), torch.ones_like(reached))

    def observe(self, worlds: Tensor | None = None) -> Tensor:
        seen = torch.stack([self.state["count"], self.state["goal"].expand(-1, 2)], dim=2)
        return seen if worlds is None else seen[worlds]

    def success(self) -> Tensor:
        return (self.state["count"] >= self.state["goal"]).all(1)


class Team(Counter):
    """Counters that can fail; each also sees how many have reached the goal."""

    can_lose_members = True
    layout = Observation("dense", 3)

    def __init__(self, num_worlds: int, failure: float = 0.2) -> None:
        super().__init__(num_worlds, failure=failure, fewest=1 if failure else 2)
        self.state["alive"] = torch.ones(num_worlds, 2, dtype=torch.bool)

    def advance(self, actions: Tensor, generator: torch.Generator) -> Transition:
        reward = super().advance(actions, generator).reward * self.alive
        return Transition(reward, self.success(), self.alive.clone())

    def observe(self, worlds: Tensor | None = None) -> Tensor:
        reached = (self.state["count"] >= self.state["goal"]) & self.alive
        seen = torch.cat([super().observe(), reached.sum(1, keepdim=True).expand(-1, 2).unsqueeze(2)], dim=2)
        seen = seen * self.alive.unsqueeze(2)
        return seen if worlds is None else seen[worlds]

    def success(self) -> Tensor:
        return ((self.state["count"] >= self.state["goal"]) | ~self.alive).all(1)


@pytest.mark.parametrize("smallest", [Counter, Team])
def test_the_smallest_worlds_conform(smallest: type[World]) -> None:
    check_world(smallest)


class DrawsElsewhere(Counter):
    def begin(self, worlds: Tensor, generator: torch.Generator, scene: Mapping[str, Any] | None = None) -> None:
        super().begin(worlds, generator, scene)
        self.state["goal"][worlds] = torch.randint(1, 5, (len(worlds), 1)).float()


class HidesState(Counter):
    hidden = 0

    def advance(self, actions: Tensor, generator: torch.Generator) -> Transition:
        self.hidden += 1
        transition = super().advance(actions, generator)
        return replace(transition, reward=transition.reward + self.hidden)

    def begin(self, worlds: Tensor, generator: torch.Generator, scene: Mapping[str, Any] | None = None) -> None:
        super().begin(worlds, generator, scene)
        if len(worlds) == self.num_worlds:
            self.hidden = 0


class RemembersOldEpisodes(Counter):
    def begin(self, worlds: Tensor, generator: torch.Generator, scene: Mapping[str, Any] | None = None) -> None:
        kept = self.state["count"][worlds] / 100
        super().begin(worlds, generator, scene)
        self.state["count"][worlds] = kept


class WrongShape(Counter):
    def observe(self, worlds: Tensor | None = None) -> Tensor:
        return super().observe(worlds)[..., :1]


class WrongType(Counter):
    def success(self) -> Tensor:
        return super().success().float()


class LeavesRange(Counter):
    layout = Observation("dense", 2, low=0.0, high=1.0)


class IndexOutOfVocabulary(Counter):
    layout = Observation("indices", 2, vocabulary=3)

    def observe(self, worlds: Tensor | None = None) -> Tensor:
        return super().observe(worlds).long()


class SameObservationBuffer(Counter):
    def __init__(self, num_worlds: int) -> None:
        super().__init__(num_worlds)
        self.buffer = torch.zeros(num_worlds, 2, 2)

    def observe(self, worlds: Tensor | None = None) -> Tensor:
        seen = super().observe(worlds)
        return self.buffer.copy_(seen) if worlds is None else seen


class AcceptsAnything(Counter):
    def step(self, actions: Tensor, auto_reset: bool = True) -> Step:
        shape = (self.num_worlds, self.num_agents)
        fits = actions.shape == shape and actions.dtype == torch.int64 and 0 <= actions.min() <= actions.max() < 2
        return super().step(actions if fits else torch.zeros(shape, dtype=torch.int64), auto_reset)


class ForgetsFinalObservation(Counter):
    def step(self, actions: Tensor, auto_reset: bool = True) -> Step:
        step = super().step(actions, auto_reset)
        return replace(step, final_observation=step.observation[step.finished])


class NeverEnds(Counter):
    def __init__(self, num_worlds: int) -> None:
        super().__init__(num_worlds)
        self.max_steps = 1_000

    def begin(self, worlds: Tensor, generator: torch.Generator, scene: Mapping[str, Any] | None = None) -> None:
        super().begin(worlds, generator, scene)
        self.state["goal"][worlds] += 1_000


class IgnoresWhichWorlds(Counter):
    def observe(self, worlds: Tensor | None = None) -> Tensor:
        seen = super().observe()
        return seen if worlds is None else seen[: len(worlds)]


class RestartsAll(Counter):
    def begin(self, worlds: Tensor, generator: torch.Generator, scene: Mapping[str, Any] | None = None) -> None:
        super().begin(torch.arange(self.num_worlds), generator, scene)


class SharesItsSuccess(Counter):
    def __init__(self, num_worlds: int) -> None:
        super().__init__(num_worlds)
        self.state["reached"] = torch.zeros(num_worlds, dtype=torch.bool)

    def begin(self, worlds: Tensor, generator: torch.Generator, scene: Mapping[str, Any] | None = None) -> None:
        super().begin(worlds, generator, scene)
        self.state["reached"][worlds] = False

    def success(self) -> Tensor:
        self.state["reached"] = super().success()
        return self.state["reached"]


class PaysTheGone(Team):
    def advance(self, actions: Tensor, generator: torch.Generator) -> Transition:
        transition = super().advance(actions, generator)
        return replace(transition, reward=torch.ones_like(transition.reward))


class CountsTheGoneIn(Team):
    def advance(self, actions: Tensor, generator: torch.Generator) -> Transition:
        transition = super().advance(actions, generator)
        return replace(transition, active=torch.ones_like(transition.active))


class WaitsForTheGone(Team):
    def success(self) -> Tensor:
        return (self.state["count"] >= self.state["goal"]).all(1)


class ShowsTheGone(Team):
    def observe(self, worlds: Tensor | None = None) -> Tensor:
        total = self.state["count"].sum(1, keepdim=True).expand(-1, 2)
        seen = torch.stack([self.state["count"], self.state["goal"].expand(-1, 2), total], dim=2)
        seen = seen * self.alive.unsqueeze(2)
        return seen if worlds is None else seen[worlds]


class LetsTheGoneSee(Team):
    def observe(self, worlds: Tensor | None = None) -> Tensor:
        return super().observe(worlds) + 1


class BringsBack(Team):
    def advance(self, actions: Tensor, generator: torch.Generator) -> Transition:
        transition = super().advance(actions, generator)
        self.state["alive"] = torch.ones_like(self.state["alive"])
        return transition


class LosesAll(Team):
    def _fail(self) -> None:
        self.state["alive"] = torch.zeros_like(self.state["alive"])


class LosesNobody(Team):
    def __init__(self, num_worlds: int) -> None:
        super().__init__(num_worlds, failure=0.0)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (DrawsElsewhere, "the episodes of a seed depend on what happened before"),
        (HidesState, "reward differs after snapshot"),
        (RemembersOldEpisodes, "the episodes of a seed depend on what happened before"),
        (WrongShape, "has shape"),
        (WrongType, "success is torch.float32"),
        (LeavesRange, "exceeds the layout's range"),
        (IndexOutOfVocabulary, "exceeds the layout's range"),
        (SameObservationBuffer, "changes observations that it returned earlier"),
        (AcceptsAnything, "not rejected"),
        (ForgetsFinalObservation, "final_observation is not the last"),
        (NeverEnds, "no episode ended"),
        (IgnoresWhichWorlds, "observe\\(worlds\\) differs"),
        (RestartsAll, "restarting ended worlds changes others"),
        (SharesItsSuccess, "restarting ended worlds changes the success"),
        (PaysTheGone, "get a reward"),
        (CountsTheGoneIn, "are active"),
        (WaitsForTheGone, "depends on actions of agents that have left"),
        (ShowsTheGone, "observation depends on actions of agents that have left"),
        (LetsTheGoneSee, "agents that have left must observe"),
        (BringsBack, "an agent returns"),
        (LosesAll, "a world has no agents left"),
        (LosesNobody, "no agent left in"),
    ],
)
def test_broken_worlds_are_noticed(broken: type[Counter], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_world(broken)
