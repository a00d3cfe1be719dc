"""Continuous actions: a Gaussian per dimension, squashed into the bounds by tanh, or clipped to them.

The action that is kept, told and replayed is the number before it is brought within the bounds (*raw*): the
probability of a squashed one is then exact up to the bounds. Worlds get :meth:`Continuous.executed`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from agentcomm.base.errors import ConfigError
from agentcomm.contracts.actions import MASKED, ActionSpace

LOWEST, HIGHEST = -5.0, 1.0  # of the logarithm of the standard deviation
INITIAL = -0.5  # of it, where the policy returns 0
QUANTILES, MOST_CELLS = 4, 256
FAR = 1.5  # raw number of a large action: tanh(1.5) = 0.91
REST = 1 / 3  # of the way to a bound: smaller actions count as none
INSIDE = 1e-6  # distance from the borders of a cell, so that rounding changes no cell


@dataclass(frozen=True)
class Continuous(ActionSpace):
    """Vectors of D numbers within bounds.

    Parameters are the means of the raw numbers, and then the logarithms of their standard deviations, less -0.5 and
    kept within -5 .. 1.

    Args:
        low: [D] lowest numbers; -inf for no bound.
        high: [D] highest numbers; inf for no bound.
        dimensions: How many of them each of the N agents has, the first ones; None if all have all.
        squashed: Whether raw numbers are squashed into finite bounds by tanh; otherwise they are scaled and clipped.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]
    dimensions: tuple[int, ...] | None = None
    squashed: bool = True
    names: tuple[str, ...] = field(init=False)
    none: str = field(default="NaN", init=False)
    dtype: torch.dtype = field(default=torch.float32, init=False)

    def __post_init__(self) -> None:
        pairs = list(zip(self.low, self.high, strict=True))
        if not pairs or not all(low < high for low, high in pairs):
            raise ConfigError(f"each low bound of an action must lie below the high one: {pairs}")
        names = ["rest", *(f"{number}{sign}" for number in range(len(pairs)) for sign in "-+")]
        object.__setattr__(self, "names", tuple(names))

    @property
    def parameters(self) -> int:  # type: ignore[override]
        """Mean and spread of each dimension."""
        return 2 * len(self.low)

    @property
    def shape(self) -> tuple[int, ...]:  # type: ignore[override]
        """[D]."""
        return (len(self.low),)

    @property
    def expected(self) -> str:  # type: ignore[override]
        """The number of dimensions."""
        return f"{len(self.low)} finite numbers"

    @property
    def _counted(self) -> int:
        """Leading dimensions that are cut into cells."""
        return min(len(self.low), int(math.log(MOST_CELLS, QUANTILES)))

    @property
    def cells(self) -> int:  # type: ignore[override]
        """Quarters of the probability of each leading dimension."""
        return int(QUANTILES**self._counted)

    def with_squashing(self, squashed: bool) -> Continuous:
        """The same bounds, kept in another way."""
        return replace(self, squashed=squashed)

    def widest(self) -> Continuous:
        """All dimensions."""
        return replace(self, dimensions=None)

    def available(self, device: torch.device) -> Tensor | None:
        """The first dimensions of each agent, of means and spreads."""
        if self.dimensions is None:
            return None
        own = torch.arange(len(self.low), device=device) < torch.tensor(self.dimensions, device=device).unsqueeze(1)
        return own.repeat(1, 2)

    def masked(self, parameters: Tensor, allowed: Tensor | None) -> Tensor:
        """Mean 0 and no spread in dimensions that are not allowed."""
        if allowed is None:
            return parameters
        mean, spread = parameters.chunk(2, -1)
        mean_allowed, spread_allowed = allowed.chunk(2, -1)
        return torch.cat([mean.masked_fill(~mean_allowed, 0.0), spread.masked_fill(~spread_allowed, MASKED)], -1)

    def permitted(self, parameters: Tensor, action: Tensor) -> Tensor:
        """All, as masked dimensions are ignored."""
        return torch.ones(parameters.shape[:-1], dtype=torch.bool, device=parameters.device)

    def _of(self, parameters: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Means, logarithms of standard deviations, and which dimensions exist, [..., D] each."""
        mean, spread = parameters.chunk(2, -1)
        return mean, (spread + INITIAL).clamp(LOWEST, HIGHEST), spread > MASKED

    def noise(self, shape: Sequence[int], generator: torch.Generator | None, device: torch.device) -> Tensor:
        """Standard normal noise [*shape, D]."""
        return torch.randn((*shape, *self.shape), generator=generator, device=device)

    def choose(self, parameters: Tensor, noise: Tensor | None) -> Tensor:
        """The mean, or a sample around it."""
        mean, log_std, exists = self._of(parameters)
        return mean if noise is None else mean + log_std.exp() * noise * exists

    def log_probability(self, parameters: Tensor, action: Tensor) -> Tensor:
        """Log-density of the executed action; of a clipped one, of the number before it is clipped."""
        mean, log_std, exists = self._of(parameters)
        score = -0.5 * ((action - mean) * (-log_std).exp()).square() - log_std - 0.5 * math.log(2 * math.pi)
        return ((score - self._log_slope(action)) * exists).sum(-1)

    def entropy(self, parameters: Tensor) -> Tensor:
        """Of the Gaussian; squashed actions change it by about the slope at the mean."""
        mean, log_std, exists = self._of(parameters)
        return ((log_std + 0.5 * math.log(2 * math.pi * math.e) + self._log_slope(mean)) * exists).sum(-1)

    def _log_slope(self, raw: Tensor) -> Tensor:
        """Logarithm [..., D] of the change of an executed action with its raw number, before clipping."""
        low, high, bounded = self._bounds(raw)
        scale = torch.where(bounded, (high - low) / 2, 1.0).log()
        if not self.squashed:
            return scale
        # log(1 - tanh(x)^2), without overflow
        flat = 2 * (math.log(2.0) - raw - torch.nn.functional.softplus(-2 * raw))
        return scale + torch.where(bounded, flat, 0.0)

    def _bounds(self, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Bounds [D], and bool [D], where both are finite."""
        low, high = like.new_tensor(self.low), like.new_tensor(self.high)
        return low, high, low.isfinite() & high.isfinite()

    def executed(self, action: Tensor) -> Tensor:
        """Within the bounds: 0 is their middle, -1 and 1 are the bounds of clipped actions."""
        low, high, bounded = self._bounds(action)
        unit = action.tanh() if self.squashed else action
        middle, half = torch.where(bounded, (low + high) / 2, 0.0), torch.where(bounded, (high - low) / 2, 1.0)
        return torch.where(bounded, middle + half * unit, action).clamp(low, high)

    def average(self, parameters: Tensor) -> Tensor:
        """Mean parameters."""
        return parameters.mean(0)

    def untargeted(self, parameters: Tensor) -> tuple[float, Tensor]:
        """Towards the farthest action."""
        return 1.0, self.unlikeliest(parameters)

    def unlikeliest(self, parameters: Tensor) -> Tensor:
        """A large action on the other side of 0."""
        mean, _, exists = self._of(parameters)
        return torch.where(mean > 0, -FAR, FAR) * exists

    def vote(self, parameters: Tensor, noise: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """The median of each dimension.

        Of an even number of members, the mean of the two in the middle counts. With a majority of members whose
        inboxes no attack has touched, each number lies between numbers that these would choose.
        """
        chosen = self.choose(parameters, noise).nan_to_num(torch.inf).sort(0).values
        count = len(chosen)
        median = (chosen[(count - 1) // 2] + chosen[count // 2]) / 2
        return torch.cat([median, parameters[0].chunk(2, -1)[1]], -1), None

    def option_of(self, action: Tensor) -> Tensor:
        """The dimension and sign of the largest number, or 0 if all are small."""
        size, dimension = action.tanh().abs().max(-1)
        sign = action.gather(-1, dimension.unsqueeze(-1)).squeeze(-1) > 0
        return torch.where(size < REST, 0, 1 + 2 * dimension + sign)

    def from_option(self, option: Tensor) -> Tensor:
        """A large number in one dimension, or none."""
        number = torch.arange(len(self.low), device=option.device)
        chosen = (option.unsqueeze(-1) - 1) // 2 == number
        sign = torch.where(option % 2 == 0, FAR, -FAR).unsqueeze(-1)
        return torch.where(chosen & (option.unsqueeze(-1) > 0), sign, 0.0)

    def cell_probability(self, parameters: Tensor) -> Tensor:
        """Equal ones; a dimension that does not exist has one cell."""
        exists = self._of(parameters)[2][..., : self._counted]
        each = exists.new_full((QUANTILES,), 1 / QUANTILES, dtype=torch.float64)
        only = torch.nn.functional.one_hot(torch.zeros_like(each[0], dtype=torch.int64), QUANTILES).double()
        out: Tensor | None = None
        for there in exists.unbind(-1):
            own = torch.where(there.unsqueeze(-1), each, only)
            out = own if out is None else (out.unsqueeze(-1) * own.unsqueeze(-2)).flatten(-2)
        assert out is not None
        return out

    def _place(self, parameters: Tensor, action: Tensor) -> Tensor:
        """[..., counted] float64, place of an action in its distribution, from 0 to QUANTILES; 0 where none exists."""
        mean, log_std, exists = (x[..., : self._counted] for x in self._of(parameters))
        z = (action[..., : self._counted].double() - mean.double()) / log_std.double().exp()
        place = (QUANTILES * torch.special.ndtr(z)).clamp(0.0, QUANTILES - INSIDE)
        return torch.where(exists, place, 0.0)

    def cell_of(self, parameters: Tensor, action: Tensor) -> Tensor:
        """The number of the combination of quarters."""
        cell = torch.zeros(action.shape[:-1], dtype=torch.int64, device=action.device)
        for quarter in self._place(parameters, action).long().unbind(-1):
            cell = cell * QUANTILES + quarter
        return cell

    def moved(self, parameters: Tensor, action: Tensor, cell: Tensor) -> Tensor:
        """The same place in other quarters; actions that stay in their cell stay as they are."""
        mean, log_std, exists = (x[..., : self._counted] for x in self._of(parameters))
        place, quarters, rest = self._place(parameters, action).frac(), [], cell
        for _ in range(self._counted):
            quarters.append(rest % QUANTILES)
            rest = rest // QUANTILES
        quarter = torch.stack(quarters[::-1], -1)
        z = torch.special.ndtri((quarter + place.clamp(INSIDE, 1 - INSIDE)) / QUANTILES)
        other = torch.where(exists, mean + (log_std.double().exp() * z).to(mean.dtype), mean)
        other = torch.cat([other, action[..., self._counted :]], -1)
        return torch.where((cell == self.cell_of(parameters, action)).unsqueeze(-1), action, other)

    def check(self, action: Tensor, shape: tuple[int, int]) -> None:
        """Finite numbers within the bounds."""
        if action.shape != (*shape, *self.shape):
            wanted = (*shape, *self.shape)
            raise ValueError(f"actions must have shape {wanted} (worlds, agents, numbers), not {tuple(action.shape)}")
        if not action.is_floating_point():
            raise ValueError(f"actions must be floating-point numbers, not {action.dtype}")
        low, high, _ = self._bounds(action)
        outside = ~((action >= low) & (action <= high) & action.isfinite())
        if bool(outside.any()):  # one copy to the host
            number = int(outside.nonzero()[0, -1])
            raise ValueError(
                f"number {number} of an action must lie in {self.low[number]} .. {self.high[number]},"
                f" but is {float(action[outside][0])}"
            )

    def left_alone(self, replace: Tensor) -> Tensor:
        """Vectors with a NaN."""
        return replace.isnan().any(-1)

    def valid(self, action: Tensor) -> Tensor:
        """Finite numbers."""
        return action.isfinite().all(-1)

    def described(self, action: Tensor) -> list[str]:
        """The numbers that are executed."""
        return [", ".join(f"{number:.2f}" for number in row) for row in self.executed(action).tolist()]
