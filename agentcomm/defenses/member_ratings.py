"""member_ratings: a directory books only ratings by members of the team.

Answers bad-mouthing and ballot stuffing by outsiders. A compromised member can still do both.
"""

from __future__ import annotations

from torch import Tensor

from agentcomm.contracts.defense import Defense
from agentcomm.contracts.directory_defense import DirectoryRequests, DirectoryVerdicts


class MemberRatings(Defense):
    """Refuses the ratings of outsiders."""

    order = "authorize"
    answers = ("aa.l2.evidence_based_ranking",)
    adaptive = ("rug_pull",)
    fails_open = False

    def on_directory(self, requests: DirectoryRequests, memory: dict[str, Tensor]) -> DirectoryVerdicts:
        """Refuse ratings by outsiders."""
        return DirectoryVerdicts(refuse_ratings=~requests.rating_by_member)
