"""The contract of an action space: what agents may do in a step, and the distributions that policies draw it from.

A policy returns ``parameters`` numbers per agent, the *parameters* of its action distribution: logits of discrete
actions, mean and spread of continuous ones. Everything that needs the distribution asks the space, so that no attack,
defense, metric or update depends on the kind of actions.

Agents of a team share one space. Where some have fewer options or dimensions than the widest agent, theirs are padded,
and what does not exist is masked (:meth:`ActionSpace.available`). Masks are written into the parameters
(:meth:`ActionSpace.masked`): a masked option has a probability of exactly 0, a masked dimension no effect.

Two partitions make all actions countable. *Options* are the same for all distributions: what metrics count and
directives name. *Cells* depend on the distribution, and their probabilities are known exactly: in them a covert channel
hides its secret, and its guard computes what an observer learns. Discrete actions are their own options and cells.

Shapes: [...] any sizes, P parameters, C cells.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

# A logit that makes an option impossible: probabilities are exactly 0, and products with them stay finite.
MASKED = -1e9


class ActionSpace(ABC):
    """Actions of the agents of a team.

    Attributes:
        parameters: P, numbers that state an agent's action distribution.
        shape: Shape of one agent's action: () for a number, [K] for a vector.
        dtype: Type of actions: int64 or float32.
        names: Names of the options.
        cells: C.
        expected: What actions are, for errors, such as ``whole numbers in 0 .. 4``.
        none: The number that stands for no action, for errors.
    """

    parameters: int
    shape: tuple[int, ...] = ()
    dtype: torch.dtype = torch.int64
    names: tuple[str, ...]
    cells: int
    expected: str
    none: str = "-1"

    @property
    def options(self) -> int:
        """Number of options."""
        return len(self.names)

    @abstractmethod
    def widest(self) -> ActionSpace:
        """The space of an agent that has all options and dimensions."""

    def available(self, device: torch.device) -> Tensor | None:
        """[N, P] bool, parameters of options and dimensions that each agent has; None if all agents have all."""
        return None

    def with_squashing(self, squashed: bool) -> ActionSpace:
        """The space with squashed or clipped actions, if they are continuous."""
        return self

    @abstractmethod
    def masked(self, parameters: Tensor, allowed: Tensor | None) -> Tensor:
        """Parameters [..., P] with those masked that are not ``allowed`` ([..., P] bool; None for all)."""

    @abstractmethod
    def permitted(self, parameters: Tensor, action: Tensor) -> Tensor:
        """[...] bool, actions that masked parameters [..., P] leave possible."""

    @abstractmethod
    def noise(self, shape: Sequence[int], generator: torch.Generator | None, device: torch.device) -> Tensor:
        """Noise [*shape, ...] that samples an action for each place of ``shape``."""

    @abstractmethod
    def choose(self, parameters: Tensor, noise: Tensor | None) -> Tensor:
        """Actions [...] for parameters [..., P]: the likeliest ones, or samples if there is noise."""

    def draw(self, shape: tuple[int, int], generator: torch.Generator, device: torch.device) -> Tensor:
        """Random actions as worlds get them, for each of the worlds and agents of ``shape``."""
        ever = self.available(device)
        parameters = torch.zeros(*shape, self.parameters, device=device)
        parameters = self.masked(parameters, None if ever is None else ever.expand_as(parameters))
        return self.executed(self.choose(parameters, self.noise(shape, generator, device)))

    @abstractmethod
    def log_probability(self, parameters: Tensor, action: Tensor) -> Tensor:
        """[...], log-probability, or log-density of continuous actions."""

    @abstractmethod
    def entropy(self, parameters: Tensor) -> Tensor:
        """[...], entropy in nats."""

    def judged(self, parameters: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probability and entropy, [...] each, at the cost of one where they share work."""
        return self.log_probability(parameters, action), self.entropy(parameters)

    @abstractmethod
    def average(self, parameters: Tensor) -> Tensor:
        """Parameters [..., P] of the mean of distributions [S, ..., P], in logarithms of probabilities."""

    @abstractmethod
    def untargeted(self, parameters: Tensor) -> tuple[float, Tensor]:
        """What an attack that wants any other action maximizes: a sign times the log-probability of an action [...].

        The likeliest action of discrete ones becomes less likely. That of continuous ones has no gradient there, so
        that the action farthest from it becomes more likely instead.
        """

    @abstractmethod
    def unlikeliest(self, parameters: Tensor) -> Tensor:
        """The least likely permitted action [...]."""

    @abstractmethod
    def vote(self, parameters: Tensor, noise: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """The action that members of a vote choose together.

        Args:
            parameters: [S, ..., P] of each member.
            noise: Noise with which all members sample; None for greedy actions.

        Returns:
            Parameters [..., P] whose likeliest action is the chosen one; and the votes [..., A] int64 for each option
            of discrete actions, None for others.
        """

    def executed(self, action: Tensor) -> Tensor:
        """What the world gets of an action [...]; continuous actions are kept within their bounds here."""
        return action

    @abstractmethod
    def option_of(self, action: Tensor) -> Tensor:
        """[...] int64, the option that an action belongs to."""

    def option_scores(self, parameters: Tensor) -> Tensor:
        """[..., options], log-probability of each option's action, up to a constant."""
        options = torch.arange(self.options, device=parameters.device)
        scored = [self.log_probability(parameters, self.from_option(o.expand(parameters.shape[:-1]))) for o in options]
        return torch.stack(scored, -1)

    @abstractmethod
    def from_option(self, option: Tensor) -> Tensor:
        """An action [...] of each option [...]."""

    @abstractmethod
    def cell_probability(self, parameters: Tensor) -> Tensor:
        """[..., C] float64, probability of each cell."""

    @abstractmethod
    def cell_of(self, parameters: Tensor, action: Tensor) -> Tensor:
        """[...] int64, the cell that an action lies in."""

    @abstractmethod
    def moved(self, parameters: Tensor, action: Tensor, cell: Tensor) -> Tensor:
        """The actions that have the same place in other cells [...]: if the place was drawn by the policy, so it is."""

    def cell_noise(self, noise: Tensor) -> Tensor | None:
        """Gumbel noise [..., C] that samples the cells of the actions drawn with ``noise``; None if there is none."""
        return None

    @abstractmethod
    def check(self, action: Tensor, shape: tuple[int, int]) -> None:
        """Check what a world is about to get.

        Args:
            action: The actions.
            shape: Numbers of worlds and of agents.

        Raises:
            ValueError: If shape, type or range of the actions is wrong.
        """

    @abstractmethod
    def left_alone(self, replace: Tensor) -> Tensor:
        """[R] bool, rows of a defense's replacements [R, ...] that mean "leave it": negative numbers, or NaN."""

    @abstractmethod
    def valid(self, action: Tensor) -> Tensor:
        """[...] bool, actions that exist."""

    def described(self, action: Tensor) -> list[str]:
        """Actions [N, ...] in words, for players and errors."""
        return [self.names[option] for option in self.option_of(action).tolist()]
