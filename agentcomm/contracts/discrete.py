"""Discrete actions, and vectors of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from agentcomm.base.answers import check_numbers
from agentcomm.contracts.actions import MASKED, ActionSpace

NO_VOTE = 1e-3  # counted for actions without votes, so that logarithms are finite
MOST_CELLS = 256


def gumbel(shape: Sequence[int], generator: torch.Generator | None, device: torch.device) -> Tensor:
    """Gumbel noise: the index of the largest of logits plus noise is a sample (Gumbel-max)."""
    return -torch.empty(*shape, device=device).exponential_(generator=generator).log_()


@dataclass(frozen=True)
class Discrete(ActionSpace):
    """One of several actions.

    Args:
        names: Names of the actions.
        sizes: How many of them each of the N agents has, the first ones; None if all have all.
    """

    names: tuple[str, ...]
    sizes: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if not self.names or any(not 1 <= size <= len(self.names) for size in self.sizes or ()):
            raise ValueError(f"sizes must lie in 1 .. {len(self.names)} (the names), not {self.sizes}")

    @property
    def parameters(self) -> int:  # type: ignore[override]
        """A logit per action."""
        return len(self.names)

    @property
    def expected(self) -> str:  # type: ignore[override]
        """The range."""
        return f"whole numbers in 0 .. {self.parameters - 1}"

    @property
    def cells(self) -> int:  # type: ignore[override]
        """The actions."""
        return len(self.names)

    def widest(self) -> Discrete:
        """All actions."""
        return Discrete(self.names)

    def available(self, device: torch.device) -> Tensor | None:
        """The first actions of each agent."""
        return None if self.sizes is None else _first(self.sizes, len(self.names), device)

    def masked(self, parameters: Tensor, allowed: Tensor | None) -> Tensor:
        """Logits, very low where an action is not allowed."""
        return parameters if allowed is None else parameters.masked_fill(~allowed, MASKED)

    def permitted(self, parameters: Tensor, action: Tensor) -> Tensor:
        """Actions whose logit is not masked."""
        return parameters.gather(-1, action.unsqueeze(-1)).squeeze(-1) > MASKED

    def noise(self, shape: Sequence[int], generator: torch.Generator | None, device: torch.device) -> Tensor:
        """Gumbel noise [*shape, A]."""
        return gumbel((*shape, self.parameters), generator, device)

    def choose(self, parameters: Tensor, noise: Tensor | None) -> Tensor:
        """The action with the largest logit, noise included."""
        return (parameters if noise is None else parameters + noise).argmax(-1)

    def draw(self, shape: tuple[int, int], generator: torch.Generator, device: torch.device) -> Tensor:
        """Uniform actions."""
        if self.sizes is None:
            return torch.randint(self.parameters, shape, generator=generator, device=device)
        return super().draw(shape, generator, device)

    def log_probability(self, parameters: Tensor, action: Tensor) -> Tensor:
        """Log-softmax."""
        return parameters.log_softmax(-1).gather(-1, action.unsqueeze(-1)).squeeze(-1)

    def entropy(self, parameters: Tensor) -> Tensor:
        """Of the softmax."""
        return _entropy(parameters.log_softmax(-1))

    def judged(self, parameters: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        """From one log-softmax."""
        log = parameters.log_softmax(-1)
        return log.gather(-1, action.unsqueeze(-1)).squeeze(-1), _entropy(log)

    def average(self, parameters: Tensor) -> Tensor:
        """Mean log-probabilities."""
        return parameters.log_softmax(-1).mean(0)

    def untargeted(self, parameters: Tensor) -> tuple[float, Tensor]:
        """Away from the likeliest action."""
        return -1.0, parameters.argmax(-1)

    def unlikeliest(self, parameters: Tensor) -> Tensor:
        """The smallest logit that is not masked."""
        return parameters.masked_fill(parameters <= MASKED, math.inf).argmin(-1)

    def vote(self, parameters: Tensor, noise: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Logarithms of the votes; of equally frequent actions the first is the likeliest."""
        action = self.choose(parameters, noise)
        votes = torch.zeros(parameters.shape[1:], dtype=torch.int64, device=parameters.device)
        votes.scatter_add_(-1, action.movedim(0, -1), torch.ones_like(action).movedim(0, -1))
        return self.masked(votes.float().clamp_min(NO_VOTE).log(), parameters[0] > MASKED), votes

    def option_of(self, action: Tensor) -> Tensor:
        """The action."""
        return action

    def option_scores(self, parameters: Tensor) -> Tensor:
        """The logits."""
        return parameters

    def from_option(self, option: Tensor) -> Tensor:
        """The option."""
        return option

    def cell_probability(self, parameters: Tensor) -> Tensor:
        """Softmax."""
        return parameters.double().softmax(-1)

    def cell_of(self, parameters: Tensor, action: Tensor) -> Tensor:
        """The action."""
        return action

    def moved(self, parameters: Tensor, action: Tensor, cell: Tensor) -> Tensor:
        """The cell."""
        return cell

    def cell_noise(self, noise: Tensor) -> Tensor:
        """The same noise."""
        return noise

    def check(self, action: Tensor, shape: tuple[int, int]) -> None:
        """Whole numbers below A, or below the agent's own number."""
        most = self.parameters if self.sizes is None else torch.tensor(self.sizes, device=action.device)
        check_numbers("actions", action, shape, most)

    def left_alone(self, replace: Tensor) -> Tensor:
        """Negative numbers."""
        return replace < 0

    def valid(self, action: Tensor) -> Tensor:
        """0 .. A - 1."""
        return (action >= 0) & (action < self.parameters)


# For teams of which it does not matter what they do, such as those that codecs are tried with.
NO_CHOICE = Discrete(("act",))


@dataclass(frozen=True)
class MultiDiscrete(ActionSpace):
    """A vector of K discrete actions, independent of each other given the parameters.

    Args:
        components: Number of values of each component.
        sizes: [N][K] how many of them each agent has, the first ones; None if all have all.
    """

    components: tuple[int, ...]
    sizes: tuple[tuple[int, ...], ...] | None = None
    names: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        wrong = [s for s in self.sizes or () if len(s) != len(self.components)]
        wrong += [s for s in self.sizes or () if any(not 1 <= a <= b for a, b in zip(s, self.components, strict=False))]
        if not self.components or min(self.components) < 1 or wrong:
            raise ValueError(f"sizes must have {len(self.components)} numbers in 1 .. {self.components}, not {wrong}")
        shown = [range(n) for n in self._counted]
        names = [""]
        for values in shown:
            names = [f"{name}-{value}" if name else str(value) for name in names for value in values]
        object.__setattr__(self, "names", tuple(names))

    @property
    def _counted(self) -> tuple[int, ...]:
        """The leading components, as many as have few combinations together: others belong to no option or cell."""
        count = 1
        while count < len(self.components) and math.prod(self.components[: count + 1]) <= MOST_CELLS:
            count += 1
        return self.components[:count]

    @property
    def parameters(self) -> int:  # type: ignore[override]
        """A logit per value of each component."""
        return sum(self.components)

    @property
    def shape(self) -> tuple[int, ...]:  # type: ignore[override]
        """[K]."""
        return (len(self.components),)

    @property
    def expected(self) -> str:  # type: ignore[override]
        """The ranges."""
        return f"vectors of whole numbers below {self.components}"

    @property
    def cells(self) -> int:  # type: ignore[override]
        """Combinations of the leading components."""
        return math.prod(self._counted)

    @property
    def _parts(self) -> list[Discrete]:
        return [Discrete(tuple(map(str, range(size)))) for size in self.components]

    def _split(self, parameters: Tensor) -> tuple[Tensor, ...]:
        parts: tuple[Tensor, ...] = torch.split(parameters, list(self.components), -1)
        return parts

    def widest(self) -> MultiDiscrete:
        """All values."""
        return MultiDiscrete(self.components)

    def available(self, device: torch.device) -> Tensor | None:
        """The first values of each component of each agent."""
        if self.sizes is None:
            return None
        columns = zip(zip(*self.sizes, strict=True), self.components, strict=True)
        return torch.cat([_first(own, most, device) for own, most in columns], 1)

    def masked(self, parameters: Tensor, allowed: Tensor | None) -> Tensor:
        """Logits, very low where a value is not allowed."""
        return parameters if allowed is None else parameters.masked_fill(~allowed, MASKED)

    def permitted(self, parameters: Tensor, action: Tensor) -> Tensor:
        """Actions of which no component is masked."""
        parts = zip(self._parts, self._split(parameters), action.unbind(-1), strict=True)
        return torch.stack([part.permitted(logits, chosen) for part, logits, chosen in parts]).all(0)

    def noise(self, shape: Sequence[int], generator: torch.Generator | None, device: torch.device) -> Tensor:
        """Gumbel noise [*shape, P]."""
        return gumbel((*shape, self.parameters), generator, device)

    def choose(self, parameters: Tensor, noise: Tensor | None) -> Tensor:
        """The value with the largest logit of each component."""
        noisy = parameters if noise is None else parameters + noise
        return torch.stack([logits.argmax(-1) for logits in self._split(noisy)], -1)

    def log_probability(self, parameters: Tensor, action: Tensor) -> Tensor:
        """The sum over the components."""
        parts = zip(self._parts, self._split(parameters), action.unbind(-1), strict=True)
        return torch.stack([part.log_probability(logits, chosen) for part, logits, chosen in parts]).sum(0)

    def entropy(self, parameters: Tensor) -> Tensor:
        """The sum over the components."""
        parts = zip(self._parts, self._split(parameters), strict=True)
        return torch.stack([part.entropy(logits) for part, logits in parts]).sum(0)

    def average(self, parameters: Tensor) -> Tensor:
        """Mean log-probabilities of each component."""
        return torch.cat([logits.log_softmax(-1).mean(0) for logits in self._split(parameters)], -1)

    def untargeted(self, parameters: Tensor) -> tuple[float, Tensor]:
        """Away from the likeliest values."""
        return -1.0, self.choose(parameters, None)

    def unlikeliest(self, parameters: Tensor) -> Tensor:
        """The least likely value of each component."""
        parts = zip(self._parts, self._split(parameters), strict=True)
        return torch.stack([part.unlikeliest(logits) for part, logits in parts], -1)

    def vote(self, parameters: Tensor, noise: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """A vote on each component."""
        noises: Sequence[Tensor | None] = self._split(noise) if noise is not None else [None] * len(self.components)
        voted = [p.vote(x, n)[0] for p, x, n in zip(self._parts, self._split(parameters), noises, strict=True)]
        return torch.cat(voted, -1), None

    def option_of(self, action: Tensor) -> Tensor:
        """The number of the combination of the leading components."""
        option = torch.zeros_like(action[..., 0])
        for size, chosen in zip(self._counted, action.unbind(-1), strict=False):
            option = option * size + chosen
        return option

    def from_option(self, option: Tensor) -> Tensor:
        """The combination, with 0 for other components."""
        out, rest = [], option
        for size in reversed(self._counted):
            out.append(rest % size)
            rest = rest // size
        fill = [torch.zeros_like(option)] * (len(self.components) - len(out))
        return torch.stack([*reversed(out), *fill], -1)

    def cell_probability(self, parameters: Tensor) -> Tensor:
        """Products of the leading components' probabilities."""
        out: Tensor | None = None
        for logits, _ in zip(self._split(parameters), self._counted, strict=False):
            own = logits.double().softmax(-1)
            out = own if out is None else (out.unsqueeze(-1) * own.unsqueeze(-2)).flatten(-2)
        assert out is not None
        return out

    def cell_of(self, parameters: Tensor, action: Tensor) -> Tensor:
        """The option."""
        return self.option_of(action)

    def moved(self, parameters: Tensor, action: Tensor, cell: Tensor) -> Tensor:
        """Other leading components."""
        count = len(self._counted)
        return torch.cat([self.from_option(cell)[..., :count], action[..., count:]], -1)

    def check(self, action: Tensor, shape: tuple[int, int]) -> None:
        """Whole numbers below each component's size, or the agent's own."""
        sizes = self.components if self.sizes is None else self.sizes
        check_numbers("actions", action, (*shape, *self.shape), torch.tensor(sizes, device=action.device))

    def left_alone(self, replace: Tensor) -> Tensor:
        """Vectors with a negative number."""
        return (replace < 0).any(-1)

    def valid(self, action: Tensor) -> Tensor:
        """Each component in its range."""
        return ((action >= 0) & (action < torch.tensor(self.components, device=action.device))).all(-1)


def _entropy(log: Tensor) -> Tensor:
    """[...], from log-probabilities [..., A]."""
    return -(log.exp() * log).sum(-1)


def _first(own: Sequence[int], most: int, device: torch.device) -> Tensor:
    """[N, most] bool, the first numbers of each agent."""
    return torch.arange(most, device=device) < torch.tensor(own, device=device).unsqueeze(1)
