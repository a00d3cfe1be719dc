"""The adversary: all attacks on a team, and the calls of their hooks in a step.

The network calls hooks on messages, and the directory calls hooks on a directory; the adversary provides their guards
(``message_guards``, ``directory_guards``) and owns the state of all guards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from agentcomm.base.seeds import derive
from agentcomm.base.state import State
from agentcomm.contracts.attack import Attack, hooks
from agentcomm.contracts.directory_hook import DirectoryShape
from agentcomm.contracts.policy import CommPolicy
from agentcomm.contracts.shape import TeamShape
from agentcomm.contracts.world import World
from agentcomm.guards.actions import ActionGuard, Drawn
from agentcomm.guards.base import GuardBase
from agentcomm.guards.directory import DirectoryGuard
from agentcomm.guards.messages import MessageGuard
from agentcomm.guards.observations import ObservationGuard
from agentcomm.guards.rewards import RewardGuard
from agentcomm.step.perceive import perceive


@dataclass(frozen=True)
class Overruled:
    """Cells that an attack has drawn in place of the policy's.

    Attributes:
        guard: The attack's guard.
        drawn: The draws, in K worlds.
        at: [K] int64, indices of the actions.
        parameters: [K, P] of the policy's distributions.
    """

    guard: ActionGuard
    drawn: Drawn
    at: Tensor
    parameters: Tensor


class Adversary(State):
    """All attacks on a team in B worlds, each restricted to its threat model.

    Args:
        attacks: Attacks, in the order in which they act.
        shape: Shape of the team.
        seed: Seed of each attack's generator.
        directory: Shape of the directory through which members find each other; None without a directory.
        secret: Seed of the guards' own draws, which attacks should not be able to compute; None for one that follows
            from ``seed``.

    Attributes:
        guards: One guard per attack, shared by the guards of its hooks.
        message_guards: Guards of attacks on messages, for the network.
        observation_guards: Guards of attacks on sensors.
        action_guards: Guards of attacks that act for their node.
        reward_guards: Guards of attacks on rewards.
        directory_guards: Guards of attacks on a directory, for the directory.

    Raises:
        ValueError: If an attack does not fit the team, or two attacks act for one node.
    """

    keeps = ("guards", "message_guards", "action_guards", "directory_guards")

    def __init__(
        self,
        attacks: Sequence[Attack],
        shape: TeamShape,
        seed: int,
        directory: DirectoryShape | None = None,
        secret: int | None = None,
    ) -> None:
        self.shape, self._secret = shape, seed if secret is None else secret
        self.guards: list[GuardBase] = []
        self.message_guards: list[MessageGuard] = []
        self.observation_guards: list[ObservationGuard] = []
        self.action_guards: list[ActionGuard] = []
        self.reward_guards: list[RewardGuard] = []
        self.directory_guards: list[DirectoryGuard] = []
        self._team_guards: list[GuardBase] = []  # of all attacks except those on a directory only
        for attack in attacks:
            self._add(attack, seed, directory)
        nodes = [guard.node for guard in self.action_guards]
        if len(set(nodes)) < len(nodes):
            raise ValueError(f"two attacks act for the same node (nodes {nodes})")

    def _add(self, attack: Attack, seed: int, directory: DirectoryShape | None) -> None:
        """Set up the guards of an attack's hooks; attacks on a directory have separate seeds."""
        found, shape = hooks(type(attack)), self.shape
        alone = found == {"on_directory"}
        purpose, number = ("directory", len(self.guards) - len(self._team_guards)), len(self._team_guards)
        about = purpose if alone else ("attack", number)
        base = GuardBase(attack, shape, derive(seed, *about), derive(self._secret, *about))
        self.guards.append(base)
        if not alone:
            self._team_guards.append(base)
        if "on_messages" in found:
            slot = self.message_guards[-1].slots.stop if self.message_guards else shape.degree
            self.message_guards.append(MessageGuard(base, slot))
        if "on_observations" in found and base.threat.position.kind == "sensor":
            self.observation_guards.append(ObservationGuard(base))
        if "on_action" in found and "act" in base.threat.powers:
            self.action_guards.append(ActionGuard(base))
        if "on_rewards" in found and "reward" in base.threat.powers:
            self.reward_guards.append(RewardGuard(base))
        if "on_directory" in found:
            if directory is None:
                raise ValueError(f"{attack.name} acts on a directory, but there is none")
            self.directory_guards.append(DirectoryGuard(base, directory))

    def reset(self, worlds: Tensor) -> None:
        """Reset the guards in the given worlds ([W] indices); a directory resets its own guards."""
        guards: tuple[GuardBase | MessageGuard | ActionGuard, ...]
        guards = (*self._team_guards, *self.message_guards, *self.action_guards)
        for guard in guards:
            guard.reset(worlds)

    @torch.no_grad()
    def on_observations(
        self, observation: Tensor, world: World, step: Tensor, policy: CommPolicy, memory: Tensor | None = None
    ) -> Tensor:
        """The observations [B, N, O] on which agents decide: those of the world, unless an attack changes them.

        Args:
            observation: [B, N, O] observations of the world.
            world: The worlds.
            step: [B] int64.
            policy: The policy, whose gates can be predicted by attacks that know it.
            memory: [B, N, S] what agents remember of earlier steps; None at the start of episodes.
        """

        def gate_logits(seen: Tensor) -> Tensor:
            remembered = None if memory is None else memory.expand(*seen.shape[:-3], *memory.shape).flatten(0, -3)
            return policy.listen(perceive(policy, seen.flatten(0, -3), remembered)[0]).view(seen.shape[:-1])

        for guard in self.observation_guards:
            observation = guard.apply(observation, world, step, None if policy.gate is None else gate_logits)
        return observation

    @torch.no_grad()
    def on_rewards(self, reward: Tensor, action: Tensor, step: Tensor) -> Tensor:
        """The rewards [B, N] that agents learn from in a step [B]: the world's, unless an attack changes them."""
        for guard in self.reward_guards:
            reward = guard.apply(reward, action, step)
        return reward

    @torch.no_grad()
    def on_action(
        self,
        logits: Tensor,
        action: Tensor,
        noise: Tensor | None,
        step: Tensor,
        rows: Tensor,
        alive: Tensor | None = None,
    ) -> tuple[Tensor, list[Overruled]]:
        """The intended actions [R, ...]: those of the policy, unless a compromised agent overrides them.

        Args:
            logits: [R, P] parameters of the policy.
            action: [R, ...] actions of the policy.
            noise: Noise with which actions were sampled; None for greedy actions.
            step: [B] int64.
            rows: [R] int64, the agents, as world * N + agent.
            alive: [B, N] bool, present members; None for all.

        Returns:
            The actions, and what to :meth:`settle` once it is known which actions were executed.
        """
        if not self.action_guards:
            return action, []
        space = self.shape.actions
        intended = space.cell_of(logits, action)
        if noise is None:
            probability = torch.nn.functional.one_hot(intended, space.cells).double()
        else:
            probability = space.cell_probability(logits)
        cell_noise = None if noise is None else space.cell_noise(noise)
        world, agent = rows // self.shape.num_agents, rows % self.shape.num_agents
        overruled = []
        for guard in self.action_guards:
            mine = agent == guard.node
            if alive is not None:
                mine = mine & alive[world, agent]
            at = mine.nonzero().squeeze(-1)
            own_noise = None if cell_noise is None else cell_noise[at]
            out = guard.draw(probability[at], own_noise, world[at], step, greedy=noise is None)
            if out is not None:
                drawn, kept = out
                at = at[kept]
                cell = guard.overrule(drawn, intended[at])
                action = action.index_put((at,), space.moved(logits[at], action[at], cell))
                overruled.append(Overruled(guard, drawn, at, logits[at]))
        return action, overruled

    @torch.no_grad()
    def settle(self, overruled: Sequence[Overruled], action: Tensor, resample: Tensor, replaced: Tensor) -> None:
        """Show executed actions to the attacks that drew them, and update what they reveal.

        Args:
            overruled: As :meth:`on_action` returned it.
            action: [R, ...], executed actions.
            resample: [R] float64, chance that a defense resampled the action from the policy's distribution.
            replaced: [R] bool, actions chosen by a defense.
        """
        for done in overruled:
            cell = self.shape.actions.cell_of(done.parameters, action[done.at])
            done.guard.settle(done.drawn, cell, resample[done.at], replaced[done.at])
