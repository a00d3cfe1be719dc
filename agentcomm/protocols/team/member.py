"""One agent of a team, in a process of its own.

It runs the same code as the batch (:func:`agentcomm.step.decide.decide`), in a batch of the team's shape in which the
rows of the other agents are zero. Only its own row of the result counts; it is bit-identical to that of the batch.
What it needs of other agents arrives as envelopes: payloads, and whether their gates are open.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import torch
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from torch import Tensor

from agentcomm.base.errors import AgentcommError, MessageError
from agentcomm.base.text import reason
from agentcomm.contracts.inbox import Inbox
from agentcomm.contracts.policy import CommPolicy
from agentcomm.contracts.traffic import Links
from agentcomm.contracts.world import World
from agentcomm.network.exchange import PredictLogits
from agentcomm.network.network import Network
from agentcomm.protocols.carrier import Sender
from agentcomm.protocols.team import PATIENCE
from agentcomm.protocols.team.mailbox import GATES, Mailbox
from agentcomm.protocols.team.requests import SIGNED, Acted, Begin, Turn, answer, from_bytes, to_bytes, verified
from agentcomm.protocols.team.seals import Seals
from agentcomm.runs.assembly import make_comms, shape_of
from agentcomm.step.decide import decide
from agentcomm.step.hooks import ask_graph
from agentcomm.wire.encoding import encode
from agentcomm.wire.envelope import Envelope, pack_floats

T = TypeVar("T")
Connect = Callable[[tuple[str, ...]], Coroutine[Any, Any, list[Sender]]]


class Wires(Network):
    """The network as one agent sees it: it sends its own payload to other agents, and waits for theirs.

    Args:
        world: A world of the team, for its shape.
        policy: The team's policy.
        me: The agent.
        loop: The loop of the agent's server, which runs in another thread than decisions.
        patience: Seconds to wait for a message.

    Attributes:
        mailbox: What has arrived.
        senders: Clients of all agents; used for others than ``me``.
        sent: Messages sent in the present step.
        step: The present step.
        alive: [1, N] bool, present members; None for all.
    """

    def __init__(
        self, world: World, policy: CommPolicy, me: int, loop: asyncio.AbstractEventLoop, patience: float
    ) -> None:
        super().__init__(shape_of(world, policy))
        self._policy, self._me, self._loop = policy, me, loop
        self.mailbox = Mailbox(me, world.num_agents, policy.exchanges, policy.width, patience)
        self.senders: list[Sender] = []
        self.seals: Seals | None = None
        self.sent = self.step = 0
        self._sequence = 0
        self.alive: Tensor | None = None

    def begin(self, seals: Seals, senders: list[Sender]) -> None:
        """Begin an episode."""
        self.seals, self.senders, self._sequence = seals, senders, 0
        self.mailbox.begin_episode(seals)

    def exchange(
        self, spoken: Tensor, links: Links, step: Tensor, round_: int, predict_logits: PredictLogits | None = None
    ) -> Inbox:
        """Send this agent's payload over its links, and take those of its senders in."""
        present, source = links.present[0], links.source[0]
        to = present & (source == self._me)
        receivers = to.any(-1).nonzero().flatten().tolist()
        awaited = source[self._me][present[self._me]].tolist()
        heard = self._wait(self._swap(round_, spoken[0, self._me], receivers, awaited))
        # Agents that act in turns keep these payloads from turn to turn, so they are changed in place.
        in_turns = self._policy.autoregressive and round_ >= self._policy.rounds - 1
        spoken = spoken if in_turns else spoken.clone()
        for sender, payload in heard.items():
            spoken[0, sender] = payload
        received = torch.tensor(list(heard), dtype=torch.int64)
        return Inbox(spoken, links.source, links.present, links.source, received=received)

    def announce(self, logit: Tensor) -> Tensor:
        """Gate logits [1, N] of all present agents, given those of which only this agent's is right."""
        present = range(logit.shape[1]) if self.alive is None else self.alive[0].nonzero().flatten().tolist()
        others = [agent for agent in present if agent != self._me] if self._me in present else []
        heard = self._wait(self._swap(GATES, logit[0, self._me].view(1), others, others))
        logit = logit.clone()
        for sender, said in heard.items():
            logit[0, sender] = said[0]
        return logit

    async def _swap(self, round_: int, payload: Tensor, receivers: list[int], awaited: list[int]) -> dict[int, Tensor]:
        """Send a payload to some agents, and wait for those of others."""
        assert self.seals is not None
        data: list[bytes] = []
        for receiver in receivers:
            envelope = Envelope(
                sent_round=round_,
                sender=self._me,
                audience=receiver,
                sequence=self._sequence,
                sent_at=self.step,
                expiry=self.step,
                hops=1,
                payload=pack_floats(payload.numpy()),
            )
            data.append(encode(self.seals.seal(envelope)))
            self._sequence += 1
        await asyncio.gather(*(self.senders[to].send(each) for to, each in zip(receivers, data, strict=True)))
        self.sent += len(receivers) if round_ != GATES else 0
        taken = await asyncio.gather(*(self.mailbox.take(self.step, round_, sender) for sender in awaited))
        return dict(zip(awaited, taken, strict=True))

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


class Member:
    """Answers what its server receives: requests of the environment, and envelopes of other agents.

    Args:
        policy: The team's policy.
        world: A world of the team, for its shape; its state is never looked at.
        me: The agent.
        environment: Public key of the environment.
        connect: Connects to the servers of all agents.
        patience: Seconds to wait for a message of another agent.
    """

    def __init__(
        self,
        policy: CommPolicy,
        world: World,
        me: int,
        environment: bytes,
        connect: Connect,
        patience: float = PATIENCE,
    ) -> None:
        self.private = Ed25519PrivateKey.generate()
        self._environment = Ed25519PublicKey.from_public_bytes(environment)
        self._world, self._policy, self._me, self._connect = world, policy.eval(), me, connect
        self._wires = Wires(world, self._policy, me, asyncio.get_running_loop(), patience)
        self._comms = replace(make_comms(world, self._policy), network=self._wires)
        self._graph = ask_graph(self._policy.topology, None, 1, world.num_agents)
        if self._policy.gate is not None:
            self._policy.listen = partial(_announced, self._policy.listen, self._wires)  # type: ignore[method-assign]
        self._episode, self._step = -1, 0
        self._generator: torch.Generator | None = None
        self._memory = torch.zeros(0)
        self._busy = asyncio.Lock()

    async def handle(self, data: bytes) -> bytes:
        """Answer one request.

        Raises:
            MessageError: If it is refused, or the agent cannot act.
        """
        if data[:1] != bytes([SIGNED]):
            self._wires.mailbox.put(data)
            return b""
        request = verified(data, self._environment)
        if request.audience != self._me:
            raise MessageError(f"refused: for agent {request.audience}; this is agent {self._me}")
        async with self._busy:
            try:
                if isinstance(request, Begin):
                    return await self._begin(request)
                return await self._turn(request)
            except MessageError:
                raise
            except AgentcommError as error:
                raise MessageError(str(error)) from error
            except Exception as error:  # of the policy or the environment; SDKs answer with "internal error" only
                raise MessageError(f"agent {self._me} failed: {type(error).__name__}: {reason(error)}") from error

    async def _begin(self, request: Begin) -> bytes:
        if request.episode <= self._episode:
            raise MessageError(f"repeated: episode {request.episode} has begun before")
        senders = await self._connect(request.urls)
        self._episode, self._step = request.episode, 0
        self._wires.begin(Seals(self._me, self.private, request.keys, request.episode), senders)
        seed = request.decisions
        self._generator = None if seed is None else torch.Generator().manual_seed(seed)
        self._memory = torch.zeros(1, self._world.num_agents, self._policy.memory_width)
        return b""

    async def _turn(self, request: Turn) -> bytes:
        if (request.episode, request.step) != (self._episode, self._step):
            raise MessageError(f"stale: a turn of step {request.step}; this agent is in step {self._step}")
        self._step += 1
        self._wires.mailbox.begin_step(request.step)
        acted = await asyncio.to_thread(self._act, request)
        return answer(acted)

    def _act(self, request: Turn) -> Acted:
        """Decide on an action; other agents are asked for their messages meanwhile."""
        me, agents, layout = self._me, self._world.num_agents, self._world.layout
        dense = layout.kind == "dense"
        observation = torch.zeros(1, agents, layout.width) if dense else torch.full((1, agents, layout.width), -1)
        observation[0, me] = from_bytes(request.observation, observation.dtype, (layout.width,))
        allowed = None
        if request.allowed is not None:
            allowed = torch.ones(1, agents, len(request.allowed), dtype=torch.bool)
            allowed[0, me] = torch.tensor(request.allowed)
        wires = self._wires
        wires.alive = None if request.alive is None else torch.tensor([request.alive])
        wires.step, wires.sent = request.step, 0
        if request.joined:
            self._memory.zero_()
        decision = decide(
            self._policy,
            observation,
            self._graph,
            self._comms,
            torch.tensor([request.step]),
            self._generator,
            wires.alive,
            memory=self._memory,
            allowed=allowed,
        )
        self._memory = torch.zeros_like(self._memory)
        self._memory[0, me] = decision.memory[0, me]
        return Acted(to_bytes(decision.action[0, me]), int(decision.num_asked[0, me]), wires.sent)


def _announced(listen: Callable[[Tensor], Tensor], wires: Wires, hidden: Tensor) -> Tensor:
    """Gate logits [1, N]: this agent's own, and those that the others announce."""
    return wires.announce(listen(hidden))
