"""Stock multi-agent PPO of RLlib on the PettingZoo view of an environment: one shared default module, no messages."""

from __future__ import annotations

from typing import Any

from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.env.wrappers.pettingzoo_env import ParallelPettingZooEnv
from ray.tune import register_env

from agentcomm.pettingzoo.view import view
from agentcomm.runs.config import RunConfig

NAME = "stock-predator-prey"
SHARED = "shared"


def build(run: RunConfig, width: int = 64) -> Any:
    """RLlib's PPO with the update of a run's config: fragment, minibatch, epochs, clipping.

    Args:
        run: Environment and training; its policy is not used.
        width: Units of each of the two hidden layers.
    """
    training, ppo = run.training, run.training.ppo
    arguments = {**run.environment.arguments, "observation": "dense"}
    agents = view(run.environment.name, **arguments).possible_agents
    register_env(NAME, lambda _: ParallelPettingZooEnv(view(run.environment.name, **arguments)))
    steps = training.worlds * training.fragment
    return (
        PPOConfig()
        .environment(NAME)
        .env_runners(
            num_env_runners=0,
            num_envs_per_env_runner=training.worlds,
            rollout_fragment_length=training.fragment,
        )
        .multi_agent(policies={SHARED}, policy_mapping_fn=lambda *_, **__: SHARED)
        .rl_module(
            rl_module_spec=RLModuleSpec(
                model_config=DefaultModelConfig(fcnet_hiddens=[width, width], fcnet_activation="tanh")
            )
        )
        .training(
            lr=ppo.learning_rate,
            gamma=ppo.gamma,
            lambda_=ppo.gae_lambda,
            clip_param=ppo.clip,
            entropy_coeff=ppo.entropy,
            grad_clip=ppo.max_grad_norm,
            train_batch_size_per_learner=steps,
            minibatch_size=(steps if ppo.minibatch is None else ppo.minibatch) * len(agents),  # rows of agents
            num_epochs=ppo.epochs,
        )
        .debugging(log_level="ERROR", seed=0)
        .build_algo()
    )
