"""Where attacks and defenses are deployed: what they may need of a team, its messages and its environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agentcomm.contracts.shape import TeamShape

if TYPE_CHECKING:
    from agentcomm.contracts.channel import Channel
    from agentcomm.contracts.codec import Codec
    from agentcomm.contracts.defense import Defense


@dataclass(frozen=True)
class Deployment:
    """A team, its transport and its environment, as far as attacks and defenses can depend on them.

    Attributes:
        shape: Shape of the team.
        environment: Name of its environment.
        directory: Whether its members find each other through a directory.
        votes: Whether its members' actions are votes for one of the same options.
        gated: Whether its policy has gates.
        remembers: Whether its policy remembers the messages of earlier steps.
        predictable: Whether attacks can compute what its policy would do, with gradients.
        codec: Compresses payloads; None for uncompressed float32 numbers.
        channels: The channels that messages pass.
        defenses: All defenses of the team.
        greedy: Whether the team takes the likeliest actions; None if that is not known.
        obedience: Probability that members obey a directive in a message.
        directory_obedience: Probability that members follow an instruction in a card's description.
        trained_under: Arguments of the attacks that were present in training, by name; None if they are not known.
    """

    shape: TeamShape
    environment: str
    directory: bool = False
    votes: bool = False
    gated: bool = False
    remembers: bool = False
    predictable: bool = True
    codec: Codec[Any] | None = None
    channels: tuple[Channel[Any], ...] = ()
    defenses: tuple[Defense[Any], ...] = ()
    greedy: bool | None = None
    obedience: float = 0.0
    directory_obedience: float = 0.0
    trained_under: Mapping[str, Mapping[str, Any]] | None = None

    @property
    def silent(self) -> bool:
        """Whether the team sends no messages."""
        return self.shape.degree == 0 or self.shape.rounds == 0
