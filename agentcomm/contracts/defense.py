"""The contract of a defense: hooks by kind, of which it overrides those that it needs.

Each hook is a function from what receivers, actuators or a directory see to what the defense decides. Hooks on
messages and actions share a memory (:meth:`Defense.memory`); ``on_directory`` has one of its own.
"""

from __future__ import annotations

from typing import ClassVar, Literal, get_args

from pydantic import Field
from torch import Tensor
from typing_extensions import TypeVar

from agentcomm.base.plugin import Plugin, PluginConfig
from agentcomm.contracts.deployment import Deployment
from agentcomm.contracts.directory_defense import DirectoryRequests, DirectoryVerdicts
from agentcomm.contracts.directory_hook import DirectoryShape
from agentcomm.contracts.examples import Examples
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

DefenseHook = Literal["screen", "aggregate", "on_action", "on_directory", "respond"]
DEFENSE_HOOKS: tuple[DefenseHook, ...] = get_args(DefenseHook)
ON_MESSAGES: frozenset[DefenseHook] = frozenset(("screen", "aggregate", "respond"))


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
    reselects: ClassVar[bool] = False
    history: ClassVar[int | None] = 0
    latency: ClassVar[int] = 0
    refuses: ClassVar[bool] = True
    fails_open: ClassVar[bool] = True
    lossless: ClassVar[bool] = True
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
        return self._unidentified(deployment)

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

    def memory(self) -> dict[str, Tensor]:
        """Fresh memory: tensors [B, ...] that are reset with their world."""
        return {}

    def directory_memory(self, shape: DirectoryShape) -> dict[str, Tensor]:
        """Fresh memory of ``on_directory``, in a directory of these sizes: tensors [B, ...]."""
        return {}

    # ---- hooks; each may change its memory in place

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
