import asyncio

from agentcomm.protocols.attacks.catalog import attacks

for attack in attacks("mcp"):
    outcome = asyncio.run(attack.run())
    print(attack.name, outcome.word, dict(outcome.evidence))
