"""The agent's card: where it points, and who signed it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from importlib.util import find_spec

from agentcomm.protocols.audit.a2a.client import A2AClient
from agentcomm.protocols.audit.probes import Found, Probe, failed, passed, skipped, unclear
from agentcomm.protocols.audit.target import origin


async def origins(agent: A2AClient) -> AsyncIterator[Found]:
    """The addresses that the card names; none of them is asked."""
    foreign = sorted({url for url in agent.interfaces if origin(url) != agent.target.origin})
    if foreign:
        yield failed("supportedInterfaces", f"names {len(foreign)} address(es) of another origin, such as {foreign[0]}")
    elif agent.interfaces:
        yield passed("supportedInterfaces", f"all {len(agent.interfaces)} address(es) are of the asked origin")
    else:
        yield unclear("supportedInterfaces", "the card names no address")


async def signature(agent: A2AClient) -> AsyncIterator[Found]:
    """The card's signature, under the key that was given."""
    signed, key = bool(agent.card.get("signatures")), agent.target.card_key
    if key is None:
        if signed:
            yield unclear("signatures", "signed; give the public key with --card-key to check it")
        else:
            yield skipped("signatures", "not signed, which A2A allows; with --card-key the audit expects a signature")
    elif not signed:
        yield failed("signatures", "not signed, though a key was given")
    elif find_spec("a2a") is None:
        yield unclear("signatures", "checking a signature needs: pip install 'agentcomm[a2a]'")
    else:
        yield _verified(agent, key)


def _verified(agent: A2AClient, key: str) -> Found:
    from a2a.types import AgentCard
    from a2a.utils.signing import SignatureVerificationError, create_signature_verifier
    from google.protobuf.json_format import ParseDict, ParseError

    algorithms = ["ES256", "ES384", "ES512", "EdDSA", "RS256", "PS256"]
    try:
        card = ParseDict(agent.card, AgentCard(), ignore_unknown_fields=True)
        create_signature_verifier(lambda kid, jku: key, algorithms)(card)
    except SignatureVerificationError as error:
        return failed("signatures", f"the signature does not verify under the given key ({type(error).__name__})")
    except (ParseError, ValueError, RecursionError, TypeError) as error:
        return failed("signatures", f"the card cannot be read as A2A 1.0 ({type(error).__name__})")
    return passed("signatures", "verifies under the given key")


PROBES = (
    Probe("a2a-card-origin", "the card names addresses of the asked origin only", origins),
    Probe(
        "a2a-card-forged", "the card's signature verifies", signature,
        how="sign the card with create_agent_card_signer, and let clients pass a signature_verifier",
    ),
)  # fmt: skip
