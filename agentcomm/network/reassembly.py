"""Reassembly with checks: what defenses say of fragments before these take up a receiver's buffer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from agentcomm.base.answers import check_tensor
from agentcomm.base.calling import calling
from agentcomm.base.state import Memory, State
from agentcomm.contracts.defense import Defense
from agentcomm.contracts.fragments import ENTRIES, MESSAGE, ArrivingFragments, ForgedFragments
from agentcomm.contracts.shape import TeamShape
from agentcomm.contracts.traffic import Traffic
from agentcomm.contracts.verdicts import Draws
from agentcomm.network.stages.stage import draws_of


@dataclass(frozen=True)
class AcceptedFragments:
    """What receivers let into their buffers: messages [B, N, M] bool, and forged fragments."""

    message: Tensor
    forged: ForgedFragments | None


class CheckedReassembly(State):
    """The checks of all defenses with the hook ``reassemble``, in their order.

    Args:
        checks: Each defense with its memory, which the network resets and saves.
        shape: Shape of the team.

    Attributes:
        tag_bytes: Bytes that every fragment carries for them.
        refused: [B, N, M] bool, messages refused in the present exchange, by the name of the defense.
    """

    keeps = ("completed", "failed")

    def __init__(self, checks: Sequence[tuple[Defense, Memory]], shape: TeamShape) -> None:
        self.checks, self.agents = list(checks), shape.num_agents
        self.tag_bytes = sum(defense.fragment_bytes for defense, _ in checks)
        sizes = (shape.num_worlds, shape.num_agents, shape.num_agents + 1)
        self.completed = torch.zeros(sizes, dtype=torch.int64, device=shape.device)
        self.failed = torch.zeros_like(self.completed)
        self.refused: dict[str, Tensor] = {}
        self._proved = torch.zeros(0, dtype=torch.bool, device=shape.device)

    def reset(self, worlds: Tensor) -> None:
        """Forget the episodes of the given worlds ([W] indices)."""
        self.completed[worlds] = 0
        self.failed[worlds] = 0

    def begin(self, traffic: Traffic, altered: Tensor) -> None:
        """Begin an exchange with the messages on the wire, some of which [B, N, M] an attack changed there."""
        self.refused = {}
        self._proved = (traffic.origin == traffic.sender) & (traffic.sender < self.agents) & ~altered

    def accept(
        self, arriving: Tensor, sender: Tensor, forged: ForgedFragments | None, step: Tensor, round_: int
    ) -> AcceptedFragments:
        """See :meth:`agentcomm.contracts.fragments.Reassembly.accept`."""
        refused = torch.zeros(*arriving.shape, len(ENTRIES), dtype=torch.bool, device=arriving.device)
        for defense, memory in self.checks:
            what = f"defense {defense.name!r}"
            view = self._view(arriving, sender, forged, step, round_, draws_of(defense, memory))
            with calling(what, "reassemble"):
                wanted = defense.reassemble(view, memory.tensors)
            check_tensor(what, "reassemble", wanted, tuple(refused.shape), torch.bool)
            if wanted is not None:
                self.refused[defense.name] = arriving & wanted[..., MESSAGE] & ~refused[..., MESSAGE]
                refused = refused | wanted
        self.completed.zero_()
        self.failed.zero_()
        keep = ~refused
        if forged is not None:
            begin, stray, early, _, middle = keep.unbind(-1)
            forged = replace(
                forged,
                begin=forged.begin * begin,
                stray=forged.stray * stray,
                early=forged.early & early,
                middle=forged.middle & middle,
            )
        return AcceptedFragments(keep[..., MESSAGE], forged)

    def note(self, completed: Tensor, failed: Tensor) -> None:
        """See :meth:`agentcomm.contracts.fragments.Reassembly.note`."""
        self.completed += completed
        self.failed += failed

    def _view(
        self, arriving: Tensor, sender: Tensor, forged: ForgedFragments | None, step: Tensor, round_: int, draws: Draws
    ) -> ArrivingFragments:
        """The claimed sender of each entry, and which tags are right."""
        no = torch.zeros_like(arriving)
        count = torch.stack([arriving.long() if name == "message" else no.long() for name in ENTRIES], -1)
        names = sender.unsqueeze(-1).expand_as(count)
        middle = no
        if forged is not None:
            count = torch.stack(
                [forged.begin, forged.stray, forged.early.long(), arriving.long(), forged.middle.long()], -1
            )
            names = torch.stack([forged.sender, forged.sender, sender, sender, sender], -1)
            middle = forged.chained
        # An altered message has the tags of what it said before. Without a key, the attacker makes new ones.
        return ArrivingFragments(
            step=step,
            round=round_,
            count=count,
            sender=names,
            keyed=torch.stack([no, no, no, self._proved, no], -1),
            chained=torch.stack([~no, no, ~no, ~no, middle], -1),
            completed=self.completed.clone(),
            failed=self.failed.clone(),
            draws=draws,
        )
