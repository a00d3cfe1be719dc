"""What an eavesdropper hears of a trained team, and what it learns from that.

It knows who it listens to and what time it is; besides, it has either the *payloads*, or only the *sizes* of messages
and the times at which they come, which shut gates and links without messages tell it too. Encryption hides the
former, not the latter.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from agentcomm.base.errors import RunError
from agentcomm.base.seeds import derive
from agentcomm.contracts.outcome import Episodes
from agentcomm.contracts.views import MessageView
from agentcomm.evaluation.play import play
from agentcomm.evaluation.probe import Finding, probe
from agentcomm.network.record import ExchangeRecord
from agentcomm.runs import policy_file
from agentcomm.runs.assembly import make_comms, make_world
from agentcomm.runs.choices import Choice, TransportConfig
from agentcomm.runs.folder import Run
from agentcomm.runs.policy_file import SavedPolicy
from agentcomm.step.loop import StepRecord

EAVESDROP = Choice(name="eavesdrop")
INFER = "infer"  # hears what is sent to one agent
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

    def combined(self, queries: int) -> Overheard:
        """The same, with what the agent said in the last so many steps in place of the last one; zeros before."""
        place = torch.full((int(self.episode.max()) + 1, int(self.agent.max()) + 1, int(self.step.max()) + 1), -1)
        place[self.episode, self.agent, self.step] = torch.arange(len(self.step))
        known = torch.cat([self.payloads, torch.zeros_like(self.payloads[:1])])  # the last row, -1, is silence
        past = [
            known[torch.where(self.step >= back, place[self.episode, self.agent, (self.step - back).clamp_min(0)], -1)]
            for back in range(queries)
        ]
        return replace(self, payloads=torch.cat(past, 1))

    def shuffled(self, seed: int = 0) -> Overheard:
        """The control: payloads dealt anew among the episodes, each agent's of each step among themselves."""
        noise = torch.rand(len(self.step), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        group = self.agent * (int(self.step.max()) + 1) + self.step
        place, dealt = group.argsort(stable=True), (group + noise).argsort()
        payloads = torch.empty_like(self.payloads)
        payloads[place] = self.payloads[dealt]
        return replace(self, payloads=payloads)


def overhear(run: Run, seed: int, episodes: int, sampled: bool = False, attack: Choice = EAVESDROP) -> Overheard:
    """Play a trained team and listen.

    Args:
        run: The run.
        seed: Which of its teams.
        episodes: How many, other ones than those of evaluation.
        sampled: Whether actions and gates are sampled instead of greedy.
        attack: An attack that reads.

    Raises:
        RunError: If that team is not trained.
    """
    if ("team", seed) not in run.trained():
        raise RunError(f"{run.path} has no trained team of seed {seed}")
    saved = policy_file.load(run.policy("team", seed))
    world, rounds = make_world(saved.environment, episodes), saved.policy.rounds
    comms = make_comms(world, saved.policy, (attack,), transport=run.config.transport)
    tap = comms.adversary.message_guards[0]
    steps: list[tuple[StepRecord, Tensor, Tensor]] = []

    def follow(record: StepRecord) -> None:
        said = _said(tap.trace or [], rounds, record.running, world.num_agents, saved.policy.width)
        steps.append((record, said, _bytes(record.exchanges, record.running, world.num_agents)))
        tap.trace = []

    tap.trace = []
    own = derive(run.config.evaluation.seed, "overhear", seed)
    generator = torch.Generator(world.device).manual_seed(derive(own, "decisions")) if sampled else None
    play(world, saved.policy, comms, own, generator=generator, follow=follow)
    tap.trace = None

    before = [torch.zeros_like(steps[0][2])] * (WINDOW - 1) + [size for _, _, size in steps]
    # The newest first, whatever the step.
    sizes = torch.stack([torch.cat(before[t : t + WINDOW][::-1], -1) for t in range(len(steps))])
    running = torch.stack([record.running for record, _, _ in steps])
    facts = {name: torch.stack([record.facts[name] for record, _, _ in steps]) for name in steps[0][0].facts}
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


def _said(trace: list[MessageView], rounds: int, running: Tensor, agents: int, width: int) -> Tensor:
    """[B, N, rounds * (D + 1)] mean payload of each agent's messages per round, and whether there are any."""
    total = running.new_zeros(max(rounds, 1), len(running), agents, width + 1, dtype=torch.float32)
    for view in trace:
        # Where agents act in turns, the exchanges of the last round are one.
        heard = torch.cat([view.payload, view.reach.unsqueeze(-1).float()], -1).flatten(1, 2)
        sender = view.sender.flatten(1).clamp(0, agents - 1).unsqueeze(-1).expand_as(heard)
        total[min(view.round, rounds - 1)].scatter_add_(1, sender, heard * view.reach.flatten(1).unsqueeze(-1))
    count = total[..., -1:]
    mean = torch.cat([total[..., :-1] / count.clamp_min(1), (count > 0).float()], -1)
    return mean.permute(1, 2, 0, 3).flatten(2)


def _bytes(notes: list[ExchangeRecord], running: Tensor, agents: int) -> Tensor:
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


@dataclass(frozen=True)
class Leaked:
    """What an accomplice read off the messages of a compromised agent that hides bits in them.

    Attributes:
        accuracy: Share of the secret bits it read right; 1/2 for who guesses.
        bits: Per episode and step, that its readings tell of the secret: capacity of a symmetric channel.
        spoken: Share of steps in which it heard that agent at all.
        episodes: How the team fared meanwhile.
    """

    accuracy: float
    bits: float
    spoken: float
    episodes: Episodes


def leaked(
    saved: SavedPolicy, attack: Choice, accomplice: int, episodes: int, seed: int, transport: TransportConfig
) -> Leaked:
    """Let a compromised agent leak, and an accomplice listen.

    Args:
        saved: The team.
        attack: One with ``decode`` and a ``secret`` [B, bits] of each step in its memory, such as ``leak``.
        accomplice: Who listens to the compromised agent.
        episodes: How many.
        seed: Of the episodes.
        transport: How messages travel.
    """
    world = make_world(saved.environment, episodes)
    tap = Choice.model_validate({"name": INFER, "node": accomplice})
    comms = make_comms(world, saved.policy, (attack, tap), seed=derive(seed, "network"), transport=transport)
    told, ear = comms.adversary.guards[0], comms.adversary.message_guards[-1]
    right = asked = steps = heard = 0
    ear.trace = []

    def follow(record: StepRecord) -> None:
        nonlocal right, asked, steps, heard
        assert ear.trace
        first = ear.trace[0]
        mine = first.reach & (first.sender == told.identity) & record.running.view(-1, 1, 1)
        said = told.attack.decode(first.payload[mine])  # type: ignore[attr-defined]
        secret = told.memory.tensors["secret"][mine.nonzero()[:, 0]]
        right, asked = right + int((said == secret).sum()), asked + secret.numel()
        steps, heard = steps + int(record.running.sum()), heard + int(mine.sum())
        ear.trace.clear()

    played = play(world, saved.policy, comms, seed, follow=follow)
    accuracy = right / max(asked, 1)
    entropy = -sum(p * math.log2(p) for p in (accuracy, 1 - accuracy) if p > 0)
    return Leaked(accuracy, (1 - entropy) * asked / max(steps, 1), heard / max(steps, 1), played)
