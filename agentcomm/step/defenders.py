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
from agentcomm.contracts.actions import ActionSpace
from agentcomm.contracts.defense import Defense, defense_hooks
from agentcomm.contracts.directory_hook import DirectoryShape
from agentcomm.contracts.shape import TeamShape
from agentcomm.contracts.verdicts import ActionRequest, ActionVerdicts
from agentcomm.directory.screens import DirectoryScreens


class Supervised(NamedTuple):
    """Actions after all defenses.

    Attributes:
        action: [R, ...], what is carried out.
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
        """What agents do [R, ...] after each defense has judged it in turn.

        Args:
            logits: [R, P] parameters of the policy.
            action: [R, ...], what they are about to do.
            noise: Noise that the policy's actions are sampled with; None if the team takes the likeliest actions, so
                that sampling again gives these.
            step: [B] int64.
            rows: [R] int64, whose actions these are, as world * N + agent.
            numbers: Where chances are noted, which must be finite; None for nowhere.

        Raises:
            HookError: If a defense raises an error or breaks its contract.
        """
        resample = torch.zeros(len(rows), dtype=torch.float64, device=action.device)
        replaced = torch.zeros_like(resample, dtype=torch.bool)
        world, agent = rows // self.shape.num_agents, rows % self.shape.num_agents
        space = self.shape.actions
        committed = space.choose(logits, noise)
        for defense, memory in self.supervising:
            request = ActionRequest(step, world, agent, logits, action, committed)
            what = f"defense {defense.name!r}"
            with calling(what, "on_action"):
                verdicts = defense.on_action(request, memory.tensors)
            _check(what, verdicts, space, action)
            if numbers is not None and verdicts.resample is not None:
                numbers.note(what, "resample (on_action)", verdicts.resample, rows=(world, agent))
            if verdicts.resample is not None:
                action = self._sample_again(logits, action, noise is None, verdicts.resample)
                resample = 1 - (1 - resample) * (1 - verdicts.resample)
            if verdicts.replace is not None:
                chosen = ~space.left_alone(verdicts.replace)
                action, replaced = _where(chosen, verdicts.replace, action), replaced | chosen
        return Supervised(action, resample, replaced)

    def _sample_again(self, logits: Tensor, action: Tensor, greedy: bool, chance: Tensor) -> Tensor:
        """Some actions as the policy would sample them again."""
        space, rows = self.shape.actions, (len(action),)
        again = torch.rand(rows, generator=self.generator, device=action.device) < chance.float()
        fresh = space.noise(rows, self.generator, action.device)
        return _where(again, space.choose(logits, None if greedy else fresh), action)


def _where(rows: Tensor, those: Tensor, others: Tensor) -> Tensor:
    """Actions [R, ...] of one kind in some rows ([R] bool), and of another elsewhere."""
    return torch.where(rows.view(-1, *(1,) * (others.dim() - 1)), those, others)


def _check(what: str, verdicts: ActionVerdicts, space: ActionSpace, action: Tensor) -> None:
    """Check what a defense returned about actions [R, ...]."""
    answered(verdicts, ActionVerdicts, what, "on_action", "ActionVerdicts(...)")
    resample, replace = verdicts.resample, verdicts.replace
    check_tensor(what, "resample", resample, (len(action),), torch.float64)
    check_tensor(what, "replace", replace, tuple(action.shape), space.dtype)
    if resample is not None and bool(((resample < 0) | (resample > 1)).any()):
        raise HookError(f"{what}: resample must lie in 0 .. 1, but goes from {resample.min()} to {resample.max()}")
    if replace is not None and not bool((space.valid(replace) | space.left_alone(replace)).all()):
        raise HookError(
            f"{what}: replace must be {space.expected}, or {space.none} to leave an action alone, but goes from"
            f" {replace.min()} to {replace.max()}"
        )
