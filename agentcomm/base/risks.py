"""The risks of communicating agents, and why some of them cannot occur in these environments.

Names and classes are those of *A Survey of LLM-Driven AI Agent Communication* (arXiv 2506.19676, version 4): between
user and agent (``ua``), agents (``aa``), agent and environment (``ae``); at the layer of transmission (``l1``),
protocol (``l2``) and meaning (``l3``). Definitions are ours. ASI numbers are those of OWASP's Agentic Top 10 (2026).
"""

from __future__ import annotations

from typing import NamedTuple


class Risk(NamedTuple):
    """One named risk.

    Attributes:
        definition: What goes wrong, in a line.
        owasp: The related entries of OWASP's list.
        absent: Why no attack realizes it here; empty if one does.
    """

    definition: str
    owasp: tuple[str, ...] = ()
    absent: str = ""


HUMAN = "the harm is done to a person, and there are no people in these environments"
PICTURES = "no agent here perceives images or sound; modified vectors are `ua.l1.integrity`"
LIBRARY = "no environment here has a document store that agents retrieve from"

RISKS: dict[str, Risk] = {
    "ua.l1.confidentiality": Risk("who listens learns from payloads, or from sizes and times alone", ("ASI07",)),
    "ua.l1.integrity": Risk("messages are changed on their way", ("ASI07",)),
    "ua.l1.availability": Risk("messages are held back, or buried under others", ("ASI07",)),
    "ua.l2.identity_spoofing": Risk("somebody speaks in another's name", ("ASI03",)),
    "ua.l2.session_manipulation": Risk("a conversation is taken over, repeated or put out of order", ("ASI07",)),
    "ua.l2.authority_abuse": Risk("somebody known asks for more than it is entitled to", ("ASI03",)),
    "ua.l3.text": Risk("an instruction in what should be content is followed", ("ASI01",)),
    "ua.l3.multimodal": Risk("a picture or sound carries the instruction", ("ASI01",), PICTURES),
    "ua.l3.privacy": Risk("what somebody knows is drawn from what it says", ("ASI06",)),
    "ua.l3.psychological": Risk("an agent deceives its user", ("ASI09",), HUMAN),
    "ua.l3.harmful_task": Risk("an agent is told to do damage, and does it", ("ASI02",)),
    "aa.l1.controller_blasting": Risk("the hub is kept too busy to serve any requester", ("ASI08",)),
    "aa.l2.agent_spoofing": Risk("a copied card gets another agent's tasks", ("ASI03",)),
    "aa.l2.exploitation_trojan": Risk("a member that behaved well turns on the others", ("ASI10",)),
    "aa.l2.responsibility_evasion": Risk("traces blame the wrong one", ("ASI10",)),
    "aa.l2.dos": Risk("buffers, slots or workers are used up", ("ASI08",)),
    "aa.l2.registration_pollution": Risk("look-alikes crowd the registry", ("ASI04",)),
    "aa.l2.seo_poisoning": Risk("a card is made to rank first, not to be good", ("ASI04",)),
    "aa.l2.non_convergence": Risk("agents never come to an agreement", ("ASI08",)),
    "aa.l3.mas_pollution": Risk("false content makes those who hear it pass it on", ("ASI08", "ASI06")),
    "aa.l3.privacy_leakage": Risk("data leaves those it is meant for", ("ASI07",)),
    "aa.l3.description_poisoning": Risk("a card's description holds an instruction", ("ASI04", "ASI01")),
    "aa.l3.centralised_poisoning": Risk("the hub tells everybody something wrong", ("ASI06", "ASI08")),
    "aa.l3.semantic_rewriting": Risk("a relay changes what is meant, and keeps the form", ("ASI07",)),
    "aa.l3.cognitive_drift": Risk("small shifts add up, none of which is noticed", ("ASI10",)),
    "aa.l3.contextual_fragmentation": Risk("no receiver has all the parts, yet it acts on some", ("ASI08",)),
    "ae.l2.tool": Risk("a tool is not, or no longer, what it is described as", ("ASI02", "ASI04")),
    "ae.l3.memory": Risk("false entries are written into a memory that others rely on", ("ASI06",)),
    "ae.l3.knowledge": Risk("false documents are put where agents look things up", ("ASI06",), LIBRARY),
    "ae.l3.real_world_damage": Risk("a wrong action does damage that nothing undoes", ("ASI02",)),
}
