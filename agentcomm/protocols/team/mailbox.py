"""The mailbox of one agent: envelopes of other agents, until the agent takes them."""

from __future__ import annotations

import asyncio

import torch
from torch import Tensor

from agentcomm.base.errors import MessageError, ProtocolError
from agentcomm.protocols.team.seals import Seals
from agentcomm.wire.encoding import decode
from agentcomm.wire.envelope import unpack_floats

GATES = 0xFF  # round of the envelopes that announce gates
Key = tuple[int, int, int]  # step, round, sender


class Mailbox:
    """Holds at most one message per sender and round, of the present step and the next.

    A sender may be one step ahead: it has its turn before this agent. Everything else is refused, so that the mailbox
    is bounded, whatever arrives.

    Args:
        me: The agent.
        agents: N.
        rounds: Exchanges of a step.
        width: Numbers in a payload.
        patience: Seconds to wait for a message.
    """

    def __init__(self, me: int, agents: int, rounds: int, width: int, patience: float) -> None:
        self._me, self._agents, self._rounds, self._width = me, agents, rounds, width
        self._patience = patience
        self._waiting: dict[Key, asyncio.Future[Tensor]] = {}
        self._step = 0
        self.seals: Seals | None = None

    def begin_episode(self, seals: Seals) -> None:
        """Discard everything, and take messages with the seals of a new episode."""
        self.seals, self._step = seals, 0
        self._waiting.clear()

    def begin_step(self, step: int) -> None:
        """Discard messages of earlier steps, such as those that came to a closed gate."""
        self._step = step
        self._waiting = {key: future for key, future in self._waiting.items() if key[0] >= step}

    def put(self, data: bytes) -> None:
        """Take the bytes of an envelope in.

        Raises:
            MessageError: If they are no envelope of a team member to this agent, or one that nobody waits for.
        """
        envelope = decode(data)
        if self.seals is None or not self.seals.valid(envelope):
            raise MessageError("refused: no member of the team has sealed this envelope for this episode")
        if envelope.audience != self._me or envelope.sender == self._me or envelope.sender >= self._agents:
            raise MessageError(f"refused: sender {envelope.sender} or audience {envelope.audience} is wrong")
        if not self._step <= envelope.sent_at <= self._step + 1:
            raise MessageError(f"stale: of step {envelope.sent_at}; this agent is in step {self._step}")
        if not (envelope.sent_round < self._rounds or envelope.sent_round == GATES):
            raise MessageError(f"refused: there is no round {envelope.sent_round}")
        payload = unpack_floats(envelope.payload)
        if len(payload) != (1 if envelope.sent_round == GATES else self._width):
            raise MessageError(f"wrong length: a payload of {len(payload)} numbers")
        slot = self._slot((envelope.sent_at, envelope.sent_round, envelope.sender))
        if slot.done():
            raise MessageError("repeated: this sender has sent a message in this round")
        slot.set_result(torch.from_numpy(payload))

    async def take(self, step: int, round_: int, sender: int) -> Tensor:
        """The payload that a sender sends in a round; waits for it.

        Raises:
            ProtocolError: If it does not arrive in time.
        """
        try:
            return await asyncio.wait_for(asyncio.shield(self._slot((step, round_, sender))), self._patience)
        except TimeoutError:
            raise ProtocolError(
                f"agent {self._me} has waited {self._patience:g} s for the message of agent {sender} in step {step};"
                " on a busy machine, give more time with --timeout"
            ) from None

    def _slot(self, key: Key) -> asyncio.Future[Tensor]:
        return self._waiting.setdefault(key, asyncio.get_running_loop().create_future())
