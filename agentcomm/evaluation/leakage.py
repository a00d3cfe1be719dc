"""Leakage: the messages that an eavesdropper intercepts, and what it can infer from them.

The eavesdropper knows the sender and the step of each message. In addition it has either the *payloads*, or only the
*sizes* and times of messages, which also reveal closed gates and silent links. Encryption hides the payloads, but not
their sizes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from agentcomm.base.errors import RunError
from agentcomm.base.seeds import derive
from agentcomm.contracts.outcome import Episodes
from agentcomm.contracts.policy import CommPolicy
from agentcomm.contracts.views import MessageView
from agentcomm.contracts.world import World
from agentcomm.evaluation.calibration import Clean, calibrate
from agentcomm.evaluation.play import play
from agentcomm.evaluation.probe import Finding, probe
from agentcomm.network.record import ExchangeRecord
from agentcomm.runs import policy_file
from agentcomm.runs.assembly import make_comms, make_world
from agentcomm.runs.choices import Choice, TransportConfig
from agentcomm.runs.folder import Run
from agentcomm.runs.policy_file import SavedPolicy
from agentcomm.step.comms import Comms
from agentcomm.step.loop import StepRecord

EAVESDROP = Choice(name="eavesdrop")
INFER = "infer"  # intercepts the messages to one agent
WINDOW = 4  # steps of sizes and times that a probe uses
SOURCES = ("clock", "sizes", "payloads")


@dataclass(frozen=True)
class Intercepted:
    """Intercepted messages as S samples: one per step of an episode and present agent.

    Attributes:
        episode: [S] int64.
        agent: [S] int64.
        step: [S] int64.
        payloads: [S, rounds * (D + 1)], mean payload of the agent on tapped links, and whether it sent any.
        sizes: [S, 2 * WINDOW], bytes to and from the agent, in this and the preceding steps.
        facts: [S] int64 each, by name; -1 where a fact is undefined.
    """

    episode: Tensor
    agent: Tensor
    step: Tensor
    payloads: Tensor
    sizes: Tensor
    facts: dict[str, Tensor]

    def features(self, source: str, named: bool = True) -> Tensor:
        """[S, F] features for a probe: the step, and the data of the source.

        Args:
            source: One of ``SOURCES``.
            named: Whether to include the agent's identity, which determines its role.
        """
        parts = [nn.functional.one_hot(self.step).float()]
        if named:
            parts.append(nn.functional.one_hot(self.agent).float())
        if source != "clock":
            parts.append(self.payloads if source == "payloads" else self.sizes)
        return torch.cat(parts, 1)

    def combined(self, queries: int) -> Intercepted:
        """A copy in which payloads cover the last ``queries`` steps instead of one; zeros before the first step."""
        place = torch.full((int(self.episode.max()) + 1, int(self.agent.max()) + 1, int(self.step.max()) + 1), -1)
        place[self.episode, self.agent, self.step] = torch.arange(len(self.step))
        known = torch.cat([self.payloads, torch.zeros_like(self.payloads[:1])])  # the last row, -1, is silence
        past = [
            known[torch.where(self.step >= back, place[self.episode, self.agent, (self.step - back).clamp_min(0)], -1)]
            for back in range(queries)
        ]
        return replace(self, payloads=torch.cat(past, 1))

    def shuffled(self, seed: int = 0) -> Intercepted:
        """The control: payloads and sizes permuted among episodes, separately for each agent and step."""
        noise = torch.rand(len(self.step), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        group = self.agent * (int(self.step.max()) + 1) + self.step
        place, dealt = group.argsort(stable=True), (group + noise).argsort()
        payloads, sizes = torch.empty_like(self.payloads), torch.empty_like(self.sizes)
        payloads[place], sizes[place] = self.payloads[dealt], self.sizes[dealt]
        return replace(self, payloads=payloads, sizes=sizes)


def intercept(
    run: Run,
    seed: int,
    episodes: int,
    sampled: bool = False,
    attack: Choice = EAVESDROP,
    defenses: Sequence[Choice] = (),
) -> Intercepted:
    """Run episodes of a trained team and intercept its messages.

    Args:
        run: The run.
        seed: Training seed of the team.
        episodes: Number of episodes, which differ from those of evaluation.
        sampled: Whether actions and gates are sampled instead of greedy.
        attack: An attack that reads messages.
        defenses: Defenses of the team, such as cover traffic.

    Raises:
        RunError: If that team is not trained.
    """
    if ("team", seed) not in run.trained():
        raise RunError(f"{run.path} has no trained team of seed {seed}")
    saved = policy_file.load(run.policy("team", seed))
    own = derive(run.config.evaluation.seed, "overhear", seed)
    with (
        closing(make_world(saved.environment, episodes)) as world,
        closing(make_comms(world, saved.policy, (attack,), defenses, transport=run.config.transport)) as comms,
    ):
        calibrate(comms.network.defenses, Clean(world, saved.policy, run.config.transport, sampled, seed=own))
        generator = torch.Generator(world.device).manual_seed(derive(own, "decisions")) if sampled else None
        return listen(
            world, comms, lambda follow: play(world, saved.policy, comms, own, generator=generator, follow=follow)
        )


def listen(world: World, comms: Comms, run: Callable[[Callable[[StepRecord], None]], object]) -> Intercepted:
    """What the first attack on messages reads in episodes.

    Args:
        world: Their worlds.
        comms: The team's message layer.
        run: Runs the episodes, and calls the function that it is given after each step.
    """
    tap, shape = comms.adversary.message_guards[0], comms.network.team_shape
    steps: list[tuple[StepRecord, Tensor, Tensor]] = []

    def follow(record: StepRecord) -> None:
        rounds = len(record.decision.inboxes)
        said = _said(tap.trace or [], rounds, record.running, world.num_agents, shape.width)
        steps.append((record, said, _bytes(record.exchanges, record.running, world.num_agents)))
        tap.trace = []

    tap.trace = []
    run(follow)
    tap.trace = None

    before = [torch.zeros_like(steps[0][2])] * (WINDOW - 1) + [size for _, _, size in steps]
    # The latest step first.
    sizes = torch.stack([torch.cat(before[t : t + WINDOW][::-1], -1) for t in range(len(steps))])
    running = torch.stack([record.running for record, _, _ in steps])
    facts = {name: torch.stack([record.facts[name] for record, _, _ in steps]) for name in steps[0][0].facts}
    there = running.unsqueeze(-1).expand(-1, -1, world.num_agents)
    present = [record.alive for record, _, _ in steps if record.alive is not None]
    there = there & torch.stack(present) if present else there
    step, episode, agent = there.nonzero(as_tuple=True)
    return Intercepted(
        episode=episode.cpu(),
        agent=agent.cpu(),
        step=step.cpu(),
        payloads=torch.stack([said for _, said, _ in steps])[there].cpu(),
        sizes=sizes[there].cpu(),
        facts={name: fact[there].cpu() for name, fact in facts.items()},
    )


def _said(trace: list[MessageView], rounds: int, running: Tensor, agents: int, width: int) -> Tensor:
    """[B, N, rounds * (D + 1)] mean payload of each agent's messages per round, and whether it sent any."""
    total = running.new_zeros(max(rounds, 1), len(running), agents, width + 1, dtype=torch.float32)
    for view in trace:
        # Where agents act in turns, the exchanges of the last round count as one.
        heard = torch.cat([view.payload, view.reach.unsqueeze(-1).float()], -1).flatten(1, 2)
        sender = view.sender.flatten(1).clamp(0, agents - 1).unsqueeze(-1).expand_as(heard)
        total[min(view.round, rounds - 1)].scatter_add_(1, sender, heard * view.reach.flatten(1).unsqueeze(-1))
    count = total[..., -1:]
    mean = torch.cat([total[..., :-1] / count.clamp_min(1), (count > 0).float()], -1)
    return mean.permute(1, 2, 0, 3).flatten(2)


def _bytes(exchanges: list[ExchangeRecord], running: Tensor, agents: int) -> Tensor:
    """[B, N, 2] bytes on the wire to and from each agent in one step."""
    out = running.new_zeros(len(running), agents, 2, dtype=torch.float32)
    for exchange in exchanges:
        fields = exchange.fields
        size = torch.as_tensor(fields["size"] * (fields["fate"] > 0)).to(out)
        sender = torch.as_tensor(fields["sender"]).to(running.device).clamp(0, agents - 1)
        out[..., 0] += size.sum(-1)
        out[..., 1] += torch.zeros_like(out[..., 1]).scatter_add_(1, sender.flatten(1), size.flatten(1))
    return out


def measure_leakage(
    intercepted: Intercepted, hidden: int = 64, agents: list[int] | None = None
) -> dict[str, dict[str, Finding]]:
    """How well each fact can be inferred from each source: findings by fact and source.

    The role is inferred without the agent's identity.

    Args:
        intercepted: The intercepted messages.
        hidden: Hidden width of the probes; 0 for logistic regression.
        agents: Agents to infer facts about; None for all.
    """
    asked = torch.ones_like(intercepted.agent, dtype=torch.bool)
    if agents is not None:
        asked = torch.isin(intercepted.agent, torch.tensor(agents, device=asked.device))
    out: dict[str, dict[str, Finding]] = {}
    for name, fact in intercepted.facts.items():
        fact = fact.masked_fill(~asked, -1)
        if len(torch.unique(fact[fact >= 0])) < 2:
            continue  # a constant fact
        named = name != "role"
        out[name] = {
            source: probe(intercepted.features(source, named), fact, intercepted.episode, hidden=hidden)
            for source in SOURCES
        }
    return out


@dataclass(frozen=True)
class CovertLeak:
    """The secret bits that an accomplice decodes from the messages of a compromised agent.

    Attributes:
        accuracy: Share of correctly decoded bits; 1/2 for random guessing.
        bits: Leaked bits per step: capacity of a binary symmetric channel of this accuracy.
        spoken: Share of steps in which the accomplice received a message of that agent.
        episodes: Outcome of the team's episodes.
    """

    accuracy: float
    bits: float
    spoken: float
    episodes: Episodes


def measure_covert_leak(
    saved: SavedPolicy, attack: Choice, accomplice: int, episodes: int, seed: int, transport: TransportConfig
) -> CovertLeak:
    """Run episodes in which a compromised agent leaks bits to an accomplice.

    Args:
        saved: The team.
        attack: An attack with ``decode`` and a ``secret`` [B, bits] per step in its memory, such as ``leak``.
        accomplice: The agent that listens to the compromised one.
        episodes: Number of episodes.
        seed: Seed of the episodes.
        transport: Transport of the messages.
    """
    tap = Choice.model_validate({"name": INFER, "node": accomplice})
    seeded = derive(seed, "network")
    with (
        closing(make_world(saved.environment, episodes)) as world,
        closing(make_comms(world, saved.policy, (attack, tap), seed=seeded, transport=transport)) as comms,
    ):
        return _decoded(world, saved.policy, comms, seed)


def _decoded(world: World, policy: CommPolicy, comms: Comms, seed: int) -> CovertLeak:
    """Run episodes and decode the bits that the first attack leaks, where the last attack listens."""
    told, ear = comms.adversary.guards[0], comms.adversary.message_guards[-1]
    right = asked = steps = heard = 0
    ear.trace = []

    def follow(record: StepRecord) -> None:
        nonlocal right, asked, steps, heard
        assert ear.trace
        first = ear.trace[0]
        mine = first.reach & (first.sender == told.identity) & record.running.view(-1, 1, 1)
        said = told.attack.decode(first.payload[mine])
        assert said is not None
        secret = told.memory.tensors["secret"][mine.nonzero()[:, 0]]
        right, asked = right + int((said == secret).sum()), asked + secret.numel()
        steps, heard = steps + int(record.running.sum()), heard + int(mine.sum())
        ear.trace.clear()

    played = play(world, policy, comms, seed, follow=follow)
    accuracy = right / max(asked, 1)
    entropy = -sum(p * math.log2(p) for p in (accuracy, 1 - accuracy) if p > 0)
    return CovertLeak(accuracy, (1 - entropy) * asked / max(steps, 1), heard / max(steps, 1), played)
