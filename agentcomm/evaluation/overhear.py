"""What an eavesdropper hears of a trained team, and what it learns from that.

It knows who it listens to and what time it is; besides, it has either the *payloads*, or only the *sizes* of messages
and the times at which they come, which shut gates and links without messages tell it too. Encryption hides the
former, not the latter.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from agentcomm import policy_file
from agentcomm.assembly import make_network, make_world
from agentcomm.config import Choice
from agentcomm.errors import RunError
from agentcomm.evaluation.episodes import Moment, play
from agentcomm.evaluation.probe import Finding, probe
from agentcomm.messages.network import Notes
from agentcomm.run import Run
from agentcomm.seeds import derive
from agentcomm.threats import View

EAVESDROP = Choice(name="eavesdrop")
WINDOW = 4  # steps back that sizes and times are looked at
SOURCES = ("clock", "sizes", "payloads")


@dataclass(frozen=True)
class Overheard:
    """S samples: one per step of an episode and agent that was there.

    Attributes:
        episode: [S] int64.
        agent: [S] int64.
        step: [S] int64.
        payloads: [S, rounds * (D + 1)], what the agent said on tapped links in the mean, and whether it said anything.
        sizes: [S, 2 * WINDOW], bytes that came to it and from it, in this step and those before.
        facts: [S] int64 each, by name; -1 where the question does not arise.
    """

    episode: Tensor
    agent: Tensor
    step: Tensor
    payloads: Tensor
    sizes: Tensor
    facts: dict[str, Tensor]

    def features(self, source: str, named: bool = True) -> Tensor:
        """[S, F] what a probe may look at: the clock, and what the source says.

        Args:
            source: One of ``SOURCES``.
            named: Whether the agent's name may be looked at, too. Who knows it knows the agent's role.
        """
        parts = [nn.functional.one_hot(self.step).float()]
        if named:
            parts.append(nn.functional.one_hot(self.agent).float())
        if source != "clock":
            parts.append(self.payloads if source == "payloads" else self.sizes)
        return torch.cat(parts, 1)


def overhear(run: Run, seed: int, episodes: int, sampled: bool = False, attack: Choice = EAVESDROP) -> Overheard:
    """Play a trained team and listen.

    Args:
        run: The run.
        seed: Which of its teams.
        episodes: How many, other ones than those of evaluation.
        sampled: Whether actions and gates are sampled instead of greedy.
        attack: An attack that keeps what it is shown on a ``tape``.

    Raises:
        RunError: If that team is not trained.
    """
    if ("team", seed) not in run.trained():
        raise RunError(f"{run.path} has no trained team of seed {seed}")
    saved = policy_file.load(run.policy("team", seed))
    world, rounds = make_world(saved.environment, episodes), saved.policy.rounds
    network = make_network(world, saved.policy, (attack,), path=run.config.path)
    tap = network.guards[0].attack
    steps: list[tuple[Moment, Tensor, Tensor]] = []

    def follow(moment: Moment) -> None:
        said = _said(tap.tape, rounds, moment.running, world.num_agents, saved.policy.width)  # type: ignore[attr-defined]
        steps.append((moment, said, _bytes(moment.notes, moment.running, world.num_agents)))
        tap.tape = []  # type: ignore[attr-defined]

    tap.tape = []  # type: ignore[attr-defined]
    own = derive(run.config.evaluation.seed, "overhear", seed)
    generator = torch.Generator(world.device).manual_seed(derive(own, "decisions")) if sampled else None
    play(world, saved.policy, network, own, generator=generator, follow=follow)
    tap.tape = None  # type: ignore[attr-defined]

    before = [torch.zeros_like(steps[0][2])] * (WINDOW - 1) + [size for _, _, size in steps]
    # The newest first, whatever the step.
    sizes = torch.stack([torch.cat(before[t : t + WINDOW][::-1], -1) for t in range(len(steps))])
    running = torch.stack([moment.running for moment, _, _ in steps])
    facts = {name: torch.stack([moment.facts[name] for moment, _, _ in steps]) for name in steps[0][0].facts}
    there = running.unsqueeze(-1).expand(-1, -1, world.num_agents)
    step, episode, agent = there.nonzero(as_tuple=True)
    return Overheard(
        episode=episode,
        agent=agent,
        step=step,
        payloads=torch.stack([said for _, said, _ in steps])[there],
        sizes=sizes[there],
        facts={name: fact[there] for name, fact in facts.items()},
    )


def _said(tape: list[View], rounds: int, running: Tensor, agents: int, width: int) -> Tensor:
    """[B, N, rounds * (D + 1)] mean payload of each agent's messages per round, and whether there are any."""
    total = running.new_zeros(max(rounds, 1), len(running), agents, width + 1, dtype=torch.float32)
    for view in tape:
        assert view.payload is not None
        assert view.sender is not None
        # Where agents act in turns, the exchanges of the last round are one.
        heard = torch.cat([view.payload, view.reach.unsqueeze(-1).float()], -1).flatten(1, 2)
        sender = view.sender.flatten(1).clamp(0, agents - 1).unsqueeze(-1).expand_as(heard)
        total[min(view.round, rounds - 1)].scatter_add_(1, sender, heard * view.reach.flatten(1).unsqueeze(-1))
    count = total[..., -1:]
    mean = torch.cat([total[..., :-1] / count.clamp_min(1), (count > 0).float()], -1)
    return mean.permute(1, 2, 0, 3).flatten(2)


def _bytes(notes: list[Notes], running: Tensor, agents: int) -> Tensor:
    """[B, N, 2] bytes on the wire to and from each agent in one step."""
    out = running.new_zeros(len(running), agents, 2, dtype=torch.float32)
    for note in notes:
        size = torch.as_tensor(note.fields["size"] * (note.fields["fate"] > 0)).to(out)
        sender = torch.as_tensor(note.fields["sender"]).to(running.device).clamp(0, agents - 1)
        out[..., 0] += size.sum(-1)
        out[..., 1] += torch.zeros_like(out[..., 1]).scatter_add_(1, sender.flatten(1), size.flatten(1))
    return out


def learned(overheard: Overheard, hidden: int = 64, agents: list[int] | None = None) -> dict[str, dict[str, Finding]]:
    """What each source tells of each fact: findings by fact and source.

    The role is asked without saying whose it is.

    Args:
        overheard: What was heard.
        hidden: Width of the probes; 0 for logistic regression.
        agents: Ask about these only; all if not given.
    """
    asked = torch.ones_like(overheard.agent, dtype=torch.bool)
    if agents is not None:
        asked = torch.isin(overheard.agent, torch.tensor(agents, device=asked.device))
    out: dict[str, dict[str, Finding]] = {}
    for name, fact in overheard.facts.items():
        fact = fact.masked_fill(~asked, -1)
        if len(torch.unique(fact[fact >= 0])) < 2:
            continue  # nothing to be told
        named = name != "role"
        out[name] = {
            source: probe(overheard.features(source, named), fact, overheard.episode, hidden=hidden)
            for source in SOURCES
        }
    return out
