"""The contract of an attack: hooks on messages, observations, actions, rewards and a directory.

Each hook maps a view to the edits that the attack asks for; the hook's guard (``agentcomm/guards/``) builds the view
and carries out the edits that the threat model permits. All hooks of an attack share its memory
(:meth:`Attack.memory`).
"""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, Literal, get_args

from pydantic import Field
from torch import Tensor
from typing_extensions import TypeVar

from agentcomm.base.plugin import Plugin, PluginConfig
from agentcomm.contracts.deployment import Deployment
from agentcomm.contracts.directory_hook import DirectoryEdits, DirectoryView
from agentcomm.contracts.edits import MessageEdits
from agentcomm.contracts.outcome import Episodes
from agentcomm.contracts.shape import TeamShape
from agentcomm.contracts.threat_model import WHITE_BOX, Budget, ThreatModel
from agentcomm.contracts.views import ActionView, MessageView, ObservationView, RewardView

Hook = Literal["on_messages", "on_observations", "on_action", "on_rewards", "on_directory"]
RunAs = Literal["attack", "control", "silence"]
HOOKS: tuple[Hook, ...] = get_args(Hook)
# What a hook is called for, besides being overridden.
CALLED_FOR: dict[Hook, str] = {
    "on_observations": "position 'sensor'",
    "on_action": "power 'act'",
    "on_rewards": "power 'reward'",
}


class AttackConfig(PluginConfig):
    """Arguments every attack has."""

    budget: Budget = Field(default_factory=Budget, description="limits on the attack")
    run_as: RunAs = Field(
        "attack",
        description="run as itself, as its matched control, or (silence) with the messages that it touches dropped",
    )


A_co = TypeVar("A_co", bound=AttackConfig, default=AttackConfig, covariant=True)


class Attack(Plugin[A_co]):
    """An attack. Implement :meth:`threat_model`, and override the hooks that it needs.

    With ``run_as: control`` an attack runs as its matched control: the guards judge and charge its edits as usual, and
    carry out others that spend the same: changes of equal norm in a random direction, as many messages dropped or
    delayed at random, injected messages with true content (see :mod:`agentcomm.guards.matched`). With ``run_as:
    silence`` the team's messages that it touches are dropped, and none are injected. The attack is not told. One that
    sets ``own_control`` is told of its control by ``config.run_as``, and makes as many edits as otherwise, with
    harmless content.

    Attributes:
        risks: Ids ``<class>.<layer>.<name>`` of the risks in the survey arXiv 2506.19676 that it realizes.
        needs_fragmentation: Whether it acts on fragments, and so needs a channel that fragments messages.
        own_control: Whether it is told that it runs as its control, since the guards' would not spend the same.
        directs: Whether its messages are directives, which members obey with the evaluation's ``obedience``.
    """

    risks: tuple[str, ...] = ()
    needs_fragmentation: ClassVar[bool] = False
    own_control: ClassVar[bool] = False
    directs: ClassVar[bool] = False

    def __init__(self, config: A_co, team_shape: TeamShape) -> None:
        self.config = config
        self.team_shape = team_shape

    @abstractmethod
    def threat_model(self) -> ThreatModel:
        """The attack's position, powers, knowledge, budget and objective with these arguments."""

    def unmet(self, deployment: Deployment) -> str | None:
        """What it needs and does not find where it is deployed; None if it can work. It is refused with that text.

        Override it to add requirements, and call this method first: it checks hooks, powers, directory and channels.
        """
        found, threat = hooks(type(self)), self.threat_model()
        if not found:
            return f"it overrides no hook, so it can do nothing: override {', '.join(HOOKS[:-1])} or {HOOKS[-1]}"
        if "on_directory" in found and not deployment.directory:
            return f"it needs a directory, but {deployment.environment} has none"
        if threat.knowledge in WHITE_BOX and not deployment.predictable:
            return (
                f"it needs knowledge of the policy ({threat.knowledge}), but this policy is a function whose logits and"
                " gradients attacks cannot compute: choose an attack with knowledge none, protocol or graph"
                " (agentcomm list attacks)"
            )
        if self.needs_fragmentation and not any(channel.fragments_messages for channel in deployment.channels):
            return "it acts on fragments, but no channel fragments messages: add `--channel fragments`"
        never = {"on_observations": threat.position.kind != "sensor"}
        never |= {"on_action": "act" not in threat.powers, "on_rewards": "reward" not in threat.powers}
        if all(never.get(hook, False) for hook in found):
            needs = "; ".join(f"{hook} is called for {CALLED_FOR[hook]}" for hook in sorted(found))
            powers = ", ".join(sorted(threat.powers)) or "none"
            has = f"position {threat.position.kind!r} and powers: {powers}"
            return f"none of its hooks is ever called: {needs}, but its threat model has {has}"
        return None

    def idle(self, deployment: Deployment) -> str | None:
        """Why it can do nothing to this team, although it fits; None if it can. Its cells are inconclusive."""
        if hooks(type(self)) == {"on_rewards"} and deployment.trained_under is not None:
            return "rewards are attacked in training only"
        return None

    def assumes(self, deployment: Deployment) -> dict[str, float | bool | str]:
        """What its effect presupposes of its victims, by name, such as ``{"obedience": 1.0}``.

        By default, what follows from ``directs`` and from a position that spreads. Assumptions are properties of the
        evaluated team that are scripted rather than shown. They stand in the row of each of its cells and beside its
        name wherever that is printed.

        Args:
            deployment: The team, its transport and its environment.
        """
        found: dict[str, float | bool | str] = {"obedience": deployment.obedience} if self.directs else {}
        return found | ({"spreads": True} if self.threat_model().position.spreads else {})

    def predicate(self) -> str | None:
        """What counts as success in an episode; None for a worse score than under the matched control.

        By default, the first line of the docstring of an own :meth:`succeeded`.

        Returns:
            A clause, such as "the team takes the action more often".
        """
        own = type(self).succeeded
        if own is Attack.succeeded:
            return None
        first = (own.__doc__ or "its own predicate holds").strip().partition("\n")[0]
        return first.removeprefix("[B] bool,").strip().rstrip(".")

    def succeeded(self, attacked: Episodes, clean: Episodes) -> Tensor:
        """[B] bool, the success predicate; by default, the team earned less than in the same episode unattacked.

        Override it if the attack's objective is another one than a worse score. It is asked about the attack, its
        control and clean episodes; the difference between their rates is the attack's success.

        Args:
            attacked: Episodes under the attack.
            clean: The same episodes without it.
        """
        return attacked.total_reward < clean.total_reward - 1e-6

    def decode(self, payload: Tensor) -> Tensor | None:
        """[.., bits] int64, the secret bits that an accomplice reads from payloads [.., D] of its node; None for none.

        An attack that hides bits keeps those of the present step in its memory, as ``secret`` [B, bits] int64.
        """
        return None

    def memory(self) -> dict[str, Tensor]:
        """Initial memory: named tensors [B, ...], reset with the episodes of their worlds."""
        return {}

    # ---- hooks

    def on_messages(self, view: MessageView) -> MessageEdits:
        """Called in every exchange of messages; returns the edits to make."""
        return MessageEdits()

    def on_observations(self, view: ObservationView) -> Tensor | None:
        """Called once per step at position ``sensor``, before the team decides.

        Returns:
            [B, N, O], the observations that agents get instead; None to leave them unchanged.
        """
        return None

    def on_action(self, view: ActionView) -> Tensor | None:
        """Called with the power ``act`` before its node acts.

        Returns:
            [W, M, C] float64, action distributions of its node, one per secret (:meth:`secrets`); the guard draws the
            action from that of the episode's secret. None to leave the action to the policy.
        """
        return None

    def after_action(self, view: ActionView, distributions: Tensor, action: Tensor) -> None:
        """Called with the actions that its node took.

        Args:
            view: The view of :meth:`on_action`, in the worlds where its distributions were permitted.
            distributions: [W, M, A] float64.
            action: [W] int64, cells of the actions.
        """

    def on_rewards(self, view: RewardView) -> Tensor | None:
        """Called with the power ``reward`` after each step of training. Metrics report the rewards before the attack.

        Returns:
            [B, N], the rewards that agents learn from instead; None to leave them unchanged.
        """
        return None

    def on_directory(self, view: DirectoryView) -> DirectoryEdits:
        """Called in every step of a directory; returns the edits to make."""
        return DirectoryEdits()

    # ---- the most that its hooks ask for, for which space is allocated

    def injections(self) -> int:
        """Messages that it may inject per receiver and exchange: inbox slots to reserve."""
        return 0

    def secrets(self) -> int:
        """M, the number of secrets that its node's actions can encode. The guard draws one per episode, uniformly."""
        return 1

    def registrations(self) -> int:
        """M, cards that it may register with a directory per step."""
        return 0

    def requests(self) -> int:
        """Empty requests that it may send to a directory per step and world."""
        return 0

    def sends_lookups(self) -> bool:
        """Whether its requests are look-ups of each skill in turn, whose answers it is shown in the next step."""
        return False

    def ratings(self) -> int:
        """M, ratings that it may report to a directory per step."""
        return 0


def hooks(attack: type[Attack]) -> frozenset[Hook]:
    """The hooks that an attack overrides."""
    return frozenset(name for name in HOOKS if getattr(attack, name) is not getattr(Attack, name))
