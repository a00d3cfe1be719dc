"""Train a small team, attack it, defend it, and write the report."""

import agentcomm

run = agentcomm.train(
    {
        "name": "ten-lines",
        "environment": {"name": "predator_capture_prey", "observation": "indices"},
        "policy": {"name": "commformer", "topology": {"name": "learned", "density": 0.4}},
        "training": {"env_steps": 20_000},
    }
)
rows = agentcomm.evaluate(run, attacks=["drop:probability=0.5", "replay"], defenses=["authenticate"])
print(rows[0]["metrics"]["mean_steps"], agentcomm.report(run))
