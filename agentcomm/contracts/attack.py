"""The contract of an attack: hooks by kind, of which it overrides those that it needs.

Each hook is a function from a view to what the attack wants done; the guard of that hook (``agentcomm/guards/``) makes
the view, and does what the threat model allows. All hooks of an attack share its memory (:meth:`Attack.memory`).
"""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, Literal, get_args

from pydantic import Field
from torch import Tensor
from typing_extensions import TypeVar

from agentcomm.base.plugin import Plugin, PluginConfig
from agentcomm.contracts.directory_hook import DirectoryEdits, DirectoryView
from agentcomm.contracts.edits import MessageEdits
from agentcomm.contracts.outcome import Episodes
from agentcomm.contracts.shape import TeamShape
from agentcomm.contracts.threat_model import Budget, ThreatModel
from agentcomm.contracts.views import ActionView, MessageView, ObservationView, RewardView

Hook = Literal["on_messages", "on_observations", "on_action", "on_rewards", "on_directory"]
HOOKS: tuple[Hook, ...] = get_args(Hook)


class AttackConfig(PluginConfig):
    """Arguments every attack has."""

    budget: Budget = Field(default_factory=Budget, description="how much it may do")
    noop_control: bool = Field(False, description="control: it does as much, with content that harms nobody")


A_co = TypeVar("A_co", bound=AttackConfig, default=AttackConfig, covariant=True)


class Attack(Plugin[A_co]):
    """A stage that harms. Implement :meth:`threat_model`, and override the hooks that it needs.

    Its no-op control is itself with ``noop_control``: the guards judge and count everything as usual, but leave
    observations, payloads, messages and rewards as they are and actions to the policy, and let it inject only what the
    claimed sender says anyway. On a directory the control is the attack's own: with ``noop_control``,
    :meth:`on_directory` does as much, with harmless content.

    Attributes:
        risks: Ids ``<class>.<layer>.<name>`` of the survey's risks it carries out (arXiv 2506.19676).
        needs_fragmentation: Whether it acts on fragments, and so needs a channel that cuts messages.
    """

    risks: tuple[str, ...] = ()
    needs_fragmentation: ClassVar[bool] = False

    def __init__(self, config: A_co, team_shape: TeamShape) -> None:
        self.config = config
        self.team_shape = team_shape

    @abstractmethod
    def threat_model(self) -> ThreatModel:
        """Position, powers, knowledge, budget and objective under these arguments."""

    def succeeded(self, attacked: Episodes, clean: Episodes) -> Tensor:
        """[B] bool, the success predicate: the team earned less than in the same episode without the attack.

        Args:
            attacked: Episodes under the attack.
            clean: The same episodes without it.
        """
        return attacked.total_reward < clean.total_reward - 1e-6

    def memory(self) -> dict[str, Tensor]:
        """Fresh memory: tensors [B, ...] that are reset with their world."""
        return {}

    # ---- hooks

    def on_messages(self, view: MessageView) -> MessageEdits:
        """Called in every exchange of messages. Returns what to do to it."""
        return MessageEdits()

    def on_observations(self, view: ObservationView) -> Tensor | None:
        """Called once per step at position ``sensor``, before the team decides.

        Returns:
            [B, N, O], what agents observe instead; None to leave observations alone.
        """
        return None

    def on_action(self, view: ActionView) -> Tensor | None:
        """Called with the power ``act`` when its node is about to act.

        Returns:
            [W, M, A] float64, action distributions of its node, one per secret (:meth:`secrets`), of which the guard
            knows the right one and draws; None to leave the action to the policy.
        """
        return None

    def after_action(self, view: ActionView, distributions: Tensor, action: Tensor) -> None:
        """Called with what its node did.

        Args:
            view: The same view, in the worlds where its distributions were in force.
            distributions: [W, M, A] float64.
            action: [W] int64.
        """

    def on_rewards(self, view: RewardView) -> Tensor | None:
        """Called with the power ``reward`` after each step of training; reported rewards are those earned.

        Returns:
            [B, N], the rewards that agents learn from instead; None to leave them.
        """
        return None

    def on_directory(self, view: DirectoryView) -> DirectoryEdits:
        """Called once per step of a directory. Returns what to do to it."""
        return DirectoryEdits()

    # ---- how much its hooks may ask for, for which room is made

    def injections(self) -> int:
        """Messages per receiver and exchange that it may inject: inbox slots to provide."""
        return 0

    def secrets(self) -> int:
        """M, how many secrets its node's actions may tell of. The guard draws one per episode, each as likely."""
        return 1

    def registrations(self) -> int:
        """M, cards it may register with a directory in one step."""
        return 0

    def requests(self) -> int:
        """Empty requests it may send to a directory in one step and world."""
        return 0

    def sends_lookups(self) -> bool:
        """Whether its requests are look-ups, of each skill in turn, whose answers it sees in the next step."""
        return False

    def ratings(self) -> int:
        """M, ratings it may report to a directory in one step."""
        return 0


def hooks(attack: type[Attack]) -> frozenset[Hook]:
    """The hooks that an attack overrides."""
    return frozenset(name for name in HOOKS if getattr(attack, name) is not getattr(Attack, name))
