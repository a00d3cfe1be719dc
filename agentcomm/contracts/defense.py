"""The contract of a defense: hooks by kind, of which it overrides those that it needs.

Each hook is a function from what receivers, actuators or a directory see to what the defense decides. Hooks on
messages and actions share a memory (:meth:`Defense.memory`); ``on_directory`` has one of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal, get_args

from pydantic import Field
from torch import Tensor
from typing_extensions import TypeVar

from agentcomm.base.plugin import Plugin, PluginConfig
from agentcomm.contracts.deployment import Deployment
from agentcomm.contracts.directory_defense import DirectoryRequests, DirectoryVerdicts
from agentcomm.contracts.directory_hook import DirectoryShape
from agentcomm.contracts.discrete import Discrete
from agentcomm.contracts.examples import Examples
from agentcomm.contracts.fragments import ArrivingFragments
from agentcomm.contracts.outgoing import Outgoing
from agentcomm.contracts.shape import TeamShape
from agentcomm.contracts.verdicts import (
    ActionRequest,
    ActionVerdicts,
    Delivered,
    ExchangeOutcome,
    InboxView,
    Responses,
    Verdicts,
)

Order = Literal[
    "schema", "authenticate", "freshness", "quota", "reassemble", "authorize", "content", "trust", "audit", "response"
]
ORDERS: tuple[Order, ...] = get_args(Order)
READING = ORDERS.index("content")  # defenses from this one on see decoded payloads, and may replace them

DefenseHook = Literal[
    "cover", "pad", "reassemble", "screen", "aggregate", "subsets", "on_action", "on_directory", "respond"
]
DEFENSE_HOOKS: tuple[DefenseHook, ...] = get_args(DefenseHook)
ON_MESSAGES: frozenset[DefenseHook] = frozenset(set(DEFENSE_HOOKS) - {"on_action", "on_directory"})


class DefenseConfig(PluginConfig):
    """Arguments every defense has."""


class IdentityConfig(DefenseConfig):
    """Arguments of a defense that keeps books by claimed sender."""

    unauthenticated: bool = Field(
        False,
        description="keep books by claimed sender even if nothing authenticates it; attackers can then frame others",
    )


D_co = TypeVar("D_co", bound=DefenseConfig, default=DefenseConfig, covariant=True)


class Defense(Plugin[D_co]):
    """A stage that protects. Override the hooks that it needs; the rest of the class says what it takes and costs.

    Attributes:
        order: Its place among the defenses; they always run in the order of ``ORDERS``.
        answers: Ids of the survey's defenses that it carries out (:mod:`agentcomm.base.countermeasures`).
        adaptive: Attacks, written as for ``--attack``, that know it and aim at its weakness. Without any it is shown as
            *not tested*.
        needs_seal: Whether messages must be sealed for it to work; a seal adds bytes to each.
        needs_identity: Whether it keeps books by claimed sender. It then needs a defense of order ``authenticate``,
            unless its config, an :class:`IdentityConfig`, does without.
        changes_payloads: Whether it scales, replaces or aggregates payloads.
        reads_originals: Whether it needs payloads that no other defense has changed.
        differentiable: Whether gradients of its result with respect to payloads are of use to an attacker.
        draws: Whether it draws random numbers; it draws them from the view that it is shown.
        in_training: Whether a team can be trained under it.
        reselects: Whether receivers hear the next best sender of their graph in place of one that it has quarantined.
        history: Steps of an episode that it remembers: 0 for none, None for all of them.
        latency: Steps by which it keeps messages back.
        refuses: Whether its ``screen`` may refuse messages; a defense that only scales or replaces them does not.
        fails_open: Whether it lets pass what it cannot judge, such as messages without a seal or a history.
        lossless: Whether clean messages pass unchanged, bit for bit. Defenses that pay for robustness with clean
            performance are not.
        any_actions: Whether its ``on_action`` works in every action space, not only with discrete actions.
        noise: Standard deviation of the Gaussian noise in each entry of what the members of a vote hear
            (:meth:`subsets`); it is drawn from the defense's generator, so set ``draws`` then.
        calibration: Clean episodes of the team that it needs before it can judge, in :meth:`calibrate`; 0 for none. It
            cannot be used in training then, where the team changes.
        calibrated: Whether it has been calibrated.
    """

    order: ClassVar[Order]
    answers: tuple[str, ...] = ()
    adaptive: tuple[str, ...] = ()
    needs_seal: ClassVar[bool] = False
    needs_identity: ClassVar[bool] = False
    changes_payloads: ClassVar[bool] = False
    reads_originals: ClassVar[bool] = False
    differentiable: ClassVar[bool] = False
    draws: ClassVar[bool] = False
    in_training: ClassVar[bool] = True
    reselects: bool = False
    history: ClassVar[int | None] = 0
    latency: ClassVar[int] = 0
    refuses: ClassVar[bool] = True
    fails_open: ClassVar[bool] = True
    lossless: ClassVar[bool] = True
    any_actions: ClassVar[bool] = True
    noise: float = 0.0
    calibration: ClassVar[int] = 0
    calibrated: bool = False

    def __init__(self, config: D_co, team_shape: TeamShape) -> None:
        self.config = config
        self.team_shape = team_shape

    @property
    def message_bytes(self) -> int:
        """Bytes that it adds to every message on the wire, besides the seal."""
        return 0

    def unmet(self, deployment: Deployment) -> str | None:
        """What it needs and does not find where it is deployed; None if it can work. It is refused with that text.

        Override it to add requirements, and call this method first: it checks hooks and the directory.
        """
        found = defense_hooks(type(self))
        if not found:
            return f"it overrides no hook, so it can do nothing: override {', '.join(DEFENSE_HOOKS[:-1])} or respond"
        if self.order not in ORDERS:
            return f"its order is {self.order!r}; choose one of {', '.join(ORDERS)}"
        if "on_directory" in found and not deployment.directory:
            return f"it needs a directory, but {deployment.environment} has none"
        if not self.any_actions and not isinstance(deployment.shape.actions, Discrete):
            return f"it knows discrete actions only, but those of {deployment.environment} are others"
        no_vote = self._no_vote(deployment) if "subsets" in found else None
        return no_vote or self._unidentified(deployment) or misplaced(deployment.defenses)

    def _no_vote(self, deployment: Deployment) -> str | None:
        """Why a policy cannot decide by a vote over subsets of its messages; None if it can."""
        if not deployment.predictable:
            return (
                "its vote asks what agents would do if they had heard other messages, and a callable is asked once per"
                " step: use another defense for this team, such as authenticate, clip or median"
            )
        voting = [other.name for other in deployment.defenses if "subsets" in defense_hooks(type(other))]
        if len(voting) > 1:
            return f"one defense at most can let the policy vote, but there are {', '.join(voting)}: deploy one of them"
        if deployment.shape.rounds > 1:
            number = deployment.shape.rounds
            return (
                f"its vote is over what agents hear in one round before they all act at once, but this policy exchanges"
                f" messages {number} times per step: use a policy with rounds=1 that does not act in turns"
            )
        if deployment.remembers:
            return (
                "its vote would not bound what a policy remembers of messages: use a policy without memory, or with"
                " memory: {heard: false}"
            )
        return None

    def _unidentified(self, deployment: Deployment) -> str | None:
        """Why it cannot keep books by claimed sender; None if it can, or keeps none."""
        waived = isinstance(self.config, IdentityConfig) and self.config.unauthenticated
        if not self.needs_identity or waived or any(authenticates(other) for other in deployment.defenses):
            return None
        return (
            "it keeps books by claimed sender, and nothing authenticates senders, so attackers could frame others:"
            f" deploy authenticate+{self.name}, or set unauthenticated=true to see what they can do"
        )

    def calibrate(self, examples: Examples) -> None:
        """Learn from clean messages of the team, before any hook is called; only with ``calibration`` above 0.

        Evaluation does so once per team and conditions, and gives what it sets on itself to its other instances: it
        must not depend on the number of worlds, and must not change later. Draw from ``examples.generator``; torch's
        global generator is seeded, too. There may be no message at all.

        Args:
            examples: Messages of ``calibration`` clean episodes.
        """

    def assumes(self, deployment: Deployment) -> dict[str, bool | float | str]:
        """What it takes for granted and no simulation checks, such as trusted hardware; named in its results."""
        return {}

    def memory(self) -> dict[str, Tensor]:
        """Fresh memory: tensors [B, ...] that are reset with their world."""
        return {}

    def directory_memory(self, shape: DirectoryShape) -> dict[str, Tensor]:
        """Fresh memory of ``on_directory``, in a directory of these sizes: tensors [B, ...]."""
        return {}

    @property
    def fragment_bytes(self) -> int:
        """Bytes that it adds to every fragment of a message that is fragmented."""
        return 0

    # ---- hooks; each may change its memory in place

    def reassemble(self, arriving: ArrivingFragments, memory: dict[str, Tensor]) -> Tensor | None:
        """Called where a channel fragments messages, before fragments take up a receiver's buffer.

        Returns:
            [B, N, M, E] bool, entries not to accept; None to accept all. A refused message never arrives.
        """
        return None

    def cover(self, outgoing: Outgoing, memory: dict[str, Tensor]) -> Tensor | None:
        """Called in every exchange, at the senders, before messages are sealed. Sends dummies, which receivers discard.

        Returns:
            [B, N, k] bool, links on which a dummy is sent where no message is; None for none.
        """
        return None

    def pad(self, size: Tensor) -> Tensor:
        """Called in every exchange, at the senders, once messages are written. Makes messages longer.

        Args:
            size: [B, N, M] int64 bytes.

        Returns:
            [B, N, M] int64 bytes on the wire, at least as many.
        """
        return size

    def screen(self, delivered: Delivered, memory: dict[str, Tensor]) -> Verdicts:
        """Called in every exchange. Judges each message by itself."""
        return Verdicts()

    def aggregate(self, inbox: InboxView, memory: dict[str, Tensor]) -> Tensor | None:
        """Called in every exchange, after all messages were screened. Changes the messages of an inbox together.

        Returns:
            [B, N, M, D] float32, payloads to use instead where ``inbox.present``; None to leave them. They become
            offsets to what the senders said, so gradients still reach these.
        """
        return None

    def subsets(self, inbox: InboxView, memory: dict[str, Tensor]) -> Tensor | None:
        """Called in every exchange, after all messages were screened and aggregated. Lets the policy decide by vote.

        The policy is asked once per subset what to do if it had heard that part of the messages only, with Gaussian
        noise of standard deviation :attr:`noise` in every entry, and does what most subsets lead to. With one subset
        there is no vote; it is what the team hears, and learns from, in training.

        Returns:
            [S, B, N, M] bool, the slots that each of S subsets may hear, whether or not a message is there; None to let
            the policy hear all.
        """
        return None

    def on_action(self, request: ActionRequest, memory: dict[str, Tensor]) -> ActionVerdicts:
        """Called when agents are about to act, after attacks on actions. Once per step, or per turn of agents."""
        return ActionVerdicts()

    def on_directory(self, requests: DirectoryRequests, memory: dict[str, Tensor]) -> DirectoryVerdicts:
        """Called when traces, requests or answers pass a directory. ``memory`` is that of :meth:`directory_memory`."""
        return DirectoryVerdicts()

    def respond(self, outcome: ExchangeOutcome, memory: dict[str, Tensor]) -> Responses:
        """Called at the end of every exchange. Answers an attack in the exchanges after it."""
        return Responses()


def defense_hooks(defense: type[Defense]) -> frozenset[DefenseHook]:
    """The hooks that a defense overrides."""
    return frozenset(name for name in DEFENSE_HOOKS if getattr(defense, name) is not getattr(Defense, name))


def authenticates(defense: Defense) -> bool:
    """Whether a defense authenticates the senders of messages."""
    return defense.order == "authenticate" and "screen" in defense_hooks(type(defense))


def misplaced(group: Sequence[Defense | type[Defense]]) -> str | None:
    """Why the defenses of a group cannot act in their order; None if they can.

    Args:
        group: The defenses as listed. They run by ``order``, those of one order as listed; all of them screen messages
            before any aggregates inboxes.
    """
    ran = sorted((d for d in group if d.order in ORDERS), key=_position)
    for at, reader in enumerate(ran):
        changers = [other for other in ran[:at] if other.changes_payloads]
        if reader.reads_originals and changers:
            other = changers[0]
            movable = _position(reader) == _position(other)
            fix = f"list them as {reader.name}+{other.name}" if movable else "leave one of them out"
            return f"{reader.name} needs payloads as they arrived, but {other.name} changes them before it: {fix}"
    return None


def _position(defense: Defense | type[Defense]) -> tuple[bool, int]:
    """Where a defense reads or changes payloads, among others."""
    kind = defense if isinstance(defense, type) else type(defense)
    return "aggregate" in defense_hooks(kind), ORDERS.index(defense.order)


def needs_judge(defense: Defense, deployment: Deployment, scores: bool = False) -> str | None:
    """Why a defense that acts on the decisions of others has nothing to act on; None if it has.

    Args:
        defense: The defense.
        deployment: Where it is deployed.
        scores: Whether scores are enough, besides refusals.
    """
    others = [other for other in deployment.defenses if type(other) is not type(defense)]
    judges = [other for other in others if "screen" in defense_hooks(type(other))]
    if "respond" not in defense_hooks(type(defense)):  # called before those that come after it
        judges = [other for other in judges if ORDERS.index(other.order) <= ORDERS.index(defense.order)]
    if any(other.refuses or scores for other in judges):
        return None
    named = ", ".join(other.name for other in others) or "none"
    what = "refuses or scores messages" if scores else "refuses messages"
    return f"it needs another defense that {what}, such as authenticate+{defense.name} (here: {named})"
