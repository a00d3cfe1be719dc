"""Oracle-Hint: each agent must guess the observation of one other agent, so the task is to learn whom to listen to.

In each step every agent observes a fresh secret, one of ``symbols``, and must guess the secret of its *source*. The
sources form one cycle over all agents, the same in all episodes; no agent observes who its source is. The cycle is
drawn with seed ``wiring``, by default the training seed of the team: another cycle for each team, and the same one in
the team's training and evaluation. An agent gets 1 for a right guess and 0 for a wrong one; an episode has
``max_steps`` steps.

With ``moment="random"`` the guess of an agent counts in one step of the episode only, drawn for each agent. In that
step an additional entry of the observation tells the agent (``shown_to="receiver"``) or its source
(``shown_to="sender"``) so: the task is to learn *when* to communicate, too.

Known baselines, as mean reward of an agent per step: 1 for a team in which each agent hears its source (and repeats
the source's secret), 1 / ``symbols`` for any team without messages. With a random moment these are returns of an
episode, and if an open gate costs c per step, a gate earns 1 - c if it opens at the moment only, 1 - c T if it is open
in all T steps, 1 / S if it never opens, and 1 / S + (1 - 1 / S) q - c q T if it opens with probability q in each.

For an even number of agents the cycle is the only graph with one sender per receiver that informs all of them, even
if messages are passed on over a second hop: such a graph must be one cycle itself, in which all agents are informed at
the first hop or all at the second, and two hops along an even cycle make two cycles, never one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from agentcomm.contracts.world import DrawnMessage, Transition, World
from agentcomm.pettingzoo.view import ParallelView, view
from envs.symbols import (
    Symbols,
    WiredConfig,
    arranged,
    check_keys,
    check_mode,
    draw_dots,
    draw_links,
    draw_text,
    layout,
    read_numbers,
    readings,
)


class OracleHintConfig(WiredConfig):
    """Arguments of Oracle-Hint."""

    symbols: Symbols = 4
    moment: Literal["every", "random"] = Field("every", description="whether guesses count in every step, or in one")
    shown_to: Literal["receiver", "sender"] = Field(
        "receiver", description="who observes that a guess counts if moment is random: the agent, or its source"
    )


class OracleHint(World[OracleHintConfig]):
    """B copies of Oracle-Hint.

    State: ``secrets`` [B, N] int64, observed now; ``guesses`` [B, N] int64 of the last step, -1 before the first;
    ``flawless`` [B] bool, whether all guesses of the episode that counted were right; ``moments`` [B, N] int64, the
    step in which an agent's guess counts, if it is one step only.

    Attributes:
        informative: [N] int64, the source of each agent: ground truth for evaluations, which no agent observes.
    """

    exogenous = True  # secrets are drawn, whatever agents guess

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """The default team, a small one, and guesses that count once."""
        return {
            "": {},
            "small": {"members": 4, "symbols": 2},
            "moment": {"members": 4, "moment": "random", "shown_to": "sender"},
        }

    def __init__(self, config: OracleHintConfig, num_worlds: int = 1, device: str | torch.device = "cpu") -> None:
        super().__init__(config, num_worlds, device)
        self.symbols = config.symbols
        self.once = config.moment == "random"
        self.agents = tuple(f"agent_{number}" for number in range(config.members))
        self.action_names = tuple(f"guess_{symbol}" for symbol in range(config.symbols))
        self.layout = layout(config.observation, 1 + self.once, config.symbols + self.once)
        self.informative = cycle(config.members, config.wiring or 0).to(self.device)
        self._shown = self.informative.argsort() if config.shown_to == "sender" else None
        shape = (num_worlds, config.members)
        self.state = {
            "secrets": torch.zeros(shape, dtype=torch.int64, device=self.device),
            "guesses": torch.full(shape, -1, device=self.device),
            "flawless": torch.ones(num_worlds, dtype=torch.bool, device=self.device),
        }
        if self.once:
            self.state["moments"] = torch.zeros(shape, dtype=torch.int64, device=self.device)

    @property
    def counting(self) -> Tensor:
        """[B, N] bool, agents whose guess counts in the present step."""
        if self.once:
            return self.state["moments"] == self.length.unsqueeze(1)
        return torch.ones_like(self.state["secrets"], dtype=torch.bool)

    @property
    def told(self) -> Tensor:
        """[B, N] bool, agents that observe now that a guess counts: their own, or that of the agent they inform."""
        return self.counting if self._shown is None else self.counting[:, self._shown]

    def begin(self, worlds: Tensor, generator: torch.Generator, scene: Mapping[str, Any] | None = None) -> None:
        """Draw secrets and moments, or use those of the scene.

        Args:
            worlds: [W] int64 indices.
            generator: Source of all randomness.
            scene: ``{"secrets": [symbol, ...]}`` of the first step, agents in the order of ``agents``; and
                ``"moments": [step, ...]``, from 0, if guesses count once.

        Raises:
            ValueError: If there is another key, or not exactly one symbol and moment per agent.
        """
        if scene is None:
            secrets = self._draw(self.symbols, len(worlds), generator)
            moments = self._draw(self.max_steps, len(worlds), generator) if self.once else None
        else:
            check_keys(scene, ("secrets", "moments") if self.once else ("secrets",))
            secrets = read_numbers(scene, "secrets", self.num_agents, self.symbols).to(self.device)
            moments = read_numbers(scene, "moments", self.num_agents, self.max_steps, "steps") if self.once else None
        self.state["secrets"][worlds] = secrets
        self.state["guesses"][worlds] = -1
        self.state["flawless"][worlds] = True
        if moments is not None:
            self.state["moments"][worlds] = moments.to(self.device)

    def _draw(self, below: int, count: int, generator: torch.Generator) -> Tensor:
        return torch.randint(below, (count, self.num_agents), generator=generator, device=self.device)

    def advance(self, actions: Tensor, generator: torch.Generator) -> Transition:
        """Compare the guesses with the sources' secrets, then draw new ones."""
        right, counting = actions == self.state["secrets"][:, self.informative], self.counting
        self.state |= {
            "secrets": self._draw(self.symbols, self.num_worlds, generator),
            "guesses": actions.clone(),
            "flawless": self.state["flawless"] & (right | ~counting).all(1),
        }
        never = torch.zeros(self.num_worlds, dtype=torch.bool, device=self.device)
        return Transition(reward=(right & counting).float(), terminated=never, active=torch.ones_like(right))

    def observe(self, worlds: Tensor | None = None) -> Tensor:
        """[B, N, symbols] float32 one-hot secrets, or [B, N, 1] int64 with ``observation="indices"``.

        If guesses count once, with another entry that is set in the step that counts.
        """
        chosen = self._all if worlds is None else worlds
        seen = self.state["secrets"][chosen].unsqueeze(2)
        if self.once:
            seen = torch.cat([seen, torch.where(self.told[chosen], self.symbols, -1).unsqueeze(2)], 2)
        return arranged(seen, self.layout)

    def readings(self) -> Tensor | None:
        """The first entry shows a secret, the second that a guess counts."""
        if not self.once:
            return super().readings()
        return readings(self, range(self.symbols), (-1, self.symbols))

    def success(self) -> Tensor:
        """[B] bool, all guesses of the episode that counted were right."""
        return self.state["flawless"].clone()

    def scene(self, world: int) -> dict[str, Any]:
        """Each agent's secret, its source, its last guess (-1 before the first), and the step that counts, if one."""
        scene = {
            "secrets": self.state["secrets"][world].tolist(),
            "source": self.informative.tolist(),
            "guesses": self.state["guesses"][world].tolist(),
        }
        return scene | ({"moments": self.state["moments"][world].tolist()} if self.once else {})

    def render(self, world: int, mode: Literal["ansi", "rgb_array"], links: list[DrawnMessage] | None = None) -> Any:
        """Draw one world as text, or the graph as a matrix of receivers (rows) and senders (columns).

        The image has a dot at each receiver's source, on cells in the colors of the links' fates.

        Raises:
            ValueError: If the mode is unknown.
        """
        check_mode(mode)
        scene = self.scene(world)
        if mode == "rgb_array":
            return draw_dots(draw_links(self.num_agents, links), dict.fromkeys(enumerate(scene["source"]), 0))
        lines = []
        for number, (agent, source, guess) in enumerate(
            zip(self.agents, scene["source"], scene["guesses"], strict=True)
        ):
            line = f"{agent} sees {scene['secrets'][number]}, its source is {self.agents[source]}"
            line += f", its guess counts in step {scene['moments'][number]}" if self.once else ""
            lines.append(line + (", it has not guessed" if guess < 0 else f", its last guess was {guess}"))
        return draw_text(lines, self.agents, links)


def cycle(members: int, wiring: int) -> Tensor:
    """[N] int64, each agent's predecessor in one random cycle over all agents."""
    order = torch.randperm(members, generator=torch.Generator().manual_seed(wiring))
    source = torch.empty_like(order)
    source[order] = order.roll(1)
    return source


def parallel_env(**arguments: Any) -> ParallelView:
    """One Oracle-Hint world for PettingZoo; arguments: those of its config, and ``render_mode``."""
    return view("oracle_hint", **arguments)
