"""The adversary: all attacks on a team, and the places of a step in which their hooks are called.

Hooks on messages are called by the network, and hooks on a directory by the directory; the adversary hands out their
guards (``message_guards``, ``directory_guards``) and keeps the state of all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

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


@dataclass(frozen=True)
class _Overruled:
    """Actions that an attack has drawn in place of some of the policy's: at which of them."""

    guard: ActionGuard
    drawn: Drawn
    at: Tensor


class Adversary(State):
    """All attacks on a team in B worlds, each held to its threat model.

    Args:
        attacks: In the order in which they act.
        shape: Shape of the team.
        seed: Seeds each attack's generator, and the warden's.
        directory: Sizes of the directory through which the team's members find each other; None for none.
        resample: Chance with which a warden draws an action again from the policy's distribution.

    Attributes:
        guards: What the guards of an attack's hooks share, by attack.
        message_guards: Of the attacks that act on messages, for the network.
        observation_guards: Of those that act on sensors.
        action_guards: Of those that act in place of their node.
        reward_guards: Of those that act on rewards.
        directory_guards: Of those that act on a directory, for the directory.

    Raises:
        ValueError: If an attack does not fit the team, or two attacks act for one node.
    """

    keeps = ("guards", "message_guards", "action_guards", "directory_guards", "warden")

    def __init__(
        self,
        attacks: Sequence[Attack],
        shape: TeamShape,
        seed: int,
        directory: DirectoryShape | None = None,
        resample: float = 0.0,
    ) -> None:
        self.shape, self.resample = shape, resample
        self.guards: list[GuardBase] = []
        self.message_guards: list[MessageGuard] = []
        self.observation_guards: list[ObservationGuard] = []
        self.action_guards: list[ActionGuard] = []
        self.reward_guards: list[RewardGuard] = []
        self.directory_guards: list[DirectoryGuard] = []
        self._team_guards: list[GuardBase] = []  # of attacks that do not act on a directory alone
        for attack in attacks:
            self._add(attack, seed, directory)
        nodes = [guard.node for guard in self.action_guards]
        if len(set(nodes)) < len(nodes):
            raise ValueError(f"two attacks act for one node (nodes {nodes})")
        self.warden = torch.Generator(shape.device).manual_seed(derive(seed, "actuators"))

    def _add(self, attack: Attack, seed: int, directory: DirectoryShape | None) -> None:
        """Set up the guards of an attack's hooks; each sort of attack has seeds of its own."""
        found, shape = hooks(type(attack)), self.shape
        alone = found == {"on_directory"}
        purpose, number = ("directory", len(self.guards) - len(self._team_guards)), len(self._team_guards)
        base = GuardBase(attack, shape, derive(seed, *(purpose if alone else ("attack", number))))
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
                raise ValueError(f"{attack.name} acts on a directory, and there is none")
            self.directory_guards.append(DirectoryGuard(base, directory))

    def reset(self, worlds: Tensor) -> None:
        """Forget the episodes of the given worlds ([W] indices); a directory resets its own guards with its cards."""
        guards: tuple[GuardBase | MessageGuard | ActionGuard, ...]
        guards = (*self._team_guards, *self.message_guards, *self.action_guards)
        for guard in guards:
            guard.reset(worlds)

    @torch.no_grad()
    def on_observations(self, observation: Tensor, world: World, step: Tensor, policy: CommPolicy) -> Tensor:
        """What agents see [B, N, O] before they decide: what the world shows, unless an attack holds their sensors.

        Args:
            observation: [B, N, O] what the world shows.
            world: The worlds.
            step: [B] int64.
            policy: Its gates can be predicted by attacks that know the policy.
        """

        def gate_logits(seen: Tensor) -> Tensor:
            logit = policy.listen(policy.encode(seen.flatten(0, -3)))
            assert logit is not None
            return logit.view(seen.shape[:-1])

        for guard in self.observation_guards:
            observation = guard.apply(observation, world, step, None if policy.gate is None else gate_logits)
        return observation

    @torch.no_grad()
    def on_rewards(self, reward: Tensor, action: Tensor, step: Tensor) -> Tensor:
        """What agents learn to have earned [B, N] in a step [B]: what they earned, unless an attack changes it."""
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
    ) -> Tensor:
        """What is done [R]: what the policy would do, unless a compromised agent or a warden overrules it.

        Args:
            logits: [R, A] of the policy.
            action: [R] what it would do.
            noise: [R, A] Gumbel noise that the action was drawn with; None where the team decides greedily.
            step: [B] int64.
            rows: [R] int64, whose actions these are, as world * N + agent.
            alive: [B, N] bool, members that are there; None for all.
        """
        if not self.action_guards and not self.resample:
            return action
        if noise is None:
            probability = nn.functional.one_hot(action, logits.shape[-1]).double()
        else:
            probability = logits.double().softmax(-1)
        world, agent = rows // self.shape.num_agents, rows % self.shape.num_agents
        overruled = []
        for guard in self.action_guards:
            mine = agent == guard.node
            if alive is not None:
                mine = mine & alive[world, agent]
            at = mine.nonzero().squeeze(-1)
            out = guard.draw(probability[at], None if noise is None else noise[at], world[at], step)
            if out is not None:
                drawn, kept = out
                at = at[kept]
                action = action.index_put((at,), guard.overrule(drawn, action[at]))
                overruled.append(_Overruled(guard, drawn, at))
        if self.resample:
            action = self._draw_again(logits, action, noise)
        for done in overruled:
            done.guard.settle(done.drawn, action[done.at], self.resample)
        return action

    def _draw_again(self, logits: Tensor, action: Tensor, noise: Tensor | None) -> Tensor:
        """Some actions as the policy would draw them again."""
        again = torch.rand(action.shape, generator=self.warden, device=action.device) < self.resample
        fresh = torch.empty_like(logits).exponential_(generator=self.warden).log_()
        return torch.where(again, (logits if noise is None else logits - fresh).argmax(-1), action)
