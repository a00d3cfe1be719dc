"""The defenses that the survey names, and why some of them cannot be carried out in these environments.

Names and classes are those of *A Survey of LLM-Driven AI Agent Communication* (arXiv 2506.19676, version 4), ordered as
the risks are (:mod:`agentcomm.base.risks`): between user and agent (``ua``), agents (``aa``), agent and environment
(``ae``); at the layer of transmission (``l1``), protocol (``l2``) and meaning (``l3``). Definitions are ours. The
survey names four of them without citing any work.
"""

from __future__ import annotations

from typing import NamedTuple


class Countermeasure(NamedTuple):
    """One named defense.

    Attributes:
        definition: What it does, in a line.
        against: Ids of the risks that it is named against.
        absent: Why no defense carries it out here; empty if one does.
    """

    definition: str
    against: tuple[str, ...]
    absent: str = ""


TEXT = (
    "agents here exchange vectors, not text that a guard model could read; a directive is found as content, if at all"
)
PICTURES = "no agent here perceives images or sound; purified vectors are `aa.l3.cross_agent_input_detection`"
SPEAKERS = "defenses here act on what is received; how little a message gives away is trained (`message_noise`)"
DAMAGE = (
    "no action here is harmful by itself, only in states that the actuator does not see, so none can be stopped there"
)

COUNTERMEASURES: dict[str, Countermeasure] = {
    "ua.l1.encryption_and_traffic_obfuscation": Countermeasure(
        "sizes and times of messages say little about their content", ("ua.l1.confidentiality",)
    ),
    "ua.l1.integrity_authentication": Countermeasure(
        "every message carries a seal over its fields", ("ua.l1.integrity",)
    ),
    "ua.l1.dos_mitigation": Countermeasure(
        "senders are limited, and rejected before they cost much", ("ua.l1.availability",)
    ),
    "ua.l2.identity_authentication": Countermeasure(
        "who speaks proves to be who it says it is", ("ua.l2.identity_spoofing",)
    ),
    "ua.l2.session_status_verification": Countermeasure(
        "messages are accepted only once, in time and in their place of a conversation", ("ua.l2.session_manipulation",)
    ),
    "ua.l2.authority_verification": Countermeasure(
        "each kind of message or action needs a permit of its own", ("ua.l2.authority_abuse",)
    ),
    "ua.l3.input_screening": Countermeasure(
        "instructions are paraphrased, analyzed for intent, or judged by a guard model", ("ua.l3.text",), TEXT
    ),
    "ua.l3.multimodal_purification": Countermeasure(
        "pictures and sound are randomized, compressed or purified", ("ua.l3.multimodal",), PICTURES
    ),
    "ua.l3.privacy_protection": Countermeasure(
        "what is said gives away less about who says it", ("ua.l3.privacy",), SPEAKERS
    ),
    "ua.l3.behavior_auditing_and_restriction": Countermeasure(
        "what an agent does is audited, and restricted to what it should do", ("ua.l3.psychological",)
    ),
    "ua.l3.capability_boundary_control": Countermeasure(
        "agents act within an allowed range, whatever they are told", ("ua.l3.harmful_task",)
    ),
    "aa.l1.controller_isolation_and_enhancement": Countermeasure(
        "the hub admits what it can serve, and the team lives without it for a while", ("aa.l1.controller_blasting",)
    ),
    "aa.l2.capability_verification": Countermeasure(
        "an agent proves its identity and that it can do what its card says", ("aa.l2.agent_spoofing",)
    ),
    "aa.l2.behavior_auditing_and_responsibility_tracing": Countermeasure(
        "agents are watched, and those that turn on others are trusted less", ("aa.l2.exploitation_trojan",)
    ),
    "aa.l2.causal_tracing_and_localization": Countermeasure(
        "a record that cannot be altered says who did what", ("aa.l2.responsibility_evasion",)
    ),
    "aa.l2.dos_defense": Countermeasure(
        "budgets, time limits and hop limits bound what one agent can use up", ("aa.l2.dos",)
    ),
    "aa.l2.governed_registry": Countermeasure(
        "registration has a price, so that nobody crowds the registry", ("aa.l2.registration_pollution",)
    ),
    "aa.l2.evidence_based_ranking": Countermeasure(
        "ranks follow from outcomes, not from what a card says about itself", ("aa.l2.seo_poisoning",)
    ),
    "aa.l2.life_cycle_monitoring": Countermeasure(
        "a collaboration that does not come to an end is ended", ("aa.l2.non_convergence",)
    ),
    "aa.l3.cross_agent_input_detection": Countermeasure(
        "messages are judged by what they say, before they are acted on or passed on", ("aa.l3.mas_pollution",)
    ),
    "aa.l3.permission_classification": Countermeasure(
        "data goes only to agents that it is meant for", ("aa.l3.privacy_leakage",)
    ),
    "aa.l3.instruction_filtering": Countermeasure(
        "instructions in descriptions are not followed", ("aa.l3.description_poisoning",)
    ),
    "aa.l3.cross_validation": Countermeasure(
        "several sources must agree before anything is believed", ("aa.l3.centralised_poisoning",)
    ),
    "aa.l3.semantic_integrity": Countermeasure(
        "what the origin meant is checked at the end of a chain of relays", ("aa.l3.semantic_rewriting",)
    ),
    "aa.l3.drift_detection": Countermeasure(
        "small shifts of behavior are added up until they show", ("aa.l3.cognitive_drift",)
    ),
    "aa.l3.context_completeness": Countermeasure(
        "parts of a message are accepted together or not at all", ("aa.l3.contextual_fragmentation",)
    ),
    "ae.l1.resource_authentication": Countermeasure(
        "tools and resources prove who they are, as agents do", ("ua.l1.integrity", "ae.l2.tool")
    ),
    "ae.l2.tool_scanning": Countermeasure(
        "a tool's description is compared with the one that was approved, and with what it does", ("ae.l2.tool",)
    ),
    "ae.l3.memory_and_knowledge_protection": Countermeasure(
        "entries that others rely on need an origin, or agreement among several", ("ae.l3.memory", "ae.l3.knowledge")
    ),
    "ae.l3.damage_prevention": Countermeasure(
        "an action that does damage is stopped at the actuator", ("ae.l3.real_world_damage",), DAMAGE
    ),
}
