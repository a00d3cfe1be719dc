"""Agreement: a team must agree on the right answer by voting (a consensus task).

A hidden symbol is drawn per episode. Each member observes a private signal: the symbol with probability ``accuracy``,
otherwise one of the others; signals stay the same during an episode. In every step each member votes for a symbol. As
soon as a quorum of the present members votes for the same symbol, the episode ends: all get 1 if it is the hidden
symbol, and lose ``wrong`` if it is not. Each step costs ``patience``; without agreement after ``max_steps`` there is no
further reward.

A member observes its signal and its own last vote, and learns about others' only from messages.

Known baselines under unanimity (:func:`own_votes`, :func:`majority_votes`): members that vote for their own signals
agree only if all signals are the same, in the first step or never; members that vote for the majority of all signals,
which needs messages from all to all, agree in the first step, and are right as often as that majority.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import one_hot

from agentcomm.contracts.world import DrawnMessage, Transition, World, WorldConfig
from agentcomm.pettingzoo.view import ParallelView, view
from envs.symbols import arranged, check_keys, check_mode, draw_dots, draw_links, draw_text, layout, read_numbers


class AgreementConfig(WorldConfig):
    """Arguments of Agreement."""

    members: int = Field(5, ge=2, le=256, description="number of agents")
    symbols: int = Field(2, ge=2, le=64, description="number of possible answers")
    accuracy: float = Field(0.7, ge=0, le=1, description="chance that a member's signal is the right answer")
    quorum: float = Field(1.0, gt=0.5, le=1, description="share of the members that must vote alike; 1 for all")
    wrong: float = Field(1.0, ge=0, description="reward lost by agreeing on a wrong answer")
    patience: float = Field(0.02, ge=0, description="cost of a step, in units of reward")
    max_steps: int = Field(10, ge=1, description="steps after which an episode ends without agreement")


class Agreement(World[AgreementConfig]):
    """B copies of Agreement.

    State: ``truth`` [B] int64; ``signals`` [B, N] int64; ``votes`` [B, N] int64 of the last step, -1 before the first;
    ``agreed`` [B] int64, -1 before an agreement; ``alive`` [B, N] bool.
    """

    can_lose_members = True
    votes = True

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """Unanimity, and a quorum of three quarters."""
        return {"": {}, "majority": {"members": 4, "symbols": 3, "quorum": 0.75}}

    def __init__(self, config: AgreementConfig, num_worlds: int = 1, device: str | torch.device = "cpu") -> None:
        super().__init__(config, num_worlds, device)
        s, self.symbols = config.symbols, config.symbols
        self.agents = tuple(f"member_{number}" for number in range(config.members))
        self.action_names = tuple(f"vote_{symbol}" for symbol in range(s))
        self.layout = layout(config.observation, 2, 2 * s)
        shape = (num_worlds, config.members)
        self.state = {
            "truth": torch.zeros(num_worlds, dtype=torch.int64, device=self.device),
            "signals": torch.zeros(shape, dtype=torch.int64, device=self.device),
            "votes": torch.full(shape, -1, device=self.device),
            "agreed": torch.full((num_worlds,), -1, device=self.device),
            "alive": torch.ones(shape, dtype=torch.bool, device=self.device),
        }

    def begin(self, worlds: Tensor, generator: torch.Generator, scene: Mapping[str, Any] | None = None) -> None:
        """Draw the answer and the signals, or use those of the scene.

        Args:
            worlds: [W] int64 indices.
            generator: Source of all randomness.
            scene: ``{"truth": symbol, "signals": [symbol, ...]}``, members in the order of ``agents``.

        Raises:
            ValueError: If a key is missing or unknown, or a symbol is out of range.
        """
        shape, s = (len(worlds), self.num_agents), self.symbols
        if scene is None:
            truth = torch.randint(s, shape[:1], generator=generator, device=self.device)
            right = torch.rand(shape, generator=generator, device=self.device) < self.config.accuracy
            other = torch.randint(1, s, shape, generator=generator, device=self.device)
            signals = (truth.unsqueeze(1) + other * ~right) % s
        else:
            truth, signals = self._read(scene)
        self.state["truth"][worlds] = truth
        self.state["signals"][worlds] = signals
        self.state["votes"][worlds] = -1
        self.state["agreed"][worlds] = -1
        self.state["alive"][worlds] = True

    def _read(self, scene: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
        check_keys(scene, ("truth", "signals"))
        truth = read_numbers({"truth": [scene["truth"]]}, "truth", 1, self.symbols)
        return truth.to(self.device), read_numbers(scene, "signals", self.num_agents, self.symbols).to(self.device)

    def advance(self, actions: Tensor, generator: torch.Generator) -> Transition:
        """Count the votes of the members that are present."""
        alive = self.alive
        count = (one_hot(actions, self.symbols) * alive.unsqueeze(-1)).sum(1)
        needed = (self.config.quorum * alive.sum(1) - 1e-6).ceil()  # with tolerance for float rounding
        most, symbol = count.max(1)
        agreed = symbol.masked_fill(most < needed, -1)
        votes = torch.where(alive, actions, -1)
        gain = (agreed == self.state["truth"]).float()
        gain = torch.where(agreed >= 0, gain - (1 - gain) * self.config.wrong, 0.0) - self.config.patience
        self.state |= {"votes": votes, "agreed": agreed}
        return Transition(reward=gain.unsqueeze(1) * alive, terminated=agreed >= 0, active=alive.clone())

    def observe(self, worlds: Tensor | None = None) -> Tensor:
        """[B, N, 2 symbols] float32: signal and own last vote, one-hot; or [B, N, 2] int64 indices of the ones."""
        chosen = self._all if worlds is None else worlds
        signals, votes = self.state["signals"][chosen], self.state["votes"][chosen]
        seen = torch.stack([signals, torch.where(votes >= 0, votes + self.symbols, -1)], -1)
        seen = seen.masked_fill(~self.alive[chosen].unsqueeze(-1), -1)
        return arranged(seen, self.layout)

    def success(self) -> Tensor:
        """[B] bool, the team has agreed on the right answer."""
        return self.state["agreed"] == self.state["truth"]

    def facts(self) -> dict[str, Tensor]:
        """Roles, and each member's signal."""
        return super().facts() | {"signal": self.state["signals"].clone()}

    def scene(self, world: int) -> dict[str, Any]:
        """The answer, the signals, and the last votes (-1 before the first)."""
        return {
            "truth": int(self.state["truth"][world]),
            "signals": self.state["signals"][world].tolist(),
            "votes": self.state["votes"][world].tolist(),
        }

    def render(self, world: int, mode: Literal["ansi", "rgb_array"], links: list[DrawnMessage] | None = None) -> Any:
        """Draw one world as text, or as a matrix of receivers (rows) and senders (columns) with right votes dark.

        Raises:
            ValueError: If the mode is unknown.
        """
        check_mode(mode)
        truth, signals, votes = self.scene(world).values()
        if mode == "rgb_array":
            dots = {(member, member): 0 if vote == truth else 160 for member, vote in enumerate(votes)}
            return draw_dots(draw_links(self.num_agents, links), dots)
        lines = [f"the answer is {truth}"]
        lines += [
            f"{agent} sees {signal}, " + ("has not voted" if vote < 0 else f"voted {vote}")
            for agent, signal, vote in zip(self.agents, signals, votes, strict=True)
        ]
        return draw_text(lines, self.agents, links)


def own_votes(world: Agreement) -> Tensor:
    """[B, N] int64, actions of members that vote for their own signals."""
    return world.state["signals"].clone()


def majority_votes(world: Agreement) -> Tensor:
    """[B, N] int64, actions of members that vote for the majority of all signals; in a tie, for the smallest symbol."""
    alive = world.alive.unsqueeze(-1)
    best = (one_hot(world.state["signals"], world.symbols) * alive).sum(1).argmax(1)
    return best.unsqueeze(1).expand(-1, world.num_agents).clone()


def parallel_env(**arguments: Any) -> ParallelView:
    """One Agreement world for PettingZoo; arguments: those of its config, and ``render_mode``."""
    return view("agreement", **arguments)
