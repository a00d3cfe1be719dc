"""PPO in one file in the style of CleanRL: one shared network, no messages, nothing of our policies or of RLlib.

It is a peer of our training (`peers.py`): the same environment, batch, minibatches, epochs and clipping. Worlds are
stepped as one batch (:class:`BatchedWorlds`), or one by one through the PettingZoo view (:class:`ViewedWorlds`).
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Categorical

from agentcomm.contracts.world import World
from agentcomm.pettingzoo.view import ParallelView
from agentcomm.runs.ppo_settings import PPOSettings

Stepped = tuple[Tensor, Tensor, Tensor]  # observation [B, N, O], reward [B, N], whether the episode ended [B]


class Worlds(Protocol):
    """B worlds that restart by themselves."""

    num_actions: int

    def reset(self) -> Tensor:
        """[B, N, O] first observations."""

    def step(self, actions: Tensor) -> Stepped:
        """Take a step with actions [B, N]."""


class BatchedWorlds:
    """A world of the testbed, stepped as one batch."""

    def __init__(self, world: World) -> None:
        self.world, self.num_actions = world, world.num_actions

    def reset(self) -> Tensor:
        return self.world.reset(0)

    def step(self, actions: Tensor) -> Stepped:
        step = self.world.step(actions)
        return step.observation, step.reward, step.done


class ViewedWorlds:
    """PettingZoo views, stepped one after the other."""

    def __init__(self, views: list[ParallelView]) -> None:
        self.views, self.agents = views, views[0].possible_agents
        self.num_actions = int(views[0].action_space(self.agents[0]).n)

    def reset(self) -> Tensor:
        return self._stacked([view.reset(seed=number)[0] for number, view in enumerate(self.views)])

    def step(self, actions: Tensor) -> Stepped:
        seen, rewards, done = [], [], []
        for view, joint in zip(self.views, actions.tolist(), strict=True):
            observed, reward, terminated, truncated, _ = view.step(dict(zip(self.agents, joint, strict=True)))
            done.append(all(terminated.values()) or all(truncated.values()))
            seen.append(view.reset()[0] if done[-1] else observed)
            rewards.append([reward[agent] for agent in self.agents])
        return self._stacked(seen), torch.tensor(rewards), torch.tensor(done)

    def _stacked(self, seen: list[dict[str, np.ndarray]]) -> Tensor:
        return torch.as_tensor(np.array([[one[agent] for agent in self.agents] for one in seen], np.float32))


def network(inputs: int, width: int, outputs: int, scale: float) -> nn.Sequential:
    """Two hidden layers of tanh, orthogonally initialized."""
    layers = [nn.Linear(inputs, width), nn.Linear(width, width), nn.Linear(width, outputs)]
    for layer, gain in zip(layers, (2**0.5, 2**0.5, scale), strict=True):
        nn.init.orthogonal_(layer.weight, gain)
        nn.init.zeros_(layer.bias)
    return nn.Sequential(layers[0], nn.Tanh(), layers[1], nn.Tanh(), layers[2])


class CleanPPO:
    """PPO with one actor and one critic for all agents.

    Args:
        worlds: What is learned in.
        settings: Epochs, minibatch (joint steps), clipping and weights.
        steps: Steps per world and iteration.
        width: Units of each hidden layer.
    """

    def __init__(self, worlds: Worlds, settings: PPOSettings, steps: int, width: int = 64) -> None:
        self.worlds, self.settings, self.steps = worlds, settings, steps
        self.seen = worlds.reset()
        features = self.seen.shape[-1]
        self.actor = network(features, width, worlds.num_actions, 0.01)
        self.critic = network(features, width, 1, 1.0)
        self.parameters = [*self.actor.parameters(), *self.critic.parameters()]
        self.optimizer = torch.optim.Adam(self.parameters, lr=settings.learning_rate, eps=1e-5)

    def iterate(self) -> float:
        """Sample and update once; returns the mean reward."""
        batch, reward = self._sample()
        agents = self.seen.shape[1]
        count = len(batch[0])
        size = count if self.settings.minibatch is None else self.settings.minibatch * agents
        for _ in range(self.settings.epochs):
            for rows in torch.randperm(count).split(size):
                self._update(*(column[rows] for column in batch))
        return reward

    @torch.no_grad()
    def _sample(self) -> tuple[list[Tensor], float]:
        """Rows [T * B * N, ...]: observation, action, its log probability, advantage and return; the mean reward."""
        seen, actions, logs, values, rewards, ends = ([] for _ in range(6))
        for _ in range(self.steps):
            chances = Categorical(logits=self.actor(self.seen))
            action = chances.sample()
            seen.append(self.seen)
            actions.append(action)
            logs.append(chances.log_prob(action))
            values.append(self.critic(self.seen).squeeze(-1))
            self.seen, reward, done = self.worlds.step(action)
            rewards.append(reward)
            ends.append(done[:, None].float())
        value = torch.stack(values)
        advantage = torch.zeros_like(value)
        following, running = self.critic(self.seen).squeeze(-1), torch.zeros_like(value[0])
        for t in reversed(range(self.steps)):
            delta = rewards[t] + self.settings.gamma * following * (1 - ends[t]) - value[t]
            running = delta + self.settings.gamma * self.settings.gae_lambda * (1 - ends[t]) * running
            advantage[t], following = running, value[t]
        columns = [torch.stack(seen), torch.stack(actions), torch.stack(logs), advantage, advantage + value]
        return [c.flatten(0, 2) for c in columns], float(torch.stack(rewards).mean())

    def _update(self, seen: Tensor, action: Tensor, log_before: Tensor, advantage: Tensor, target: Tensor) -> None:
        chances, clip = Categorical(logits=self.actor(seen)), self.settings.clip
        ratio = (chances.log_prob(action) - log_before).exp()
        advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
        surrogate = torch.minimum(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage).mean()
        value_loss = 0.5 * (self.critic(seen).squeeze(-1) - target).square().mean()
        entropy = chances.entropy().mean()
        loss = -surrogate + self.settings.value_weight * value_loss - self.settings.entropy * entropy
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, self.settings.max_grad_norm)
        self.optimizer.step()
