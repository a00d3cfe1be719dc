"""Success of attacks that exfiltrate: what they learn or leak, compared with guessing.

An episode of a reader or writer is a success if it has more right guesses than guessing without the messages, by more
than chance (one-sided sign test, 5%). Guesses within an episode are not independent of each other, so the rate of the
control, and not 5%, is what a success rate is to be compared with.

*Readers* (``eavesdrop``, ``infer``) guess private facts of agents (:meth:`agentcomm.contracts.world.World.facts`) from
intercepted payloads, or from sizes and times alone (``encrypted``), by probes that are trained on one half of the
episodes and guess in the other half. Without the messages the best guess is the most frequent class of that agent in
that step. The control is the same with payloads and sizes permuted among episodes: messages that say nothing about
their episode.

*Writers* (``leak``) hide secret bits in payloads. An accomplice decodes them from one message per step, as receivers
accept it after channels and defenses; guessing is right half of the time. The control is the matched control, whose
payloads change as much in a random direction. Messages that arrive in a later step are not decoded.

*Actors* (``covert``) encode one of M secrets in their actions. An episode is a success if the secret is the best guess
of an observer that knows the policy and the attack. The matched control's actions do not depend on the secret.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from agentcomm.contracts.attack import Attack, RunAs
from agentcomm.contracts.outcome import Guesses
from agentcomm.evaluation.cells import Cell
from agentcomm.evaluation.leakage import Intercepted, listen
from agentcomm.evaluation.probe import guesses
from agentcomm.evaluation.setup import prepare, run_cell
from agentcomm.guards.base import GuardBase
from agentcomm.network.exchange import Exchange
from agentcomm.network.stages.stage import Stage
from agentcomm.runs.policy_file import SavedPolicy
from agentcomm.step.loop import StepRecord

CRITICAL = 1.645  # one-sided 5% of the standard normal distribution
BEYOND_CHANCE = "more guesses are right than without the messages, by more than chance"
SAMPLES, LEAST = 6_000, 64  # of a reader's probes, and the fewest episodes


@dataclass(frozen=True)
class Exfiltrated:
    """What an attack found out.

    Attributes:
        predicate: What counts as success.
        won: [E] bool, episodes in which the attack succeeded.
        control: [E] bool, the same episodes under its control.
        guesses: The attack's guesses.
    """

    predicate: str
    won: Tensor
    control: Tensor
    guesses: Guesses


def exfiltrates(attack: Attack) -> bool:
    """Whether success of an attack is measured here, and not by :meth:`Attack.succeeded`."""
    return reads(attack) or type(attack).decode is not Attack.decode


def exfiltrated(cell: Cell, saved: SavedPolicy, attack: Attack, gates: float | None) -> Exfiltrated:
    """What a reader or a writer finds out, beside its control.

    Args:
        cell: The attacked cell.
        saved: Its team.
        attack: The attack.
        gates: Probability that controlled gates are open; None if the policy controls the gates.
    """
    if reads(attack):
        encrypted = getattr(attack.config, "encrypted", False)
        return inferred(_intercept(cell, saved, gates), "sizes" if encrypted else "payloads")
    ways: tuple[RunAs, RunAs] = ("attack", "control")
    counts = [_decoded(cell, saved, gates, run_as) for run_as in ways]
    won, control = (beyond_chance(right, asked - right) for right, asked, _ in counts)
    right, asked, steps = (int(count.sum()) for count in counts[0])
    return Exfiltrated(BEYOND_CHANCE, won, control, Guesses(right, asked / 2, asked, asked / max(steps, 1)))


def beyond_chance(better: Tensor, worse: Tensor) -> Tensor:
    """[E] bool, sign test: ``better`` exceeds ``worse`` [E] by more than chance, in a one-sided test at 5%."""
    return better - worse - 1 > CRITICAL * (better + worse).double().sqrt()


def inferred(heard: Intercepted, source: str = "payloads") -> Exfiltrated:
    """What a reader finds out, beside the same messages permuted among episodes.

    Args:
        heard: The intercepted messages.
        source: What of them it can read: ``payloads``, or only the ``sizes`` and times of encrypted ones.
    """
    shuffled = heard.shuffled()
    episodes = int(heard.episode.max()) + 1
    better, worse, control_better, control_worse = torch.zeros(4, episodes, dtype=torch.int64)
    right = known = asked = 0
    for fact in heard.facts.values():
        told, dealt = (guesses(h.features(source), fact, h.episode) == fact for h in (heard, shuffled))
        usual = _a_priori(heard, fact) == fact
        defined = fact >= 0
        for found, more, less in ((told, better, worse), (dealt, control_better, control_worse)):
            more.index_add_(0, heard.episode, (defined & found & ~usual).long())
            less.index_add_(0, heard.episode, (defined & usual & ~found).long())
        right, known = right + int((told & defined).sum()), known + int((usual & defined).sum())
        asked += int(defined.sum())
    won, control = beyond_chance(better, worse), beyond_chance(control_better, control_worse)
    return Exfiltrated(BEYOND_CHANCE, won, control, Guesses(right, known, asked))


def reads(attack: Attack) -> bool:
    """Whether an attack only reads, and so leaves the episodes as they are."""
    threat = attack.threat_model()
    return threat.objective == "exfiltrate" and threat.powers == {"read"}


def _a_priori(heard: Intercepted, fact: Tensor) -> Tensor:
    """[S] the most frequent class of each agent in each step, in the other half of the episodes."""
    classes = int(fact.max().clamp_min(0)) + 1
    steps = int(heard.step.max()) + 1
    place = heard.agent * steps + heard.step
    out = torch.zeros_like(fact)
    for half in (0, 1):
        train = (heard.episode % 2 != half) & (fact >= 0)
        count = torch.zeros(int(place.max()) + 1, classes, dtype=torch.int64)
        count.index_put_((place[train], fact[train]), torch.ones_like(fact[train]), accumulate=True)
        mine = heard.episode % 2 == half
        out[mine] = count.argmax(1)[place[mine]]
    return out


def _intercept(cell: Cell, saved: SavedPolicy, gates: float | None) -> Intercepted:
    """What the attack reads in some episodes of its cell."""
    with prepare(cell, saved, 1) as (world, *_):
        most = max(LEAST, SAMPLES // (world.max_steps * world.num_agents))
    cell = replace(cell, episodes=min(cell.episodes, most))
    with prepare(cell, saved, cell.episodes) as (world, policy, comms):
        return listen(world, comms, lambda follow: run_cell(cell, world, policy, comms, gates, follow=follow))


class _Accomplice(Stage):
    """Decodes the bits of one accepted message of the attack's node per world and step."""

    def __init__(self, guard: GuardBase) -> None:
        self.guard = guard
        self.right, self.asked, self.steps, self._right, self._asked = torch.zeros(
            5, guard.shape.num_worlds, dtype=torch.int64, device=guard.shape.device
        )

    def __call__(self, x: Exchange) -> None:
        """Decode in the first round; later rounds repeat the bits."""
        if x.round:
            return
        t = x.traffic
        mine = t.present & (t.sender == self.guard.identity) & (t.sent_at == x.step.view(-1, 1, 1))
        mine = mine & (mine.flatten(1).cumsum(1) == 1).view_as(mine)
        world = mine.nonzero()[:, 0]
        said, secret = self.guard.attack.decode(t.payload()[mine]), self.guard.memory.tensors["secret"][world]
        assert said is not None
        self._right[world] = (said == secret).sum(1)
        self._asked[world] = secret.shape[1]

    def follow(self, record: StepRecord) -> None:
        """Count the step in the worlds whose episode was still running."""
        self.right += self._right * record.running
        self.asked += self._asked * record.running
        self.steps += record.running
        self._right.zero_()
        self._asked.zero_()


def _decoded(cell: Cell, saved: SavedPolicy, gates: float | None, run_as: RunAs) -> tuple[Tensor, Tensor, Tensor]:
    """[B] int64 bits that the accomplice decoded right, all bits that it decoded, and steps."""
    with prepare(cell, saved, cell.episodes, run_as) as (world, policy, comms):
        accomplice = _Accomplice(comms.adversary.guards[0])
        comms.network.stages.append(accomplice)
        run_cell(cell, world, policy, comms, gates, follow=accomplice.follow)
    return accomplice.right, accomplice.asked, accomplice.steps
