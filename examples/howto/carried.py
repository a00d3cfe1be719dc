import asyncio
import os

from agentcomm.protocols.carrier import Protocol, load
from agentcomm.protocols.serving import serve
from agentcomm.wire.encoding import decode, encode
from agentcomm.wire.envelope import Envelope
from agentcomm.wire.seals import Ed25519Keys

KEYS = Ed25519Keys(seed=int.from_bytes(os.urandom(8), "big"), num_agents=2)


async def agent(data: bytes) -> bytes:
    """What your agent does with a message: here, it verifies the seal and answers with the same payload."""
    envelope = decode(data)  # refuses what is no envelope
    verdict = b"\x01" if KEYS.public.verify(envelope, episode=0) else b"\x00"
    return verdict + envelope.payload


async def ask(protocol: Protocol, payload: bytes) -> bytes:
    carrier = load(protocol)
    plain = Envelope(sent_round=0, sender=0, audience=1, sequence=0, sent_at=0, expiry=1, hops=1, payload=payload)
    async with serve(lambda url: carrier.application("agent_1", agent, url)) as url, carrier.connect(url) as sender:
        return await sender.send(encode(KEYS.seal(plain, key=0, episode=0)))


if __name__ == "__main__":
    for protocol in ("a2a", "mcp"):
        print(protocol, asyncio.run(ask(protocol, b"four")))
