"""learned: rewrite messages by an attacker policy that was trained to harm the team (environment ``attacker``).

A black-box attack after AME (Sun et al., ICLR 2023) and R-MACRL (Xue et al., AAMAS 2022, arXiv 2108.03803): the
attacker needs the messages on the wire and, in training, the team's reward. Train it with ``agentcomm train`` in the
environment ``attacker``, whose arguments define its position and powers; the same position and powers apply here.
"""

from __future__ import annotations

from contextlib import closing
from typing import Annotated, Any, ClassVar, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from agentcomm.base.errors import ConfigError
from agentcomm.base.inputs import InputPath, find_input
from agentcomm.contracts.attack import AttackConfig
from agentcomm.contracts.policy import CommPolicy
from agentcomm.contracts.shape import TeamShape
from agentcomm.contracts.threat_model import Budget, Position
from agentcomm.contracts.views import MessageView
from agentcomm.runs import policy_file
from agentcomm.runs.assembly import make_world
from agentcomm.step.decide import decide
from attacks.ml.steered import Handle, Steered

# Largest change of a payload entry by an untrained attacker.
UNTRAINED_NORM = 1.0


class LearnedConfig(AttackConfig):
    """Arguments of ``learned`` and ``mask``."""

    budget: Budget = Field(
        default_factory=Budget, description="limits on the attack; those not given are as in training"
    )
    policy: Annotated[str | None, InputPath()] = Field(
        None,
        description="folder of the trained attacker's policy, such as runs/mine/teams/team-0/policy",
    )
    untrained: bool = Field(False, description="choose at random instead: the baseline of training")

    @model_validator(mode="after")
    def _trained_or_random(self) -> Self:
        if self.policy is None and not self.untrained:
            raise ValueError("policy=<folder of a trained attacker> is needed, or untrained=true to choose at random")
        return self


class Learned(Steered[LearnedConfig]):
    """Chooses by a trained policy how messages are rewritten."""

    risks = ("ua.l1.integrity", "aa.l3.semantic_rewriting")
    power: ClassVar[Handle] = "modify"

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """Random choices, with and without a small budget: a trained attacker needs a file."""
        return {"": {"untrained": True}, "small budget": {"untrained": True, "budget": {"per_episode": 3, "norm": 0.3}}}

    def __init__(self, config: LearnedConfig, team_shape: TeamShape) -> None:
        self._policy: CommPolicy | None = None
        place, budget = Position(kind="edge"), Budget(norm=UNTRAINED_NORM if self.power == "modify" else None)
        phrases = torch.zeros(team_shape.rounds, 0, team_shape.width)
        if config.policy is not None:
            saved = policy_file.load(find_input(config.policy), str(team_shape.device))
            with closing(make_world(saved.environment, 1, team_shape.device)) as world:
                trained = _steered(config.policy, world)
            _check(config.policy, trained, self.power, team_shape)
            place, budget, phrases = trained.place, trained.budget, trained.phrases
            self._policy = saved.policy.eval()
        budget = budget.model_copy(update={key: getattr(config.budget, key) for key in config.budget.model_fields_set})
        super().__init__(config, team_shape, place, self.power, budget, phrases)

    def choose(self, sight: Tensor, able: Tensor, view: MessageView) -> Tensor:
        """The most likely choice of the trained policy, or a random one."""
        policy = self._policy
        if policy is None or self.config.untrained:
            return (view.rand(*able.shape) * len(self.actions)).long()
        graph = None if policy.topology.dynamic else policy.topology.graph(None, len(sight))
        return decide(policy, sight, graph, None, view.step, None).action


def _steered(folder: str, world: Any) -> Steered:
    """The attack that a policy was trained to steer in this world."""
    steered = getattr(world, "steered", None)
    if not isinstance(steered, Steered):
        raise ConfigError(f"the policy in {folder} was trained in environment {world.name!r}, not 'attacker'")
    return steered


def _check(folder: str, trained: Steered, power: Handle, team_shape: TeamShape) -> None:
    if trained.handle != power:
        other = {"modify": "learned", "drop": "mask"}[trained.handle]
        raise ConfigError(f"the attacker in {folder} was trained with power={trained.handle}: use attack {other!r}")
    sizes = {"agents": "num_agents", "senders per agent": "degree", "payload width": "width", "exchanges": "rounds"}
    for what, name in sizes.items():
        known, here = getattr(trained.team_shape, name), getattr(team_shape, name)
        if known != here:
            raise ConfigError(f"the attacker in {folder} was trained on a team with {what} {known}, not {here}")
