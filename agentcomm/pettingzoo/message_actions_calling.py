"""Calls of foreign policies: imports the callable, asks it, and checks what it answers."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from agentcomm.base.calling import calling, described
from agentcomm.base.errors import ConfigError, HookError
from agentcomm.base.inputs import find_input
from agentcomm.base.modules import check_permitted
from agentcomm.contracts.actions import ActionSpace
from agentcomm.contracts.continuous import Continuous
from agentcomm.contracts.discrete import MultiDiscrete
from agentcomm.pettingzoo.message_actions_inbox import Array, Messages, Received

OWN = "policies.foreign"  # whose examples anybody may use
UNLIKELY = np.float32(-1e6)  # logit of actions that were not chosen: lower than any noise, higher than masked ones
NARROW = np.float32(-10)  # spread of continuous actions: sampled ones differ from the chosen ones by less than 1%


class Answers(NamedTuple):
    """What the agents of a batch do.

    Attributes:
        parameters: [B, N, P] float32, parameters of their action distributions.
        payload: [B, N, D] float32, their next messages; 0 for those that say nothing.
        speaks: [B, N] bool, agents that say something.
        state: [B, N, S] float32, what they remember.
    """

    parameters: Array
    payload: Array
    speaks: Array
    state: Array


def module_of(make: str) -> str:
    """The module in ``package.module:function``."""
    return make.partition(":")[0]


def load_callable(make: str, checkpoint: str | None = None) -> Callable[..., Any]:
    """Import a callable.

    Args:
        make: ``package.module:function``.
        checkpoint: File or folder of weights, with whose path the function is called to make the callable; None if the
            function is the callable itself.

    Raises:
        ConfigError: If it cannot be imported, is none, or comes from a module that no config in use names.
        HookError: If the code fails.
    """
    module, colon, name = make.partition(":")
    if not (module and colon and name):
        raise ConfigError(f"make must be 'package.module:function', not {make!r}")
    if module != OWN:
        check_permitted([module])
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"make: {make!r} cannot be imported: {error}") from error
    except Exception as error:
        raise HookError(f"make: the import of {module!r} failed: {described(error)}") from error
    if checkpoint is not None:
        with calling(f"policy {make!r}", "the function that loads its checkpoint"):
            found = found(str(find_input(checkpoint)))
    if not callable(found):
        raise ConfigError(f"make: {make!r} is a {type(found).__name__}, not a callable")
    return found  # type: ignore[no-any-return]


class Caller:
    """Asks a callable for the actions and messages of a team.

    Args:
        function: The callable.
        what: The callable, for errors.
        agents: Names of the agents.
        actions: What agents can do.
        messages: What messages are.
        state: Numbers that each agent remembers.
        batched: Whether it takes all worlds and agents at once.

    Raises:
        ConfigError: If the callable takes other arguments.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        what: str,
        agents: Sequence[str],
        actions: ActionSpace,
        messages: Messages,
        state: int,
        batched: bool,
    ) -> None:
        self.function, self.what, self.agents = function, what, list(agents)
        self.actions, self.messages, self.state, self.batched = actions, messages, state, batched
        self._check_parameters()

    def _check_parameters(self) -> None:
        """Check that the callable takes what it will be given, before any cell is evaluated."""
        given = [*(() if self.batched else ("agent",)), "observation", "inbox", *(("state",) if self.state else ())]
        try:
            signature = inspect.signature(self.function)
        except (TypeError, ValueError):  # not written in Python
            return
        try:
            signature.bind(*given)
        except TypeError as error:
            raise ConfigError(
                f"{self.what}: it takes {signature}, but is called with ({', '.join(given)}): {error}. If it loads a"
                " policy, name its weights (--checkpoint); if it takes all agents at once or remembers, declare it with"
                " @foreign_policy(batched=True, state=...)"
            ) from error

    def __deepcopy__(self, memo: object) -> Caller:
        """The same: the callable keeps nothing."""
        return self

    def __call__(self, observation: Array, received: Received, state: Array) -> Answers:
        """Ask for a batch.

        Args:
            observation: [B, N, O].
            received: Inboxes of [B, N].
            state: [B, N, S].

        Raises:
            HookError: If the callable fails, or answers something that is no action and message.
        """
        ask = self._batch if self.batched else self._each
        return ask(observation, received, state)

    def _batch(self, observation: Array, received: Received, state: Array) -> Answers:
        action, message, after = self._called(observation, received, *((state,) if self.state else ()))
        shape = observation.shape[:2]
        if message is None:
            silent = np.zeros((*shape, self.messages.width), np.float32), np.zeros(shape, bool)
            return Answers(self._parameters(action, shape), *silent, self._remembered(after, state))
        return Answers(self._parameters(action, shape), *self._said(message, shape), self._remembered(after, state))

    def _each(self, observation: Array, received: Received, state: Array) -> Answers:
        worlds, agents = observation.shape[:2]
        answers = Answers(
            np.zeros((worlds, agents, self.actions.parameters), np.float32),
            np.zeros((worlds, agents, self.messages.width), np.float32),
            np.zeros((worlds, agents), bool),
            np.zeros_like(state),
        )
        for world in range(worlds):
            for agent, name in enumerate(self.agents):
                kept = (state[world, agent],) if self.state else ()
                inbox = received.of(world, agent)
                action, message, after = self._called(name, observation[world, agent], inbox, *kept)
                answers.parameters[world, agent] = self._parameters(action, ())
                if message is not None:
                    answers.payload[world, agent], answers.speaks[world, agent] = self._said(message, ())
                answers.state[world, agent] = self._remembered(after, state[world, agent])
        return answers

    def _called(self, *arguments: Any) -> tuple[Any, Any, Any]:
        """Action, message and state, or None as state."""
        with calling(self.what, "its call"):
            answer = self.function(*arguments)
        wanted = ("action", "message", "state") if self.state else ("action", "message")
        if not (isinstance(answer, tuple) and len(answer) == len(wanted)):
            raise HookError(f"{self.what} must return a tuple ({', '.join(wanted)}), not {_shown(answer)}")
        return answer if self.state else (*answer, None)

    def _parameters(self, action: Any, shape: tuple[int, ...]) -> Array:
        """Parameters [*shape, P] of the distributions of actions [*shape, ...], or as they are."""
        given, space = np.asarray(action), self.actions
        if given.dtype.kind == "f" and given.shape == (*shape, space.parameters):
            if np.isnan(given).any():
                raise HookError(f"{self.what} returns parameters of actions that are not numbers (NaN)")
            return given.astype(np.float32)
        kinds = "fiu" if isinstance(space, Continuous) else "iu"
        fits = given.dtype.kind in kinds and given.shape == (*shape, *space.shape)
        if not fits or not bool(space.valid(torch.from_numpy(given.astype(np.float64))).all()):
            numbers = _form((*shape, space.parameters))
            raise HookError(
                f"{self.what} must return actions {_form((*shape, *space.shape))}, {space.expected}, or parameters"
                f" {numbers} of their distributions as floats, such as logits, not {_shown(action)}"
            )
        return _certain(given, space)

    def _said(self, message: Any, shape: tuple[int, ...]) -> tuple[Array, Array]:
        """Payloads and who speaks."""
        given = np.asarray(message)
        size = given.shape if given.dtype.kind in "iu" and self.messages.space.shape == () else given.shape[:-1]
        if size != shape or not self.messages.holds(given):
            raise HookError(
                f"{self.what} must return messages {_form(shape)} of {self.messages.space}, not {_shown(message)}"
            )
        return self.messages.spoken(given)

    def _remembered(self, after: Any, before: Array) -> Array:
        """What agents remember, checked."""
        if not self.state:
            return before
        given = np.asarray(after)
        if given.shape != before.shape or given.dtype.kind not in "fiub" or not np.isfinite(given).all():
            raise HookError(f"{self.what} must return a state {_form(before.shape)} of numbers, not {_shown(after)}")
        return given.astype(np.float32)


def _certain(action: Array, space: ActionSpace) -> Array:
    """Parameters [..., P] of which the likeliest action is the given one [..., *shape]."""
    if isinstance(space, Continuous):
        low, high = np.array(space.low), np.array(space.high)
        bounded = np.isfinite(low) & np.isfinite(high)
        middle, half = np.where(bounded, (low + high) / 2, 0), np.where(bounded, (high - low) / 2, 1)
        mean = (action - middle) / half
        return np.concatenate([mean, np.full_like(mean, NARROW)], -1).astype(np.float32)
    sizes = space.components if isinstance(space, MultiDiscrete) else (space.parameters,)
    parts = np.split(action, len(sizes), -1) if isinstance(space, MultiDiscrete) else [action[..., None]]
    logits = [np.full((*action.shape[: len(action.shape) - len(space.shape)], size), UNLIKELY) for size in sizes]
    for each, chosen in zip(logits, parts, strict=True):
        np.put_along_axis(each, chosen, 0.0, -1)
    return np.concatenate(logits, -1)


def _form(shape: tuple[int, ...]) -> str:
    return f"[{', '.join(map(str, shape))}]" if shape else "(one number)"


def _shown(value: Any) -> str:
    """Type and shape of an answer, for messages."""
    if isinstance(value, tuple):
        return f"a tuple of {len(value)}"
    array = np.asarray(value) if isinstance(value, list | np.ndarray | np.generic | int | float) else None
    if array is None:
        return f"{value!r:.60} of type {type(value).__name__}"
    if not array.shape:
        return f"{value!r:.60}"
    whole = f" from {array.min()} to {array.max()}" if array.size and array.dtype.kind in "iuf" else ""
    return f"{array.dtype} {_form(array.shape)}{whole}"
