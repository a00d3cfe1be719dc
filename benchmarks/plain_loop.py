"""PPO in one plain torch loop, without RLlib: the oracle for its learning curve and its speed."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass
from functools import partial

import torch

from agentcomm.base.seeds import derive
from agentcomm.evaluation.metrics import measure
from agentcomm.evaluation.play import play
from agentcomm.runs.assembly import charge_for_messages, environment_of, make_comms, make_policy, make_world
from agentcomm.runs.config import RunConfig, Variant
from agentcomm.training.ppo import Update
from agentcomm.training.rollout import Sampler


@dataclass
class Timing:
    """Seconds one iteration took."""

    sample: float
    update: float

    @property
    def total(self) -> float:
        return self.sample + self.update


class PlainLoop:
    """The same worlds, policy, loss and optimizers as in RLlib, called one after the other, on any device."""

    def __init__(
        self, run: RunConfig, variant: Variant = "team", seed: int = 0, device: str | torch.device = "cpu"
    ) -> None:
        run = run.model_copy(update={"environment": environment_of(run.environment, seed)})
        training = run.training
        self.run = run
        setup = partial(run.setup.at, training.schedule)
        first = setup(0.0)
        world = make_world(first.environment, training.worlds, device)
        self.policy = make_policy(run.policy, world, variant, seed).to(device)
        started = derive(seed, "runner", 0)
        comms = make_comms(world, self.policy, first.attacks, first.defenses, started, first.transport)
        charge_for_messages(self.policy, comms.network.codec)
        self.sampler = Sampler(world, self.policy, comms, training.ppo, started, setup)
        graph = self.policy.graph_parameters()
        own = {id(p) for p in graph}
        model = [p for p in self.policy.parameters() if id(p) not in own]
        generator = torch.Generator(device).manual_seed(derive(seed, "shuffle"))
        self.update = Update(
            self.policy,
            training.ppo,
            torch.optim.Adam(model, lr=training.ppo.learning_rate, fused=True),
            torch.optim.Adam(graph, lr=self.policy.topology.config.learning_rate) if graph else None,
            generator,
        )
        self.env_steps = 0

    def iterate(self) -> Timing:
        """One iteration: sample, update, anneal."""
        total = self.run.training.env_steps
        self.update.anneal_rates(self.env_steps / total)
        began = time.perf_counter()
        self.sampler.follow_schedule(self.env_steps / total)
        fragment = self.sampler.collect(self.run.training.fragment)
        sampled = time.perf_counter()
        self.update.run(fragment.columns)
        self.env_steps += fragment.env_steps
        self.update.anneal_policy(self.env_steps / total)
        return Timing(sampled - began, time.perf_counter() - sampled)

    def evaluate(self, episodes: int = 2048) -> dict[str, float]:
        """Greedy episodes on a clean network."""
        with closing(make_world(self.run.environment, episodes)) as world:
            comms = make_comms(world, self.policy, transport=self.run.transport)
            return measure(play(world, self.policy, comms, self.run.evaluation.seed))
