"""PPO for a communicating team: advantages, the loss, and the bi-level update. Plain torch, no Ray.

The probability ratio is per agent, jointly for action and gate; a choice of senders has a ratio of its own. A learned
graph is trained by CommFormer's bi-level scheme (arXiv 2405.08550, first-order): the model is updated with the recorded
graphs fixed, the graph with the model fixed (:mod:`agentcomm.training.graph_step`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from agentcomm.base.calling import calling
from agentcomm.base.errors import NumberError
from agentcomm.base.numbers import FIXES, all_finite, first_not_finite, shown
from agentcomm.contracts.policy import CommPolicy
from agentcomm.runs.ppo_settings import PPOSettings
from agentcomm.step.replay import Reevaluation, reevaluate
from agentcomm.training.gate_step import GateStep, price_of, watch
from agentcomm.training.graph_step import GraphStep
from agentcomm.training.minibatches import batch_of

Rows = dict[str, Tensor]

# Straight-through decisions are not in the ratio, so clipping does not hold them: their gradient stops for the rest of
# an update once this share of the recorded decisions would flip.
MOST_FLIPPED = 0.05
CHECKED = ("policy_loss", "value_loss", "entropy", "loss", "grad_norm")  # statistics that must be finite


def advantages(
    reward: Tensor,
    value: Tensor,
    ends: Tensor,
    bootstrap: Tensor,
    last_value: Tensor,
    gamma: float,
    gae_lambda: float,
) -> Tensor:
    """Generalized advantage estimates (Schulman et al. 2016, eq. 16) over T steps.

    Args:
        reward: [T, B, N].
        value: [T, B, N] of the state acted in.
        ends: [T, B, N] bool, whether an agent's return ends: with the episode, or because it left.
        bootstrap: [T, B, N] value of the final state where the episode was truncated, else 0.
        last_value: [B, N] value of the state after the last step.
        gamma: Discount.
        gae_lambda: Decay of the sum.

    Returns:
        [T, B, N].
    """
    out = torch.empty_like(reward)
    following, running = last_value, torch.zeros_like(last_value)
    for t in reversed(range(reward.shape[0])):
        delta = reward[t] + gamma * torch.where(ends[t], bootstrap[t], following) - value[t]
        running = delta + gamma * gae_lambda * running.masked_fill(ends[t], 0.0)
        out[t] = running
        following = value[t]
    return out


def ppo_loss(
    policy: CommPolicy,
    rows: Mapping[str, Tensor],
    settings: PPOSettings,
    entropy: float,
    graph_gradient: bool,
    advantage_scale: float | Tensor = 1.0,
    frozen: Tensor | bool = False,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Clipped surrogate, Huber value loss and entropy bonus.

    The ratio of an agent is that of its gate and, if its action counted, of its action. The value loss includes all
    agents: an inactive agent still has a return, from which its earlier steps bootstrap.

    Args:
        policy: The policy.
        rows: Columns of :func:`agentcomm.step.replay.reevaluate`, and ``advantage``, ``target``, ``active``,
            ``log_probability``, ``gate_log_probability`` [R, N].
        settings: PPO's arguments.
        entropy: Current weight of the entropy bonus.
        graph_gradient: Whether gradients reach the graph.
        advantage_scale: Divisor of the advantages, also applied to the cost of straight-through gates.
        frozen: Whether no gradient reaches straight-through gates and dynamic graphs, [] bool or known beforehand.
    """
    with calling(f"policy {policy.name!r}", "an update"):
        now = reevaluate(policy, rows, graph_gradient, frozen)
    acted = rows["active"].float()
    act_share = acted / acted.sum().clamp_min(1)
    alive = rows["alive"].float() if "alive" in rows else torch.ones_like(acted)
    alive_share = alive / alive.sum().clamp_min(1)
    share = alive_share if _decides_on_links(policy) else act_share

    def mean(x: Tensor, over: Tensor = share) -> Tensor:
        return (x * over).sum()

    acting = (now.log_probability - rows["log_probability"]) * acted
    log_ratio = acting + now.gate_log_probability - rows["gate_log_probability"]
    ratio, advantage = log_ratio.exp(), rows["advantage"]
    if policy.topology.acts:
        linking = now.gate_log_probability - rows["gate_log_probability"]
        surrogate = mean(_clipped(acting.exp(), advantage, settings.clip), act_share)
        surrogate = surrogate + mean(_clipped(linking.exp(), _with_others(advantage * alive), settings.clip))
    else:
        surrogate = mean(_clipped(ratio, advantage, settings.clip))
    target = (rows["target"] - policy.return_mean) / policy.return_scale
    value_loss = mean(nn.functional.huber_loss(now.value, target, reduction="none"), alive_share)
    loss = -surrogate + settings.value_weight * value_loss
    loss = _add_costs(loss, policy, now, alive_share, advantage_scale)
    if now.nats is not None and not graph_gradient:
        policy.message_noise.note(now.nats)
    loss = loss - entropy * mean(now.entropy, act_share) - settings.gate_entropy * mean(now.gate_entropy)
    with torch.no_grad():
        stats = {
            "policy_loss": -surrogate,
            "value_loss": value_loss,
            "entropy": mean(now.entropy, act_share),
            "kl": mean(ratio - 1 - log_ratio),
            "clip_fraction": mean(((ratio - 1).abs() > settings.clip).float()),
            "ratio_error": (ratio - 1).abs().max(),
        }
    return loss, stats | watch(now.choices)


def _clipped(ratio: Tensor, advantage: Tensor, clip: float) -> Tensor:
    """[R, N], the clipped surrogate of PPO."""
    return torch.minimum(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage)


def _with_others(advantage: Tensor) -> Tensor:
    """[R, N], advantages of agents plus the sum of the others' over N, whose noise must not drown their own.

    Who listens to a sender may take it from others, which the agent's own advantage does not tell.
    """
    agents = advantage.shape[1]
    return advantage + (advantage.sum(1, keepdim=True) - advantage) / agents


def _decides_on_links(policy: CommPolicy) -> bool:
    """Whether agents have actions that decide on their links, in whose ratio they are."""
    return policy.topology.acts or (policy.gate is not None and not policy.gate.straight_through)


def _open_rate(rows: Mapping[str, Tensor]) -> Tensor:
    """[], share of gates that decided to open, among those of present members that were not forced open."""
    decided = rows.get("alive", torch.ones_like(rows["gate"]))
    if "gate_noise" in rows:
        decided = decided & rows["gate_noise"].isfinite()
    return (rows["gate"] & decided).sum() / decided.sum().clamp_min(1)


def _add_costs(
    loss: Tensor, policy: CommPolicy, now: Reevaluation, alive_share: Tensor, advantage_scale: float | Tensor
) -> Tensor:
    """Add the cost of straight-through gates, the policy's auxiliary loss and the cost of message bits to a loss.

    Args:
        loss: The loss without these terms.
        policy: The policy.
        now: The reevaluated rows.
        alive_share: [R, N] weight of each present agent; sums to 1.
        advantage_scale: Divisor of the advantages.
    """
    if policy.gate is not None and policy.gate.straight_through:
        loss = loss + price_of(policy, now.openness, alive_share, advantage_scale)
    if now.auxiliary is not None:
        loss = loss + now.auxiliary
    if now.price is not None:
        loss = loss + (now.price * alive_share).sum()
    if now.nats is not None:
        # Each sender pays for its message, in every round.
        loss = loss + policy.message_noise.weight * (now.nats.sum((1, 3)) * alive_share).sum()
    return loss


class Update:
    """One PPO update, minibatch by minibatch.

    Args:
        policy: The policy in training.
        settings: PPO's arguments.
        optimizer: Optimizer of the model's parameters.
        graph_optimizer: Optimizer of the graph's parameters, if it has any.
        generator: Shuffles rows.
    """

    def __init__(
        self,
        policy: CommPolicy,
        settings: PPOSettings,
        optimizer: torch.optim.Optimizer,
        graph_optimizer: torch.optim.Optimizer | None,
        generator: torch.Generator,
    ) -> None:
        self.policy, self.settings, self.generator = policy, settings, generator
        self.optimizer = optimizer
        graph = policy.graph_parameters()
        own = {id(p) for p in graph}
        self.parameters = [p for p in policy.parameters() if id(p) not in own]
        self.graph = (
            None if graph_optimizer is None else GraphStep(policy.topology, graph, graph_optimizer, policy.rounds)
        )
        self.gates = GateStep(policy, generator)
        self.entropy, self.learning_rate = settings.entropy, settings.learning_rate
        self._held_out: Rows = {}
        self._advantage_scale: float | Tensor = 1.0
        self._graph_due = False
        self._frozen: Tensor | bool = False
        self._epoch = 0
        # Reading a number off an accelerator waits for it, so there all gradient steps are checked after the last.
        self.checks_late = next(policy.parameters()).device.type != "cpu"
        self._to_check: list[tuple[int, Rows]] = []

    def anneal_rates(self, progress: float) -> None:
        """Set learning rate and entropy weight for the share of training done (0 .. 1)."""
        s, left = self.settings, 1 - min(progress, 1.0)
        self.entropy = s.final_entropy + (s.entropy - s.final_entropy) * left
        self.learning_rate = s.final_learning_rate + (s.learning_rate - s.final_learning_rate) * left
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate

    def anneal_policy(self, progress: float) -> None:
        """Anneal the policy to the share of training done; only between an update and the next rollout."""
        self.policy.anneal(progress)

    def minibatches(self, columns: Rows) -> Iterator[Rows]:
        """Prepare a batch (normalize it, update the graph or hold out worlds) and iterate over its minibatches."""
        target, alive = columns["target"], columns.get("alive")
        computed = {name: columns[name] for name in ("advantage", "target")}  # the rest was checked in rollouts
        if (name := first_not_finite(computed)) is not None:
            raise NumberError(f"PPO: the {name} of the batch is not finite; {FIXES['policy']}")
        self._track_returns(target if alive is None else target[alive])
        rows = dict(columns)
        advantage = rows["advantage"]
        gate = self.policy.gate
        # A gate that is an action also acts where its agent has no other action.
        acting = rows.get("alive") if _decides_on_links(self.policy) else rows["active"]
        chosen = advantage if acting is None else advantage[acting]
        self._advantage_scale = 1.0
        if chosen.numel() > 1:  # fewer have no spread, as where all agents but one have left
            self._advantage_scale = chosen.std() + 1e-8
            rows["advantage"] = (advantage - chosen.mean()) / self._advantage_scale
        if gate is not None:
            gate.note(_open_rate(rows))
        self._frozen = False
        held = rows.pop("held_out")
        self._held_out = {}
        if self.graph is not None:
            self.graph.on_fresh(rows)
        for name in ("observation", "action", "links", "source"):  # recorded as small integers, used as indices
            if name in rows and not rows[name].is_floating_point():
                rows[name] = rows[name].long()
        batch = batch_of(self.policy, rows, self.settings)
        if self.graph is not None and bool(held.any()):
            batch, self._held_out = batch.without(held)
        if self.policy.topology.learned:  # only the update of the graph needs the draws
            batch.rows.pop("draw", None)
        for epoch in range(self.settings.epochs):
            self._epoch = epoch
            self._graph_due = epoch % self.settings.graph_every == 0
            yield from batch.epoch(epoch, self.policy, self.generator)

    def step(self, rows: Rows) -> dict[str, Tensor]:
        """One gradient step of the model and, at the start of an epoch, one of the graph if it is due.

        Raises:
            NumberError: If the loss or a gradient is not finite; the parameters are left as they were. On an
                accelerator, :meth:`check_weights` raises it after the last step.
        """
        scale, moving = self._advantage_scale, self.gates.applies(rows)
        frozen = True if moving else self._frozen
        loss, stats = ppo_loss(self.policy, rows, self.settings, self.entropy, False, scale, frozen)
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        if moving:
            stats |= self.gates.add_gradients(rows, scale, self._frozen)
        stats["grad_norm"] = nn.utils.clip_grad_norm_(self.parameters, self.settings.max_grad_norm)
        stats["loss"] = loss.detach()
        if self.checks_late:
            self._to_check.append((self._epoch, {name: stats[name].detach() for name in CHECKED}))
        else:
            self._check(stats, self._epoch)
        self.optimizer.step()
        if "flipped" in stats:
            self._frozen = (stats["flipped"] > MOST_FLIPPED) | self._frozen
        graph_due, self._graph_due = self._graph_due and bool(self._held_out), False
        if graph_due and self.graph is not None and self.graph.due:
            self.graph.step(ppo_loss(self.policy, self._held_out, self.settings, 0.0, True, scale)[0])
        return stats

    def _check(self, stats: Mapping[str, Tensor], epoch: int) -> None:
        """Check loss and gradients of a step."""
        if all_finite([stats["loss"], stats["grad_norm"]]):
            return
        where = f"PPO, epoch {epoch + 1} of {self.settings.epochs}"
        losses = {name: stats[name] for name in CHECKED if name != "grad_norm"}
        if (name := first_not_finite(losses)) is not None:
            raise NumberError(
                f"{where}: the {name.replace('_', ' ')} is {shown(float(losses[name].detach()))}; {FIXES['policy']}"
            )
        graded = {name: p.grad for name, p in self.policy.named_parameters() if p.grad is not None}
        name = first_not_finite(graded) or "their norm"
        raise NumberError(f"{where}: the gradient is not finite ({name}); {FIXES['policy']}")

    def check_weights(self) -> None:
        """Check all parameters and buffers of the policy, after an update, and its steps if they were not checked.

        Raises:
            NumberError: If one is not finite.
        """
        late, self._to_check = self._to_check, []
        if late and not all_finite([value for _, stats in late for value in (stats["loss"], stats["grad_norm"])]):
            for epoch, stats in late:
                self._check(stats, epoch)
        if (name := first_not_finite(self.policy.state_dict())) is not None:
            raise NumberError(f"PPO: {name!r} of policy {self.policy.name!r} is not finite; {FIXES['policy']}")

    def run(self, columns: Rows) -> dict[str, float]:
        """Run the whole update; returns the statistics of its last step.

        Raises:
            NumberError: If something in it is not finite.
        """
        stats: dict[str, Any] = {}
        first: Tensor | None = None
        for rows in self.minibatches(columns):
            stats = self.step(rows)
            first = stats["ratio_error"] if first is None else first
        self.check_weights()
        out = {name: float(value.detach()) for name, value in stats.items()}
        return out if first is None else out | {"first_ratio_error": float(first)}

    def _track_returns(self, target: Tensor) -> None:
        """Update the running mean and spread of the returns (value normalization, Yu et al. 2022), if they have any."""
        if target.numel() < 2:
            return
        with torch.no_grad():
            new = self.policy.return_scale == 1.0
            rate = torch.where(new & (self.policy.return_mean == 0.0), 1.0, 0.05)
            mean, spread = target.mean(), target.std().clamp_min(1e-3)
            if not all_finite([mean, spread]):
                raise NumberError("PPO: mean or spread of the returns is infinite; scale down the rewards")
            self.policy.return_mean.lerp_(mean, rate)
            self.policy.return_scale.lerp_(spread, rate)
