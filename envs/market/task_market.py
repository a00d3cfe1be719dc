"""Task market: requesters find workers through a directory, and are well served only if they learn who is good.

Every requester always has one task, which needs one skill and has a deadline and a number of hops. Every worker has
private skills, chances to deliver, and a card in the directory whose claims are true or inflated. In each step the hub
answers a look-up per task in a requester's or a worker's hands with the ``listed`` best cards for it.

Actions (one set, read by role):

| action | requester with its task in hand | worker with a task | worker without |
|---|---|---|---|
| 0 ``pass`` | waits | gives it back | waits |
| 1 ``first`` | asks the first card listed | does it: delivers with the chance of its skill, or fails | waits |
| 2 ``second`` | asks the second | passes it on to the first card listed, one hop less | waits |
| 3 ``third`` | asks the third | gives it back | sends the hub a card that claims every skill |
| 4 .. | asks the fourth, ... | gives it back | waits |

A worker takes one task per step. Where several are handed to it, one that was passed on goes first, then chance
decides; the others return to their requesters. Whoever answers for an outsider's card does the task in the next step
with the chance ``quality`` of the card, or keeps it until the deadline if it ``stalls``, or first delegates copies of
it, in as many steps as the task has hops: a member that a copy reaches is busy with it for that step, sees nothing of
it and can take no other task. A task ends exactly once:
delivered, failed, or expired ``deadline`` steps after it came up; passing on without a hop left fails it. Then the
requester gets another.

A delivered task is worth 1 to its requester, who pays ``price`` for it; of that, each worker that passed it on gets
``commission``. A member that fails pays ``fine`` to the requester. So rewards plus what outsiders are paid sum to the
tasks delivered. Earnings are split evenly among the team as far as they are ``pooled``; with ``pooled=0`` workers are
rivals. Outcomes go to the hub as reputation of the last name in the task's trace, which is the one that was asked
unless an outsider that failed writes another. Success is a share of at least ``goal`` of tasks delivered among those
that ended.

Workers stand for whatever can be called by a description of itself, tools included. What descriptions tell readers to
do is done with the chance ``directory.obedience``: a requester then asks the card that says so, whatever it wanted.

Messages matter because skills are private: workers know their own, and requesters know whom they were served by.
``envs/market/scripted.py`` has the floors, ``studies/teams/market.yaml`` is a market in which teams learn to talk.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from agentcomm.base.errors import ConfigError
from agentcomm.contracts.directory_defense import Answer
from agentcomm.contracts.world import DrawnMessage, Observation, Transition
from agentcomm.directory.hub import Directory
from agentcomm.directory.world import DirectoryWorld
from agentcomm.pettingzoo.view import ParallelView, view
from envs.market.config import ORDINALS, TaskMarketConfig
from envs.market.drawing import picture, text
from envs.market.observation import name_width, observations

PASS, FIRST, SECOND, THIRD = range(4)
HIGH, LOW = (0.8, 1.0), (0.0, 0.3)  # chances to deliver of those who have a skill, and of those who have not


class TaskMarket(DirectoryWorld[TaskMarketConfig]):
    """B copies of the task market.

    Agents are R requesters, then W workers; P names stand in the directory (the workers', then outsiders'), k cards
    in an answer. State, besides the directory's: ``skill`` [B, W, K]; of the R tasks ``need``, ``time``, ``hops``,
    ``holder`` (-1 its requester, W an outsider), ``asked`` (the name that has it; -1), ``quality``, ``stalls``,
    ``copies`` and ``scapegoat`` (of an outsider that has it), ``depth`` (steps in which copies were delegated),
    ``passed`` [B, R, hops] (workers that passed it on; -1); ``good`` and ``poor`` [B, R, P], each requester's own
    experience; ``listed``, ``shown_name``, ``shown_claim``, ``shown_reputation`` [B, R, k], the last answers;
    ``ended`` [B, 3], tasks delivered, failed and expired; ``issued`` [B]; ``paid_outside`` [B].
    """

    def __init__(self, config: TaskMarketConfig, num_worlds: int = 1, device: str | torch.device = "cpu") -> None:
        super().__init__(config, num_worlds, device)
        if config.observation == "indices":
            raise ConfigError("task_market has no index observations: use observation='dense'")
        r, w, k, listed = config.requesters, config.workers, config.skills, config.directory.listed
        self.agents = (*(f"requester_{i}" for i in range(r)), *(f"worker_{i}" for i in range(w)))
        self.action_names = ("pass", *ORDINALS[: max(listed, THIRD)])
        # observe() names the parts
        self.layout = Observation("dense", 2 + k + 4 + 1 + k + listed * (name_width(w) + 4), low=0.0, high=1.0)

        def whole(*shape: int) -> Tensor:
            return torch.zeros(num_worlds, *shape, dtype=torch.int64, device=self.device)

        def real(*shape: int) -> Tensor:
            return torch.zeros(num_worlds, *shape, device=self.device)

        names = w + config.directory.newcomers
        self.state = {
            "skill": real(w, k),
            **{name: whole(r) for name in ("need", "time", "hops", "copies", "depth")},
            **{name: whole(r) - 1 for name in ("holder", "asked", "scapegoat")},
            "quality": real(r),
            "stalls": whole(r).bool(),
            "passed": whole(r, config.hops) - 1,
            "good": whole(r, names),
            "poor": whole(r, names),
            "listed": whole(r, listed) - 1,
            "shown_name": whole(r, listed) - 1,
            "shown_claim": real(r, listed),
            "shown_reputation": real(r, listed),
            "ended": whole(3),
            "issued": whole(),
            "paid_outside": real(),
        }
        self.found(Directory(config.directory, num_worlds, w, k, self.device))

    @property
    def roles(self) -> tuple[int, ...]:
        """Requesters are 0, workers 1."""
        return (0,) * self.config.requesters + (1,) * self.config.workers

    # ---- begin

    def begin(self, worlds: Tensor, generator: torch.Generator, scene: Mapping[str, Any] | None = None) -> None:
        """Draw skills, claims and tasks.

        Args:
            worlds: [W] int64 indices.
            generator: Source of all randomness.
            scene: ``{"skill": [[chance, ...], ...]}``, one row per worker, all claimed truly.

        Raises:
            ValueError: If there is another key, or not one chance in [0, 1] per worker and skill.
        """
        c, count = self.config, len(worlds)
        given = None if scene is None else self._read(scene)
        shape = (3, count, c.workers, c.skills)
        luck = torch.rand(shape, generator=generator, device=self.device)
        able, lies = luck[0] < c.able, luck[1] < c.inflated
        high, low = (least + (most - least) * luck[2] for least, most in (HIGH, LOW))
        skill, claim = torch.where(able, high, low), torch.where(able | lies, high, low)
        if given is not None:
            skill, claim = given.expand_as(skill), given.expand_as(claim)
        self.directory.begin(worlds, claim)
        fresh: dict[str, Any] = {
            "skill": skill,
            "issued": c.requesters,
            "paid_outside": 0.0,
            "ended": 0,
            "good": 0,
            "poor": 0,
        }
        fresh |= self._new_tasks(count, generator)
        for name, value in fresh.items():
            self.state[name][worlds] = value
        none = torch.zeros(count, c.requesters, self.directory.principals, dtype=torch.bool, device=self.device)
        requirement = one_hot(self.state["need"][worlds], c.skills).float()
        answer = self.directory.first_answers(worlds, requirement, none, generator)
        for name, shown in self._shown(answer, self.state["need"][worlds]).items():
            self.state[name][worlds] = shown

    def _new_tasks(self, count: int, generator: torch.Generator) -> dict[str, Any]:
        need = torch.randint(
            self.config.skills, (count, self.config.requesters), generator=generator, device=self.device
        )
        whose = {"holder": -1, "asked": -1, "passed": -1, "quality": 0.0, "stalls": False}
        whose |= {"copies": 0, "depth": 0, "scapegoat": -1}
        return {"need": need, "time": self.config.deadline, "hops": self.config.hops} | whose

    def _read(self, scene: Mapping[str, Any]) -> Tensor:
        if set(scene) != {"skill"}:
            raise ValueError(f"scene: it must have the one key 'skill', not {list(scene)}")
        try:
            skill = torch.tensor(scene["skill"], dtype=torch.float32, device=self.device)
        except (TypeError, ValueError) as error:
            raise ValueError(f"scene: 'skill' must be numbers, not {scene['skill']!r}") from error
        shape = (self.config.workers, self.config.skills)
        if skill.shape != shape or not bool(((skill >= 0) & (skill <= 1)).all()):
            raise ValueError(f"scene: 'skill' must be {shape} chances in [0, 1], not {scene['skill']!r}")
        return skill

    # ---- one step

    def advance(self, actions: Tensor, generator: torch.Generator) -> Transition:
        """Workers and outsiders act on the tasks they have, requesters ask, then the hub takes its turn."""
        c, s = self.config, self.state
        requests, work = actions[:, : c.requesters], actions[:, c.requesters :]
        place = self.directory.obey(s["listed"], s["holder"] < 0, generator)
        requests = torch.where(place >= 0, place + FIRST, requests)
        holder, workers = s["holder"], c.workers
        inside, outside = (holder >= 0) & (holder < workers), holder == workers
        worker = holder.clamp(0, workers - 1)
        chosen = torch.where(inside, work.gather(1, worker), -1)
        luck = torch.rand(2, *holder.shape, generator=generator, device=self.device)
        # what becomes of tasks that somebody has
        able = s["skill"].gather(1, worker.unsqueeze(2).expand(-1, -1, c.skills)).gather(2, s["need"].unsqueeze(2))
        chance = torch.where(outside, s["quality"], able.squeeze(2))
        spreads = outside & (s["copies"] > 0) & (s["depth"] < c.hops)
        tried = (chosen == FIRST) | (outside & ~s["stalls"] & ~spreads)
        delivered = tried & (luck[0] < chance)
        no_hop = (chosen == SECOND) & (s["hops"] == 0)
        failed = (tried & ~delivered) | no_hop
        passes = (chosen == SECOND) & ~no_hop
        expired = (s["time"] <= 1) & ~delivered & ~failed
        ended = delivered | failed | expired
        reward = self._settle(delivered, failed, inside, worker)
        # outcomes are booked on the last in the task's trace: the hub's reputation, the requester's experience
        kept = outside & (s["stalls"] | spreads)
        bad = failed | (expired & kept)
        last = self.directory.read_traces(s["asked"], torch.where(bad, s["scapegoat"], -1))
        self.directory.report(last, delivered, bad, holder)
        returned = inside & ~tried & ~no_hop & ~passes
        for name, outcome in (("good", delivered), ("poor", bad | returned)):
            self._experience(name, last, outcome)
        s["ended"] = s["ended"] + torch.stack([delivered.sum(1), failed.sum(1), expired.sum(1)], 1)
        s["issued"] = s["issued"] + ended.sum(1)
        # who gets which task next
        s["depth"] = s["depth"] + spreads.long()
        copies = torch.where(spreads & ~ended, s["copies"], 0)
        busy = self.directory.occupied(one_hot(s["need"], c.skills).float(), copies)
        self._hand_over(requests, passes & ~expired, ended, kept, busy, luck[1])
        fresh = self._new_tasks(self.num_worlds, generator)
        s["time"] = s["time"] - 1
        for name, value in fresh.items():
            at = ended.unsqueeze(2) if s[name].dim() == 3 else ended
            s[name] = torch.where(at, value, s[name])
        self._look_up(work, generator)
        never = torch.zeros(self.num_worlds, dtype=torch.bool, device=self.device)
        return Transition(reward=reward, terminated=never, active=torch.ones_like(actions, dtype=torch.bool))

    def _settle(self, delivered: Tensor, failed: Tensor, inside: Tensor, worker: Tensor) -> Tensor:
        """[B, N] rewards of tasks that were delivered or failed; all payments between members sum to 0."""
        c, s = self.config, self.state
        requester = delivered * (1.0 - c.price) + (failed & inside) * c.fine
        hand = torch.zeros(self.num_worlds, c.workers + 1, device=self.device)  # the last place is for no worker
        passed = torch.where(delivered.unsqueeze(2) & (s["passed"] >= 0), s["passed"], c.workers).flatten(1)
        hand = hand.scatter_add(1, passed, torch.full(passed.shape, c.commission, device=self.device))
        price = c.price - c.commission * (s["passed"] >= 0).sum(2)
        own = torch.where(inside, worker, c.workers)
        hand = hand.scatter_add(1, own, delivered * price - failed * c.fine)
        s["paid_outside"] = s["paid_outside"] + (delivered & ~inside).mul(price).sum(1)
        earned = torch.cat([requester, hand[:, :-1]], 1)
        return c.pooled * earned.mean(1, keepdim=True) + (1 - c.pooled) * earned

    def _experience(self, name: str, principal: Tensor, happened: Tensor) -> None:
        happened = happened & (principal >= 0)
        index = principal.clamp_min(0).unsqueeze(2)
        self.state[name] = self.state[name].scatter_add(2, index, happened.long().unsqueeze(2))

    def _hand_over(
        self, requests: Tensor, passes: Tensor, ended: Tensor, kept: Tensor, busy: Tensor, luck: Tensor
    ) -> None:
        """Tasks go to whom they are offered to, one per worker; the rest go back to their requesters."""
        s, workers = self.state, self.config.workers
        listed = s["listed"].shape[2]
        asks = (s["holder"] < 0) & (requests >= FIRST) & (requests <= listed) & ~ended
        place = torch.where(asks, requests - FIRST, 0).unsqueeze(2)
        slot = torch.where(asks | passes, s["listed"].gather(2, place).squeeze(2), -1)
        name = s["shown_name"].gather(2, place).squeeze(2)
        cards = self.directory.cards
        traits = {
            n: getattr(cards, n).gather(1, slot.clamp_min(0)) for n in ("quality", "stalls", "copies", "scapegoat")
        }
        origin = torch.where(slot >= 0, cards.origin.gather(1, slot.clamp_min(0)), -1)
        # Of two tasks for one worker, the one that was passed on goes first, then the luckier one.
        rank = luck + passes
        seat = torch.where((origin >= 0) & (origin < workers), origin, workers)
        best = torch.full_like(rank[:, :1].expand(-1, workers + 1), -torch.inf).scatter_reduce(1, seat, rank, "amax")
        beaten = (seat < workers) & (rank < best.gather(1, seat))
        at_work = busy.gather(1, origin.clamp(0, workers - 1)) & (origin >= 0) & (origin < workers)
        gets = (slot >= 0) & ~beaten & ~at_work
        self.directory.route(torch.where(gets, slot, -1))
        moves = passes & gets
        if self.config.hops:
            at = (self.config.hops - s["hops"]).clamp(0, self.config.hops - 1).unsqueeze(2)
            new = torch.where(moves, s["holder"], s["passed"].gather(2, at).squeeze(2)).unsqueeze(2)
            s["passed"] = s["passed"].scatter(2, at, new)
        s["hops"] = s["hops"] - moves.long()
        stays = kept & ~ended
        s["holder"] = torch.where(gets, origin, torch.where(stays, s["holder"], -1))
        s["asked"] = torch.where(gets, name, torch.where(stays, s["asked"], -1))
        for trait, value in traits.items():
            none = torch.full_like(value, -1) if trait == "scapegoat" else torch.zeros_like(value)
            s[trait] = torch.where(gets, value, torch.where(stays, s[trait], none))

    def _look_up(self, work: Tensor, generator: torch.Generator) -> None:
        """One look-up for each task that a requester or a worker has; a holder and those before it are not named."""
        c, s = self.config, self.state
        names = self.directory.principals
        before = torch.cat([s["holder"].unsqueeze(2), s["passed"]], 2)
        before = torch.where((before >= 0) & (before < c.workers), before, names)
        none = torch.zeros(*before.shape[:2], names + 1, dtype=torch.bool, device=self.device)
        excluded = none.scatter_(2, before, True)[..., :names]
        seat = torch.where((s["holder"] >= 0) & (s["holder"] < c.workers), s["holder"], c.workers)
        idle = torch.ones(len(seat), c.workers + 1, dtype=torch.bool, device=self.device).scatter_(1, seat, False)
        idle = idle[:, : c.workers]
        answer = self.directory.turn(
            requirement=one_hot(s["need"], c.skills).float(),
            wanted=s["holder"] < c.workers,
            excluded=excluded,
            own=s["holder"] < 0,
            renew=idle & (work == THIRD),
            claim=torch.ones_like(s["skill"]),
            step=self.length,
            generator=generator,
        )
        s |= self._shown(answer, s["need"])

    def _shown(self, answer: Answer, need: Tensor) -> dict[str, Tensor]:
        index = need.view(*need.shape, 1, 1).expand(*answer.slot.shape, 1)
        claim = answer.claim.gather(3, index).squeeze(3)
        shown = {"shown_name": answer.principal, "shown_claim": claim, "shown_reputation": answer.reputation}
        return {"listed": answer.slot} | shown

    # ---- what agents see

    def observe(self, worlds: Tensor | None = None) -> Tensor:
        """[B, N, O] float32 in [0, 1]; see :func:`envs.market.observation.observations`."""
        state = self.state if worlds is None else {name: value[worlds] for name, value in self.state.items()}
        return observations(self.config, state)

    def success(self) -> Tensor:
        """[B] bool, enough of the tasks that ended were delivered."""
        ended = self.state["ended"]
        return (ended[:, 0] >= self.config.goal * ended.sum(1)) & (ended.sum(1) > 0)

    def scene(self, world: int) -> dict[str, Any]:
        """Skills, tasks, answers and what became of tasks so far."""
        names = ("skill", "need", "time", "hops", "holder", "shown_name")
        scene = {name: self.state[name][world].tolist() for name in names}
        return scene | dict(zip(("delivered", "failed", "expired"), self.state["ended"][world].tolist(), strict=True))

    def render(self, world: int, mode: Literal["ansi", "rgb_array"], links: list[DrawnMessage] | None = None) -> Any:
        """One world as text, or as a matrix of tasks (down) and workers (across, the last column for outsiders).

        Raises:
            ValueError: If the mode is unknown.
        """
        if mode == "ansi":
            return text(self.scene(world), self.agents, links or [])
        if mode == "rgb_array":
            return picture(self.scene(world))
        raise ValueError(f"render mode must be 'ansi' or 'rgb_array', not {mode!r}")


def parallel_env(**arguments: Any) -> ParallelView:
    """One task market for PettingZoo; arguments: those of its config, and ``render_mode``."""
    return view("task_market", **arguments)
