"""The defenders: the places of a step in which the hooks of defenses are called, but those on messages.

The network calls the latter, and keeps what defenses remember. Hooks on a directory are called by the directory; the
defenders hand out what calls them (``directory_screens``), and keep its state.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from agentcomm.base.answers import check_tensor
from agentcomm.base.calling import answered, calling
from agentcomm.base.errors import HookError
from agentcomm.base.numbers import Numbers
from agentcomm.base.seeds import derive
from agentcomm.base.state import Memory, State
from agentcomm.contracts.defense import Defense, defense_hooks
from agentcomm.contracts.directory_hook import DirectoryShape
from agentcomm.contracts.shape import TeamShape
from agentcomm.contracts.verdicts import ActionRequest, ActionVerdicts
from agentcomm.directory.screens import DirectoryScreens
from agentcomm.step.actions import choose_action


class Supervised(NamedTuple):
    """Actions after all defenses.

    Attributes:
        action: [R] int64, what is carried out.
        resample: [R] float64, chance with which the action was sampled again from the policy's distribution.
        replaced: [R] bool, actions that a defense has chosen.
    """

    action: Tensor
    resample: Tensor
    replaced: Tensor


class Defenders(State):
    """All defenses of a team in B worlds, as far as they act outside of the network.

    Args:
        defenses: In the order in which they act.
        memories: What each of them keeps; whoever made them resets and saves them.
        shape: Shape of the team.
        seed: Seeds the generator that actions are sampled again with.
        directory: Sizes of the directory through which the team's members find each other; None for none.

    Attributes:
        supervising: The defenses that act on actions, with what they remember.
        directory_screens: Of the defenses that act on a directory, for the directory; None without one.

    Raises:
        ValueError: If a defense acts on a directory, and there is none.
    """

    keeps: ClassVar[tuple[str, ...]] = ("generator", "directory_screens")

    def __init__(
        self,
        defenses: Sequence[Defense],
        memories: Sequence[Memory],
        shape: TeamShape,
        seed: int,
        directory: DirectoryShape | None = None,
    ) -> None:
        self.shape = shape
        hooks = [defense_hooks(type(defense)) for defense in defenses]
        pairs = zip(defenses, memories, hooks, strict=True)
        self.supervising = [(defense, memory) for defense, memory, found in pairs if "on_action" in found]
        on_directory = [defense for defense, found in zip(defenses, hooks, strict=True) if "on_directory" in found]
        if on_directory and directory is None:
            raise ValueError(f"{on_directory[0].name} defends a directory, and there is none")
        self.directory_screens = None if directory is None else DirectoryScreens(on_directory, directory)
        self.generator = torch.Generator(shape.device).manual_seed(derive(seed, "actuators"))

    @torch.no_grad()
    def on_action(
        self,
        logits: Tensor,
        action: Tensor,
        noise: Tensor | None,
        step: Tensor,
        rows: Tensor,
        numbers: Numbers | None = None,
    ) -> Supervised:
        """What agents do [R] after each defense has judged it in turn.

        Args:
            logits: [R, A] of the policy.
            action: [R] int64, what they are about to do.
            noise: [R, A] Gumbel noise that the policy's actions are sampled with; None if the team takes the likeliest
                actions, so that sampling again gives these.
            step: [B] int64.
            rows: [R] int64, whose actions these are, as world * N + agent.
            numbers: Where chances are noted, which must be finite; None for nowhere.

        Raises:
            HookError: If a defense raises an error or breaks its contract.
        """
        resample = torch.zeros(action.shape, dtype=torch.float64, device=action.device)
        replaced = torch.zeros_like(action, dtype=torch.bool)
        world, agent = rows // self.shape.num_agents, rows % self.shape.num_agents
        committed = choose_action(logits, noise)
        for defense, memory in self.supervising:
            request = ActionRequest(step, world, agent, logits, action, committed)
            what = f"defense {defense.name!r}"
            with calling(what, "on_action"):
                verdicts = defense.on_action(request, memory.tensors)
            _check(what, verdicts, logits)
            if numbers is not None and verdicts.resample is not None:
                numbers.note(what, "resample (on_action)", verdicts.resample, rows=(world, agent))
            if verdicts.resample is not None:
                action = self._sample_again(logits, action, noise is None, verdicts.resample)
                resample = 1 - (1 - resample) * (1 - verdicts.resample)
            if verdicts.replace is not None:
                chosen = verdicts.replace >= 0
                action, replaced = torch.where(chosen, verdicts.replace, action), replaced | chosen
        return Supervised(action, resample, replaced)

    def _sample_again(self, logits: Tensor, action: Tensor, greedy: bool, chance: Tensor) -> Tensor:
        """Some actions as the policy would sample them again."""
        again = torch.rand(action.shape, generator=self.generator, device=action.device) < chance.float()
        fresh = torch.empty_like(logits).exponential_(generator=self.generator).log_()
        return torch.where(again, (logits if greedy else logits - fresh).argmax(-1), action)


def _check(what: str, verdicts: ActionVerdicts, logits: Tensor) -> None:
    """Check what a defense returned about actions that have the logits [R, A]."""
    answered(verdicts, ActionVerdicts, what, "on_action", "ActionVerdicts(...)")
    rows, actions = logits.shape
    check_tensor(what, "resample", verdicts.resample, (rows,), torch.float64)
    check_tensor(what, "replace", verdicts.replace, (rows,), torch.int64)
    for field, value, low, high in (
        ("resample", verdicts.resample, 0, 1),
        ("replace", verdicts.replace, -1, actions - 1),
    ):
        if value is not None and bool(((value < low) | (value > high)).any()):
            raise HookError(
                f"{what}: {field} must lie in {low} .. {high}, but goes from {value.min()} to {value.max()}"
            )
