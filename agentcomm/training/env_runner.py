"""A batch-first EnvRunner: samples B worlds as tensors, in place of RLlib's own env runners."""

from __future__ import annotations

import math
import time
from contextlib import ExitStack, closing
from functools import partial
from typing import Any

import ray
import torch
from ray.rllib.core import COMPONENT_RL_MODULE, DEFAULT_MODULE_ID
from ray.rllib.env import INPUT_ENV_SINGLE_SPACES, INPUT_ENV_SPACES
from ray.rllib.env.env_runner import EnvRunner
from ray.rllib.utils.checkpoints import Checkpointable
from ray.rllib.utils.metrics import (
    EPISODE_LEN_MEAN,
    EPISODE_RETURN_MEAN,
    NUM_AGENT_STEPS_SAMPLED,
    NUM_AGENT_STEPS_SAMPLED_LIFETIME,
    NUM_ENV_STEPS_SAMPLED,
    NUM_ENV_STEPS_SAMPLED_LIFETIME,
    NUM_EPISODES,
    NUM_EPISODES_LIFETIME,
    NUM_MODULE_STEPS_SAMPLED,
    NUM_MODULE_STEPS_SAMPLED_LIFETIME,
    SAMPLE_TIMER,
    WEIGHTS_SEQ_NO,
)
from torch import Tensor

from agentcomm.base.devices import device_of
from agentcomm.base.seeds import derive
from agentcomm.contracts.world import World
from agentcomm.evaluation.metrics import measure
from agentcomm.evaluation.play import play
from agentcomm.runs.assembly import make_comms, make_world
from agentcomm.runs.config import RunConfig
from agentcomm.training.callbacks import EndedEpisode, RunnerCallbacks
from agentcomm.training.evaluation_size import MOST_EPISODES
from agentcomm.training.rollout import Sampler

COMPONENT_SAMPLER = "sampler"


Columns = dict[str, Any]  # named arrays or tensors


class Batch:
    """The return value of ``sample``: the columns of one fragment; RLlib only asks for its size.

    Attributes:
        columns: Named arrays; tensors on the device of the learner if it is in the same process.
        runner: Index of the runner.
        seconds: What sampling took.
        episode_length: Mean steps of every world's last episode; None until each world has finished one.
    """

    def __init__(
        self,
        columns: Columns,
        env_steps: int,
        agents: int,
        runner: int,
        seconds: float = 0.0,
        episode_length: float | None = None,
    ) -> None:
        self.columns, self.runner = columns, runner
        self.seconds, self.episode_length = seconds, episode_length
        self._env_steps = env_steps
        self._agents = agents

    def env_steps(self) -> int:
        """Joint steps."""
        return self._env_steps

    def agent_steps(self) -> int:
        """Joint steps times agents."""
        return self._env_steps * self._agents


class BatchFirstEnvRunner(EnvRunner, Checkpointable):
    """Samples fragments in training; runs whole greedy episodes, one per world, in evaluation."""

    def __init__(self, *, config: Any, **kwargs: Any) -> None:
        super().__init__(config=config, **kwargs)
        self.spaces = kwargs.get("spaces") or {}
        self._weights_seq_no = 0
        settings = config.env_config
        self.run = RunConfig.model_validate(settings["run"])
        self.run.import_plugins()
        self.seed = int(settings["seed"])
        # Remote runners sample on the processor: the device is the learner's.
        self.device = device_of("cpu" if self.worker_index else self.run.training.device, "training.device")
        # With remote runners, the local one only holds weights.
        self._samples = bool(self.worker_index) or config.num_env_runners == 0
        self.sampler: Sampler | None = None
        self._worlds = ExitStack()  # closes the worlds that this runner has made
        self._evaluated: World | None = None
        self.callbacks = RunnerCallbacks(self)
        # Whether this is a new process in place of one that died, which has other weights until it is sent the team's.
        self.restarted = bool(self.worker_index) and ray.get_runtime_context().was_current_actor_reconstructed
        self.awaits_weights = self.restarted
        self.broken: Exception | None = None
        try:
            self.make_module()
            if self._samples:
                self.make_env()
        except Exception as error:
            if not self.worker_index:
                raise
            self.broken = error  # sent by the first attempt to sample: RLlib drops what is raised here

    def make_env(self) -> None:
        """Build worlds, message layer and sampler; an evaluation runner builds them per evaluation."""
        if self.config.in_evaluation:
            return
        self.stop()
        run, policy = self.run, self.module.policy
        seed = derive(self.seed, "runner", self.worker_index or 0)
        setup = partial(run.setup.at, run.training.schedule)
        first = setup(0.0)
        with ExitStack() as undo:
            world = undo.enter_context(closing(make_world(first.environment, run.training.worlds, self.device)))
            comms = make_comms(world, policy, first.attacks, first.defenses, seed, first.transport)
            sampler = self.sampler = Sampler(world, policy, comms, self.config.settings(), seed, setup)
            undo.callback(lambda: sampler.world.close())  # a schedule may have replaced the first ones
            undo.callback(lambda: sampler.comms.close())
            self._worlds = undo.pop_all()
        self.callbacks.call("on_environment_created", env=world, env_context=self.config.env_config)

    def follow_schedule(self, progress: float) -> None:
        """Sample from now on in the environment for a share of training done (0 .. 1)."""
        assert self.sampler is not None, "this runner does not sample"
        before = self.sampler.world
        self.sampler.follow_schedule(progress)
        if self.sampler.world is not before:
            self.callbacks.call("on_environment_created", env=self.sampler.world, env_context=self.config.env_config)

    def make_module(self) -> None:
        """Build the policy; the first synchronization sets its weights."""
        spec = self.config.get_rl_module_spec(env=None, spaces=self.get_spaces(), inference_only=True)
        self.module = spec.build().to(self.device)

    def get_spaces(self) -> dict[str, Any]:
        """Joint observation and action spaces, as RLlib's config states them."""
        pair = (self.config.observation_space, self.config.action_space)
        return {INPUT_ENV_SPACES: pair, INPUT_ENV_SINGLE_SPACES: pair, DEFAULT_MODULE_ID: pair}

    def assert_healthy(self) -> None:
        """RLlib's check after construction."""
        assert self.broken or self.module is not None, "the policy was not built"

    def sample(
        self,
        *,
        num_timesteps: int | None = None,
        num_episodes: int | None = None,
        explore: bool | None = None,
        random_actions: bool = False,
        force_reset: bool = False,
        **kwargs: Any,
    ) -> list[Batch]:
        """One fragment, or, in evaluation, ``num_episodes`` whole episodes."""
        with self.metrics.log_time(SAMPLE_TIMER):
            if self.config.in_evaluation:
                batch = self._evaluate(num_episodes or MOST_EPISODES)
            else:
                assert self.sampler is not None, "this runner does not sample"
                training = self.run.training
                steps = training.fragment if num_timesteps is None else math.ceil(num_timesteps / training.worlds)
                batch = self._collect(self.sampler, steps)
            self.callbacks.call("on_sample_end", samples=[batch])
            return [batch]

    def _collect(self, sampler: Sampler, steps: int) -> Batch:
        began = time.perf_counter()
        fragment = sampler.collect(steps)
        seconds = time.perf_counter() - began
        means = {"gate_open": fragment.gate_open}
        if fragment.graph_agreement is not None:
            means["graph_agreement"] = fragment.graph_agreement
        means |= {f"messages_{k}": v / fragment.env_steps for k, v in fragment.messages.items()}
        if recent := fragment.recent:
            means |= {EPISODE_LEN_MEAN: recent["length"], EPISODE_RETURN_MEAN: recent["return"]}
            means |= {name: value for name, value in recent.items() if name == "success"}
        self._log(fragment.env_steps, fragment.agents, fragment.episodes, means)
        self._end_episodes(sampler.world, fragment.ended)
        columns: Columns = {name: value.contiguous() for name, value in fragment.columns.items()}
        if self.worker_index:  # they go to another process
            columns = {name: value.numpy() for name, value in columns.items()}
        length = fragment.recent.get("length")
        return Batch(columns, fragment.env_steps, fragment.agents, self.worker_index or 0, seconds, length)

    def _evaluate(self, episodes: int) -> Batch:
        run, policy, world = self.run, self.module.policy, self._evaluation_world(episodes)
        settings = self.config.env_config
        choices = RunConfig.model_validate(settings["run"])
        seed = derive(self.seed, "evaluation")
        with closing(make_comms(world, policy, choices.attacks, choices.defenses, seed, choices.transport)) as comms:
            played = play(world, policy, comms, derive(run.evaluation.seed, "training"))
        found = measure(played)
        steps = int(played.length.sum())
        means = {EPISODE_LEN_MEAN: found["mean_steps"], EPISODE_RETURN_MEAN: found["mean_return"]}
        told = {name: found.get(name) for name in ("success", "gate_open", "messages_per_step")}
        means |= {name: value for name, value in told.items() if value is not None}
        self._log(steps, world.num_agents, episodes, means)
        worlds = torch.arange(episodes, device=played.length.device)
        success = played.success.float() if played.success_known else torch.full_like(played.total_reward, torch.nan)
        self._end_episodes(world, torch.stack([worlds, played.length, success, played.total_reward]))
        return Batch({}, steps, world.num_agents, self.worker_index or 0)

    def _evaluation_world(self, episodes: int) -> World:
        """The worlds of the previous evaluation, if they have the right number; else new ones."""
        if self._evaluated is None or self._evaluated.num_worlds != episodes:
            self.stop()
            self._evaluated = make_world(self.run.environment, episodes, self.device)
            self._worlds.callback(self._evaluated.close)
        return self._evaluated

    def _end_episodes(self, world: World, ended: Tensor) -> None:
        """Call ``on_episode_end`` for each column of [4, E] world, length, success and return, if it is set."""
        if not self.callbacks.wants("on_episode_end"):
            return
        for index, length, success, total_return in ended.T.tolist():
            solved = None if math.isnan(success) else bool(success)
            episode = EndedEpisode(int(index), int(length), solved, total_return)
            self.callbacks.call(
                "on_episode_end",
                episode=episode,
                prev_episode_chunks=[],
                env=world,
                env_index=episode.world,
                rl_module=self.module,
            )

    def _log(self, steps: int, agents: int, episodes: int, means: dict[str, float]) -> None:
        """Log the counters that RLlib needs (it samples forever if one is missing), and one value per mean."""
        self.num_env_steps_sampled_lifetime += steps
        log = self.metrics.log_value
        log(NUM_ENV_STEPS_SAMPLED, steps, reduce="sum")
        log(NUM_ENV_STEPS_SAMPLED_LIFETIME, steps, reduce="lifetime_sum", with_throughput=True)
        log((NUM_AGENT_STEPS_SAMPLED, "all"), steps * agents, reduce="sum")
        log((NUM_AGENT_STEPS_SAMPLED_LIFETIME, "all"), steps * agents, reduce="lifetime_sum")
        log((NUM_MODULE_STEPS_SAMPLED, DEFAULT_MODULE_ID), steps, reduce="sum")
        log((NUM_MODULE_STEPS_SAMPLED_LIFETIME, DEFAULT_MODULE_ID), steps, reduce="lifetime_sum")
        log(NUM_EPISODES, episodes, reduce="sum")
        log(NUM_EPISODES_LIFETIME, episodes, reduce="lifetime_sum")
        self.metrics.log_dict(means, window=1)

    def get_metrics(self) -> Any:
        """Metrics since the last call."""
        return self.metrics.reduce()

    def get_state(self, components: Any = None, *, not_components: Any = None, **kwargs: Any) -> dict[str, Any]:
        """Weights, counters, and the state of sampling: worlds, network, generators."""
        state: dict[str, Any] = {NUM_ENV_STEPS_SAMPLED_LIFETIME: self.num_env_steps_sampled_lifetime}
        if self._check_component(COMPONENT_RL_MODULE, components, not_components):
            state[COMPONENT_RL_MODULE] = self.module.get_state(**kwargs)
            state[WEIGHTS_SEQ_NO] = self._weights_seq_no
        if self.sampler is not None and self._check_component(COMPONENT_SAMPLER, components, not_components):
            state[COMPONENT_SAMPLER] = self.sampler.snapshot()
        return state

    def set_state(self, state: dict[str, Any]) -> None:
        """Restore the state; weights only if they are newer than the current ones."""
        if self.broken:
            return
        if COMPONENT_RL_MODULE in state:
            number = state.get(WEIGHTS_SEQ_NO, 0)
            if number == 0 or self._weights_seq_no < number:
                weights = state[COMPONENT_RL_MODULE]
                if isinstance(weights, ray.ObjectRef):
                    weights = ray.get(weights)
                self.module.set_state(weights.get(DEFAULT_MODULE_ID, weights))
                self.awaits_weights = False
            if number > 0:
                self._weights_seq_no = number
        if NUM_ENV_STEPS_SAMPLED_LIFETIME in state:
            self.num_env_steps_sampled_lifetime = state[NUM_ENV_STEPS_SAMPLED_LIFETIME]
        if COMPONENT_SAMPLER in state and self.sampler is not None:
            self.sampler.restore(state[COMPONENT_SAMPLER])

    def copy_weights(self, module: Any) -> None:
        """Take the weights of the learner's module in the same process, from device to device."""
        self.module.load_state_dict(module.state_dict())

    def get_ctor_args_and_kwargs(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Arguments with which RLlib rebuilds this runner."""
        return (), {"config": self.config}

    def get_checkpointable_components(self) -> list[tuple[str, Any]]:
        """The module, saved as a separate component."""
        return [(COMPONENT_RL_MODULE, self.module)]

    def stop(self) -> None:
        """Close all worlds."""
        self.sampler = self._evaluated = None
        self._worlds.close()
