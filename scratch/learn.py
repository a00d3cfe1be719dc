"""One-off: ENV POLICY SEED STEPS PPO."""

import json, sys, time, importlib.util, torch

sys.path.insert(0, ".")
from agentcomm.base import registry

try:
    registry.find("environment", "relay_line")
except Exception:
    spec = importlib.util.spec_from_file_location("scratch_relay", "scratch/relay_line_env.py")
    m = importlib.util.module_from_spec(spec)
    sys.modules["scratch_relay"] = m
    spec.loader.exec_module(m)
    registry.register("environment", "relay_line")(m.RelayLine)
from benchmarks.plain_loop import PlainLoop
from agentcomm.runs.config import RunConfig

torch.set_num_threads(1)
env, policy, seed, steps = sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
ppo = json.loads(sys.argv[5]) if len(sys.argv) > 5 else {}
limit = float(sys.argv[6]) if len(sys.argv) > 6 else 440
relay = env.startswith("relay")
N = int(env[5:] or 8) if relay else 1
E = {"name": "relay_line", "members": N, "max_steps": N} if relay else {"name": env}
C = {"channels": [{"name": "relay", "layout": "line", "limit": 1, "seconds": 0}]} if relay else {}
cfg = {
    "name": "q",
    "environment": E,
    "policy": policy,
    "transport": C,
    "training": {"env_steps": steps, "worlds": 256, "fragment": 16, "ppo": ppo},
}
loop = PlainLoop(RunConfig.model_validate(cfg), "team", seed)
began = time.time()
s = u = 0.0
i = 0


def score(n):
    f = loop.evaluate(n)
    return {
        "reward": round(f["mean_return"] / N, 4),
        "steps": round(f["mean_steps"], 3),
        "success": round(f["success"], 3),
    }


while loop.env_steps < steps and time.time() - began < limit:
    t = loop.iterate()
    s += t.sample
    u += t.update
    i += 1
    if i % 16 == 0:
        print(loop.env_steps, score(512), round(time.time() - began), flush=True)
print(
    "DONE",
    *sys.argv[1:],
    "at",
    loop.env_steps,
    score(4096),
    "sample s",
    round(s, 1),
    "update s",
    round(u, 1),
    flush=True,
)
