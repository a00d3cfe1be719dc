"""usage: prey_try.py SECONDS SEED CONFIG VARIANT key=value...: trains for so many seconds, annealed over time."""
import sys, time
import torch
torch.set_num_threads(1)
sys.path.insert(0, ".")
from agentcomm.runs.config import load
from benchmarks.plain_loop import PlainLoop
seconds, seed, path, variant = float(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
run = load(path, sys.argv[5:])
loop = PlainLoop(run, variant, seed)
began = time.time(); n = 0; nexts = seconds / 8
while (p := (time.time() - began) / seconds) < 1:
    loop.update.anneal_rates(p)
    loop.sampler.follow_schedule(p)
    f = loop.sampler.collect(run.training.fragment)
    loop.update.run(f.columns)
    loop.env_steps += f.env_steps
    loop.update.anneal_policy(p)
    if time.time() - began > nexts:
        e = loop.evaluate(256); nexts += seconds / 8
        r = f.recent
        print(f"{time.time()-began:5.0f}s {loop.env_steps:9d} greedy {e['mean_steps']:6.2f} succ {e['success']:.3f} ret {e['mean_return']:.3f} train {r.get('length', -1):.2f} {r.get('success', -1):.3f} arena {loop.sampler.world.config.arena}", flush=True)
e = loop.evaluate(2048)
print("FINAL", " ".join(sys.argv[2:]), f"{loop.env_steps} env steps: mean_steps {e['mean_steps']:.3f} success {e['success']:.4f} return {e['mean_return']:.4f} train {f.recent.get('length', -1):.2f}", flush=True)
