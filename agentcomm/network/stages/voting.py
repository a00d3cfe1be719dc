"""Voting: a defense chooses the parts of each inbox that the policy is asked about; its actions are decided by vote."""

from __future__ import annotations

import torch

from agentcomm.base.answers import check_tensor
from agentcomm.base.calling import calling
from agentcomm.contracts.inbox import Members
from agentcomm.network.exchange import Exchange
from agentcomm.network.stages.defending import inbox_view
from agentcomm.network.stages.stage import DefenseStage


class ChooseSubsets(DefenseStage):
    """One defense chooses subsets of each inbox."""

    def __call__(self, x: Exchange) -> None:
        """Hand the subsets on with the inboxes."""
        with calling(self.who, "subsets"):
            heard = self.defense.subsets(inbox_view(x, self.draws), self.memory.tensors)
        if heard is not None:
            check_tensor(self.who, "subsets", heard, (None, *x.traffic.present.shape), torch.bool)
            x.members = Members(heard, self.defense.noise, self.draws.randn)
