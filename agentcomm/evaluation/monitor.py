"""Monitor: counts what metrics need besides the ledger, exchange by exchange, in tensors on the worlds' device.

It is a stage behind all others, so what it counts is what has become of the messages. It holds scores of defenses
against the truth, which defenses do not see: who really sent a message, and what an attack did to it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from agentcomm.contracts.link_counts import LinkCounts
from agentcomm.contracts.outcome import Contact
from agentcomm.contracts.scored import LEVELS, ScoredMessages, levels
from agentcomm.contracts.traffic import LIFETIME
from agentcomm.network.exchange import Exchange
from agentcomm.network.network import Network
from agentcomm.network.stages.defending import Quarantine
from agentcomm.network.stages.stage import Stage

TOGETHER = 16  # exchanges
MANY = 2**20  # slots whose messages are counted together


class Monitor(Stage):
    """Counts traffic per link, the attack's first contact, closed links, and scores of defenses.

    Args:
        network: The network of B worlds, whose stages it follows.

    Attributes:
        running: [B] bool, worlds whose episode is still running; others are not counted. Set before each step.
    """

    def __init__(self, network: Network) -> None:
        shape = network.team_shape
        self.worlds, self.agents = shape.num_worlds, shape.num_agents
        self.rounds, self.device = shape.rounds, shape.device
        self.running = torch.ones(self.worlds, dtype=torch.bool, device=self.device)
        # Messages that receivers accepted, by true sender: counted parts, and slots that are still to be counted.
        self._counted: list[tuple[Tensor, Tensor]] = []
        self._slots: list[Tensor] = []
        self.attacked = bool(network.guards)
        self.first, self.receivers = self._zeros() - 1, self._zeros(self.agents) > 0
        self.counts: dict[str, _Count] = {}
        self.quarantines = [stage for stage in network.stages if isinstance(stage, Quarantine)]
        self.closed = [stage.until >= 0 for stage in self.quarantines]
        self.isolated = [torch.zeros_like(stage.until) for stage in self.quarantines]
        self.suspect = torch.zeros_like(self.isolated[0], dtype=torch.bool) if self.quarantines else None
        delays = any({"delay", "reorder"} & guard.base.threat.powers for guard in network.guards)
        # Messages that an attack delayed, by step and round in which they were sent: they arrive in the same slot.
        sizes = ((LIFETIME + 1) * self.rounds, self.worlds, self.agents, network.team_shape.degree + network.spare)
        self.delayed = torch.zeros(sizes, dtype=torch.bool, device=self.device) if delays else None

    def __call__(self, x: Exchange) -> None:
        """Count one exchange in the worlds that are running."""
        running = self.running.view(-1, 1, 1)
        accepted = x.accepted & running
        self._accept(x.traffic.origin, accepted)
        touched = x.forged | x.tampered
        if self.attacked:
            self._contact(x, touched)
        if self.delayed is not None:
            touched = touched | self._was_delayed(x, self.delayed)
        for by, score in x.scores.items():
            flagged = (x.flagged[by],) if by in x.flagged else ()
            if by not in self.counts:
                self.counts[by] = _Count(self.worlds, self.device)
            self.counts[by].add(score, x.scored[by], touched, self.running, x.step, *flagged)
        if self.quarantines:
            self._isolations(x)

    @property
    def isolations(self) -> dict[str, Tensor]:
        """[B] links that each defense has closed."""
        return self._closed_by(None)

    @property
    def false_isolations(self) -> dict[str, Tensor]:
        """[B] those of them on which, and on whose other end, no attack has acted in the episode."""
        return self._closed_by(self.suspect)

    def contact(self) -> Contact | None:
        """Where the attack first reached the team; None without an attack on messages."""
        return Contact(self.first, self.receivers) if self.attacked else None

    def scored(self) -> dict[str, ScoredMessages]:
        """The messages that each defense scored."""
        return {by: count.scored() for by, count in self.counts.items()}

    def links(self) -> LinkCounts:
        """The messages that receivers accepted from members of the team."""
        self._count_slots()
        parts = self._counted or [(self._zeros()[:0], self._zeros()[:0])]
        return LinkCounts.joined(self.worlds, self.agents, *zip(*parts, strict=True))

    def _accept(self, origin: Tensor, accepted: Tensor) -> None:
        """Count accepted messages [B, N, M] by true sender, without an entry for each pair of agents."""
        ours = accepted & (origin >= 0) & (origin < self.agents)
        rows = torch.arange(self.worlds * self.agents, device=self.device).view(self.worlds, self.agents, 1)
        self._slots.append(torch.where(ours, rows * self.agents + origin, -1).flatten())
        if sum(map(len, self._slots)) >= MANY:
            self._count_slots()

    def _count_slots(self) -> None:
        """Count the slots that are still to be counted, and join what was counted before."""
        if not self._slots:
            return
        place, count = torch.unique(torch.cat(self._slots), return_counts=True)
        self._slots.clear()
        self._counted.append((place[place >= 0], count[place >= 0]))
        joined = LinkCounts.joined(self.worlds, self.agents, *zip(*self._counted, strict=True))
        self._counted = [(joined.place, joined.count)]

    def _closed_by(self, excluded: Tensor | None) -> dict[str, Tensor]:
        """[B] closed links but those that are ``excluded`` [B, N, N + 1], by defense; one may be deployed twice."""
        found: dict[str, Tensor] = {}
        for stage, count in zip(self.quarantines, self.isolated, strict=True):
            if not stage.used:
                continue
            total = (count if excluded is None else count * ~excluded).sum((1, 2))
            found[stage.defense.name] = found.get(stage.defense.name, 0) + total
        return found

    def _isolations(self, x: Exchange) -> None:
        """Count closed links, and note the links that attacks act on, by themselves or through their senders."""
        running = self.running.view(-1, 1, 1)
        for at, stage in enumerate(self.quarantines):
            closed = (stage.until > x.step.view(-1, 1, 1)) & running
            self.isolated[at] += closed & ~self.closed[at]
            self.closed[at] = closed
        if not self.attacked or self.suspect is None:
            return
        acted = torch.zeros_like(self.isolated[0]).scatter_add_(2, x.link, (x.effects.touched & running).long())
        self.suspect |= acted > 0
        if x.insider is not None:
            origin = x.departed.origin.clamp(0, self.agents).flatten(1)
            acted = self._zeros(self.agents + 1)
            acted.scatter_add_(1, origin, (x.insider.touched & running).flatten(1).long())
            self.suspect |= (acted > 0).unsqueeze(1)

    def _zeros(self, *sizes: int) -> Tensor:
        return torch.zeros(self.worlds, *sizes, dtype=torch.int64, device=self.device)

    def _contact(self, x: Exchange, touched: Tensor) -> None:
        """Note the receivers reached, where the attack reaches the team for the first time."""
        missed = x.effects.dropped | (x.effects.delay > 0)
        reached = ((x.arrived.present & touched) | missed).any(-1) & self.running.unsqueeze(1)
        now = reached.any(1) & ((self.first < 0) | (self.first == x.step))
        self.receivers |= reached & now.unsqueeze(1)
        self.first = torch.where(now, x.step, self.first)

    def _was_delayed(self, x: Exchange, delayed: Tensor) -> Tensor:
        """[B, N, M] bool, messages that arrive now and were delayed by an attack when they were sent."""
        place = (x.step % (LIFETIME + 1)) * self.rounds + x.round
        delay = (x.effects.delay > 0).unsqueeze(0)
        delayed.scatter_(0, place.view(1, -1, 1, 1).expand_as(delay), delay)
        sent = x.arrived.sent_at % (LIFETIME + 1) * self.rounds + x.arrived.sent_round.clamp(0, self.rounds - 1)
        return delayed.gather(0, sent.unsqueeze(0)).squeeze(0) & (x.arrived.sent_at < x.step.view(-1, 1, 1))


class _Count:
    """Counts the messages that one defense scored, as in :class:`ScoredMessages`.

    Exchanges are counted together, a few at a time: one by one, most of the time would go into starting operations.
    """

    def __init__(self, worlds: int, device: torch.device) -> None:
        self.counts = torch.zeros(2, LEVELS, dtype=torch.int64, device=device)
        self.first_attacked = torch.full((worlds,), -1, dtype=torch.int64, device=device)
        self.first_flagged = self.first_attacked
        self.flagged: Tensor | None = None
        self._waiting: list[tuple[Tensor, ...]] = []  # per exchange: the arguments of `add`

    def add(
        self, score: Tensor, scored: Tensor, touched: Tensor, running: Tensor, step: Tensor, *flagged: Tensor
    ) -> None:
        """Count the messages of one exchange.

        Args:
            score: [B, N, M].
            scored: [B, N, M] bool.
            touched: [B, N, M] bool, messages that an attack touched.
            running: [B] bool, worlds to count.
            step: [B] int64.
            *flagged: [B, N, M] bool, if the defense decides about single messages.
        """
        self._waiting.append((score, scored, touched, running, step, *flagged))
        if len(self._waiting) == TOGETHER:
            self._count()

    def scored(self) -> ScoredMessages:
        """The counts so far."""
        if self._waiting:
            self._count()
        return ScoredMessages(self.counts, self.flagged, self.first_attacked, self.first_flagged)

    def _count(self) -> None:
        """Count the exchanges that wait."""
        score, scored, touched, running, step, *flagged = (
            torch.stack(part) for part in zip(*self._waiting, strict=True)
        )
        self._waiting.clear()
        scored = scored & running.view(*running.shape, 1, 1)
        place = levels(score) + touched * LEVELS
        self.counts += torch.bincount(place[scored], minlength=2 * LEVELS).view(2, LEVELS)
        attacked = scored & touched
        self.first_attacked = _first(self.first_attacked, attacked, step)
        for decided in flagged:
            hit = decided & attacked
            both = torch.stack([(decided & scored & ~touched).sum(), hit.sum()])
            self.flagged = both if self.flagged is None else self.flagged + both
            self.first_flagged = _first(self.first_flagged, hit, step)


def _first(known: Tensor, where: Tensor, step: Tensor) -> Tensor:
    """[B] the first step [E, B] in which any of ``where`` [E, B, N, M] is true, given that of earlier exchanges [B]."""
    latest = torch.iinfo(step.dtype).max
    new = torch.where(where.flatten(2).any(2), step, latest).amin(0)
    return torch.where((known < 0) & (new < latest), new, known)
