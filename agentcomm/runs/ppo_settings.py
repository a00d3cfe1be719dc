"""Arguments of PPO, in a module of their own so that reading a config does not import torch."""

from __future__ import annotations

from pydantic import Field

from agentcomm.base.fields import Strict


class PPOSettings(Strict):
    """Arguments of PPO."""

    learning_rate: float = Field(3e-3, gt=0, description="learning rate of Adam at the start")
    final_learning_rate: float = Field(1e-4, gt=0, description="learning rate at the end of training (linear decay)")
    epochs: int = Field(3, ge=1, description="passes over each batch")
    minibatch: int | None = Field(512, ge=1, description="joint steps per gradient step; none for the whole batch")
    chunk: int = Field(16, ge=1, description="most steps through which a policy with a memory is unrolled at once")
    clip: float = Field(0.2, gt=0, lt=1, description="clipping range of the probability ratio")
    gamma: float = Field(0.99, ge=0, le=1, description="discount factor")
    gae_lambda: float = Field(0.95, ge=0, le=1, description="lambda of generalized advantage estimation")
    entropy: float = Field(0.02, ge=0, description="weight of the entropy bonus at the start")
    final_entropy: float = Field(0.002, ge=0, description="weight at the end of training (linear decay)")
    gate_entropy: float = Field(
        0.0, ge=0, description="weight of the entropy bonus of gates and of choices of senders that are actions"
    )
    value_weight: float = Field(0.5, ge=0, description="weight of the value loss (Huber)")
    max_grad_norm: float = Field(1.0, gt=0, description="gradients are clipped to this norm")
    graph_every: int = Field(1, ge=1, description="epochs between updates of a straight-through graph")
    held_out: float = Field(0.125, ge=0, lt=1, description="share of worlds held out for the updates of such a graph")
