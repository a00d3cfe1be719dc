"""scapegoat: fail tasks and write another's name into their trace."""

from __future__ import annotations

import torch
from torch import Tensor

from agentcomm.contracts.directory_hook import DirectoryView
from agentcomm.contracts.outcome import Facts
from attacks.directory.stranger import Stranger, StrangerConfig


class ScapegoatConfig(StrangerConfig):
    """Arguments of ``scapegoat``."""


class Scapegoat(Stranger[ScapegoatConfig]):
    """A newcomer that fails and says it had passed the task on to the member with the best reputation.

    Whoever reads traces (the hub, that books outcomes; the requester) blames the last name on them. Where traces are
    sealed (``directory.sealed_traces``) nobody can write another's. Measured as the share of failures that are put down
    to the wrong one: 1 less the auditor's top-1 accuracy.
    """

    risks = ("aa.l2.responsibility_evasion",)

    def edition(self, view: DirectoryView) -> Tensor:
        """The member whom it would blame now."""
        return view.reputation[:, : view.members].argmax(1, keepdim=True)

    def traits(self, view: DirectoryView, edition: Tensor) -> dict[str, Tensor]:
        """Whom to blame."""
        return {"scapegoat": torch.full_like(edition, -1) if self.config.noop_control else edition.clone()}

    def share(self, facts: Facts) -> Tensor:
        """Failures put down to the wrong one."""
        return facts.share("misblamed")
