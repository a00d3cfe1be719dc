"""PPO over whole fragments: RLlib's Algorithm and its config, for one team."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.algorithms.ppo import PPO, PPOConfig
from ray.rllib.callbacks.utils import make_callback
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.policy.sample_batch import MultiAgentBatch, SampleBatch
from ray.rllib.utils.metrics import (
    ENV_RUNNER_RESULTS,
    ENV_RUNNER_SAMPLING_TIMER,
    LEARNER_RESULTS,
    LEARNER_UPDATE_TIMER,
    NUM_ENV_STEPS_SAMPLED_LIFETIME,
    SYNCH_WORKER_WEIGHTS_TIMER,
    TIMERS,
)
from ray.tune import register_env

from agentcomm.base.devices import device_of
from agentcomm.runs.assembly import make_world
from agentcomm.runs.config import RunConfig, Variant
from agentcomm.runs.ppo_settings import PPOSettings
from agentcomm.training import checkpoint
from agentcomm.training.callbacks import refuse_uncalled
from agentcomm.training.env_runner import BatchFirstEnvRunner, Columns
from agentcomm.training.evaluation_size import MOST_EPISODES, EvaluationSize
from agentcomm.training.learner import CommLearner
from agentcomm.training.module import CommModule
from agentcomm.training.sampling import ParallelSampler

ENV_NAME = "agentcomm"
# Tune adds files of its own to a checkpoint.
TUNE_FOLDER = "team"


def _never_built(_: Any) -> Any:
    raise RuntimeError("worlds are built by the env runner, not by RLlib")


class CommPPO(PPO):
    """PPO whose training step moves whole fragments from batch-first runners to the learner.

    Attributes:
        sampler: Collects the fragments; its ``incidents`` tell of runners that died or failed.
    """

    config: Any

    @classmethod
    def get_default_config(cls) -> CommPPOConfig:
        """The config class of this algorithm."""
        return CommPPOConfig()

    def setup(self, config: Any) -> None:
        """Build everything; if a part fails, those that are already built are stopped."""
        self.sampler = ParallelSampler(self)
        try:
            super().setup(config)
        except BaseException:
            self.cleanup()
            raise
        told = self.config.env_config
        fixed = told["run"]["training"]["evaluation_worlds"] is not None
        self._size = EvaluationSize(self.config.evaluation_duration, fixed, told["max_steps"])

    def _setup_logdir(self) -> None:
        """Create Tune's folder of a trial. Without Tune there is none: Ray would leave an empty one in the home."""
        if self._storage is not None:
            super()._setup_logdir()

    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        """Evaluate on as many episodes as the run's config says, or else as fit."""
        episodes = self._size.begin()
        if episodes != self.config.evaluation_duration:
            self.config = self.config.copy(copy_frozen=False)
            self.config.evaluation_duration = episodes
            self.config.freeze()
        result = super().evaluate(*args, **kwargs)
        self._size.end()
        return result

    @property
    def progress(self) -> float:
        """Share of training done (0 .. 1)."""
        done = float(self.metrics.peek((ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME), default=0))
        return min(done / int(self.config.env_config["run"]["training"]["env_steps"]), 1.0)

    def training_step(self) -> None:
        """Sample, update, and send the new weights to the runners."""
        config = self.config
        with self.metrics.log_time((TIMERS, ENV_RUNNER_SAMPLING_TIMER)):
            batches, results = self.sampler.collect(config.total_train_batch_size)
            self.metrics.aggregate(results, key=ENV_RUNNER_RESULTS)
        slowest = max(batches, key=lambda b: b.seconds)
        self._size.measure(slowest.seconds / slowest.env_steps(), slowest.episode_length)
        with self.metrics.log_time((TIMERS, LEARNER_UPDATE_TIMER)):
            columns = join([b.columns for b in batches])
            steps = self.metrics.peek((ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME), default=0)
            learned = self.learner_group.update(
                batch=MultiAgentBatch(
                    {DEFAULT_MODULE_ID: SampleBatch(columns)}, env_steps=sum(b.env_steps() for b in batches)
                ),
                timesteps={NUM_ENV_STEPS_SAMPLED_LIFETIME: steps},
            )
            self.metrics.aggregate(learned, key=LEARNER_RESULTS)
        with self.metrics.log_time((TIMERS, SYNCH_WORKER_WEIGHTS_TIMER)):
            if config.num_env_runners:
                self.env_runner_group.sync_weights(
                    from_worker_or_learner_group=self.learner_group, policies=[DEFAULT_MODULE_ID], inference_only=True
                )
            else:  # RLlib's way would copy the weights to the host and back
                runner = self.env_runner
                self.learner_group.foreach_learner(
                    lambda learner: runner.copy_weights(learner.module[DEFAULT_MODULE_ID])
                )

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Write a checkpoint for Tune."""
        target = Path(checkpoint_dir, TUNE_FOLDER)
        target.mkdir()
        checkpoint.write(self, target)

    def load_checkpoint(self, checkpoint_dir: str) -> None:
        """Restore a checkpoint of Tune."""
        checkpoint.restore(self, Path(checkpoint_dir, TUNE_FOLDER))
        own = self.config.callbacks_on_checkpoint_loaded
        make_callback("on_checkpoint_loaded", self.callbacks, own, kwargs={"algorithm": self})


def join(parts: list[Columns]) -> Columns:
    """Concatenate the columns of several runners' fragments; those of the only one are left as they are.

    Runners record ``source``, ``scale`` and ``delta`` only if messages were changed, and only used slots;
    missing columns are filled with the values of unchanged messages.
    """
    if len(parts) == 1:
        return parts[0]
    slots = max(p["mask"].shape[-1] for p in parts)
    names = sorted(set().union(*parts))
    return {name: np.concatenate([_widen(part, name, slots, parts) for part in parts]) for name in names}


def _widen(part: dict[str, np.ndarray], name: str, slots: int, parts: list[dict[str, np.ndarray]]) -> np.ndarray:
    if name not in ("mask", "source", "scale", "delta"):
        return part[name]
    mask = part["mask"]
    if name in part:
        column = part[name]
    elif name == "source":
        column = np.broadcast_to(part["links"][:, None], (*mask.shape[:3], part["links"].shape[-1]))
    elif name == "scale":
        column = np.ones(mask.shape, np.float32)
    else:
        width = next(p[name].shape[-1] for p in parts if name in p)
        column = np.zeros((*mask.shape, width), np.float32)
    missing = slots - column.shape[3]
    fill = [(0, 0)] * column.ndim
    fill[3] = (0, missing)
    return np.pad(column, fill) if missing else column


class CommPPOConfig(PPOConfig):
    """RLlib's config of one team. Fields that Tune may sweep (``lr``, ``gamma``, ...) override the run's."""

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class=algo_class or CommPPO)
        self.env_runner_cls = BatchFirstEnvRunner

    def get_default_learner_class(self) -> type:
        """The learner class of this algorithm."""
        return CommLearner

    def team(self, run: RunConfig, variant: Variant, seed: int) -> CommPPOConfig:
        """Set everything for one team of a run."""
        register_env(ENV_NAME, _never_built)
        training, ppo = run.training, run.training.ppo
        with closing(make_world(run.environment, 1)) as world:
            shape, limits = (world.num_agents, world.layout.width), {"max_steps": world.max_steps}
            acting = (world.num_agents, *world.actions.shape)
        observations = gymnasium.spaces.Box(-np.inf, np.inf, shape, np.float32)
        # Told to RLlib alone, which never samples from it: agents act through agentcomm.step.
        actions = gymnasium.spaces.Box(-np.inf, np.inf, acting, np.float32)
        silent: dict[str, Any] = {"attacks": (), "defenses": ()}
        told = {"run": run.model_dump(mode="json"), "variant": variant, "seed": seed}
        clean = told | {"run": run.model_copy(update=silent).model_dump(mode="json")}
        self.environment(env=ENV_NAME, env_config=told | limits, observation_space=observations, action_space=actions)
        self.env_runners(
            num_env_runners=training.runners,
            num_envs_per_env_runner=training.worlds,
            rollout_fragment_length=training.fragment,
        )
        device = device_of(training.device, "training.device")
        gpus = int(device.type == "cuda")
        self.learners(num_learners=0, num_gpus_per_learner=gpus, local_gpu_idx=device.index or 0)
        self.fault_tolerance(restart_failed_env_runners=True)
        self.rl_module(
            rl_module_spec=RLModuleSpec(
                module_class=CommModule, observation_space=observations, action_space=actions, model_config=told
            )
        )
        self.training(
            train_batch_size_per_learner=training.worlds * training.fragment * max(training.runners, 1),
            minibatch_size=None,
            num_epochs=ppo.epochs,
            lr=ppo.learning_rate,
            gamma=ppo.gamma,
            lambda_=ppo.gae_lambda,
            clip_param=ppo.clip,
            entropy_coeff=ppo.entropy,
            vf_loss_coeff=ppo.value_weight,
            grad_clip=ppo.max_grad_norm,
        )
        if training.evaluate_every:
            self.evaluation(
                evaluation_interval=training.evaluate_every,
                evaluation_duration=training.evaluation_worlds or MOST_EPISODES,
                evaluation_duration_unit="episodes",
                evaluation_config=AlgorithmConfig.overrides(explore=False, env_config=clean),
            )
        self.debugging(seed=seed, log_level="ERROR")
        return self

    def validate(self) -> None:
        """Check the config as RLlib does, and that every callback will be called.

        Raises:
            ConfigError: If one will not be.
        """
        super().validate()
        refuse_uncalled(self)

    def settings(self) -> PPOSettings:
        """PPO's arguments: the run's, overridden by the fields of this config."""
        base = PPOSettings.model_validate(self.env_config["run"]["training"]["ppo"])
        return PPOSettings.model_validate(
            base.model_dump()
            | {
                "epochs": self.num_epochs,
                "learning_rate": self.lr,
                "final_learning_rate": base.final_learning_rate * self.lr / base.learning_rate,
                "gamma": self.gamma,
                "gae_lambda": self.lambda_,
                "clip": self.clip_param,
                "entropy": self.entropy_coeff,
                "value_weight": self.vf_loss_coeff,
                "max_grad_norm": self.grad_clip,
            }
        )
