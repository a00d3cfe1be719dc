"""Train stock RLlib PPO on an environment with messages, and evaluate what it learned under attacks and a defense.

The head of a line sees a symbol, and all must name it: the others know it only from messages. Run it in the folder of
this file, or with this folder on PYTHONPATH: evaluation imports it by its name.
"""

import logging
import os
import sys
from pathlib import Path

import numpy as np
import torch

import agentcomm
from agentcomm.pettingzoo.message_actions import MessageActionWrapper, Received, Symbols, foreign_policy

os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}
MEMBERS, SYMBOLS = 3, 3
ENVIRONMENT = f"relay_line:members={MEMBERS},symbols={SYMBOLS}"
SILENT = 8 * (1 + (MEMBERS - 1) / SYMBOLS) / MEMBERS  # best mean return without messages: the head knows, others guess


# --8<-- [start:env]
def wrapped(config=None):
    """The environment: actions carry a symbol, observations an inbox. All share the reward, so that telling pays."""
    return MessageActionWrapper(ENVIRONMENT, Symbols(symbols=SYMBOLS), team_reward=True)


# --8<-- [end:env]


# --8<-- [start:train]
def train(folder, most=40):
    """Train PPO as it comes, one policy for all agents, until the team beats silence; returns its mean return."""
    import ray
    from ray.rllib.algorithms.ppo import PPOConfig
    from ray.rllib.env.wrappers.pettingzoo_env import ParallelPettingZooEnv
    from ray.tune import register_env

    logging.getLogger("ray.rllib").setLevel(logging.ERROR)
    ray.init(include_dashboard=False, log_to_driver=False, logging_level="ERROR", ignore_reinit_error=True)
    register_env("wrapped", lambda config: ParallelPettingZooEnv(wrapped(config)))
    config = (
        PPOConfig()
        .environment("wrapped")
        .env_runners(num_env_runners=0, rollout_fragment_length=200)
        .multi_agent(policies={"shared"}, policy_mapping_fn=lambda *_, **__: "shared")
        .training(train_batch_size=1000, minibatch_size=500, num_epochs=10, lr=2e-3, gamma=0.8, entropy_coeff=0.01)
        .debugging(seed=0)
    )
    algorithm, reached = config.build_algo(), 0.0
    for number in range(most):
        result = algorithm.train()["env_runners"]
        reached = result["episode_return_mean"] / MEMBERS
        print(f"{1000 * (number + 1)} env steps: mean return {reached:.2f} (silent: at most {SILENT:.2f})", flush=True)
        if reached > (SILENT + 8) / 2:
            break
    algorithm.get_module("shared").save_to_path(Path(folder).absolute())
    algorithm.stop()
    return reached


# --8<-- [end:train]


# --8<-- [start:load]
@foreign_policy(Symbols(symbols=SYMBOLS), batched=True)
def load(checkpoint):
    """The trained policy as a callable: for all worlds and agents at once, logits of actions, and greedy symbols."""
    from ray.rllib.core.rl_module import RLModule

    logging.getLogger("ray.rllib").setLevel(logging.ERROR)  # it warns of its own code
    module = RLModule.from_checkpoint(checkpoint)

    def policy(observation: np.ndarray, inbox: Received):
        seen = torch.from_numpy(inbox.flat(observation))  # [worlds, agents, W], as the wrapper shows it
        with torch.no_grad():
            out = module.forward_inference({"obs": seen.flatten(0, 1)})["action_dist_inputs"].numpy()
        out = out.reshape(*observation.shape[:2], -1)
        return out[..., :SYMBOLS], out[..., SYMBOLS:].argmax(-1)

    return policy


# --8<-- [end:load]


# --8<-- [start:scripted]
@foreign_policy(Symbols(symbols=SYMBOLS))
def scripted(agent: str, observation: np.ndarray, inbox: Received):
    """The same by hand: the head says what it sees and does it; the others do what the head says, and are silent."""
    if observation.any():
        return int(observation.argmax()), int(observation.argmax())
    return (int(inbox.payload[0].argmax()) if inbox.mask[0] else 0), None


# --8<-- [end:scripted]


# --8<-- [start:main]
def main(folder="checkpoint", most=40, episodes=1024):
    """Train, evaluate both, and write their reports."""
    reached = train(folder, most)
    reports = []
    for name, policy, weights in (("learner", load, [folder]), ("scripted", scripted, [])):
        run = agentcomm.from_callable(policy, ENVIRONMENT, checkpoints=weights, name=name, episodes=episodes)
        agentcomm.evaluate(run, attacks=["drop:probability=0.5", "impersonate"], defenses=["authenticate"])
        reports.append(agentcomm.report(run))
    return reached, reports


# --8<-- [end:main]


if __name__ == "__main__":
    print(*main(*sys.argv[1:]))
