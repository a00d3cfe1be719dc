"""Arguments of the task market, and the names of its actions."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from agentcomm.contracts.world import WorldConfig
from agentcomm.directory.config import DirectoryConfig

ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth")


class TaskMarketConfig(WorldConfig):
    """Arguments of the task market."""

    requesters: int = Field(3, ge=1, le=1024, description="agents that have tasks")
    workers: int = Field(6, ge=2, le=1024, description="agents that do tasks")
    skills: int = Field(3, ge=1, le=64, description="sorts of tasks")
    able: float = Field(0.5, ge=0, le=1, description="chance that a worker has a skill")
    inflated: float = Field(0.5, ge=0, le=1, description="chance that a worker claims a skill that it has not")
    deadline: int = Field(4, ge=2, description="steps until a task expires")
    hops: int = Field(2, ge=0, le=16, description="times a task may be passed on")
    price: float = Field(0.4, ge=0, le=1, description="what a delivered task costs its requester")
    commission: float = Field(0.05, ge=0, le=1, description="part of the price for each worker that passed it on")
    fine: float = Field(0.2, ge=0, description="what a failing worker pays to the requester")
    pooled: float = Field(1.0, ge=0, le=1, description="part of all earnings that is split evenly among the team")
    goal: float = Field(0.75, ge=0, le=1, description="share of delivered tasks from which an episode is a success")
    directory: DirectoryConfig = Field(DirectoryConfig(), description="the hub")
    max_steps: int = Field(20, ge=1, description="steps of an episode")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.directory.slots < self.workers:
            raise ValueError(f"directory.slots={self.directory.slots} has no place for {self.workers} workers")
        if self.directory.listed > len(ORDINALS):
            raise ValueError(f"directory.listed={self.directory.listed} is more than {len(ORDINALS)}")
        if self.commission * self.hops > self.price:
            raise ValueError(f"commission={self.commission} for {self.hops} hops is more than price={self.price}")
        return self
