"""Steps and updates copy no numbers to the host, but where it is said why."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from builders import sampler, team
from torch.utils._python_dispatch import TorchDispatchMode

from agentcomm.runs.ppo_settings import PPOSettings
from agentcomm.step.replay import unroll
from agentcomm.training.minibatches import batch_of
from agentcomm.training.rollout import Sampler

ROOT = Path(__file__).parents[2]
ROOMS = ("network", "step", "contracts", "training")
COPIES = {"item", "tolist", "cpu", "numpy"}
REDUCTIONS = {"any", "all", "sum", "max", "min", "amax", "amin", "mean", "std", "detach"}
# Files in which nothing is called per step or per minibatch, by what they are called for.
ELSEWHERE = {
    "contracts/examples.py": "calibration",
    "contracts/metric.py": "finished episodes",
    "contracts/outcome.py": "finished episodes",
    "network/record.py": "the records of a traced exchange are for readers on the host",
    "network/transports/objects.py": "real envelopes are written one by one",
    "training/algorithm.py": "numbers of the config",
    "training/checkpoint.py": "checkpoints",
    "training/cluster.py": "evaluation on a cluster",
    "training/env_runner.py": "finished fragments, which go to the learner's process",
    "training/learner.py": "statistics and the state of an update",
    "training/mlflow_logger.py": "a line of progress per iteration",
    "training/team.py": "a line of progress per iteration",
    "training/wandb_logger.py": "a line of progress per iteration",
}
# Places that copy a number per step or per minibatch, or are of a hot class, with the reason.
ALLOWED = {
    "contracts/actions.py:ActionSpace.described": "for players and errors",
    "contracts/cards.py:Cards._places": "the largest origin decides how names and origins make one key to search for",
    "contracts/cards.py:Cards.signed": "without copied cards, no signature is checked",
    "contracts/continuous.py:Continuous.check": "checks actions given to a world, once per step",
    "contracts/continuous.py:Continuous.described": "for players and errors",
    "contracts/inbox.py:Inbox.project": "with few changed payloads, products are computed for these alone",
    "network/exchange.py:Exchange.deliver": "empty spare slots would cost the policy more than a copy",
    "network/stages/covering.py:Pad.__call__": "checks the answer of a plug-in",
    "network/stages/receiving.py:CloseGates.__call__": "exchanges without refused messages are recorded as such",
    "network/transit.py:Transit.pass_through": "replacing all fields costs more than a copy, and few messages are late",
    "network/transit.py:Transit._keep": "likewise for those that begin to wait",
    "step/chunks.py:Chunks.__init__": "once per update: afterwards the host knows the sizes of all minibatches",
    "step/chunks.py:Chunks.pack": "reads tensors on the host",
    "step/defenders.py:_check": "checks the answer of a plug-in",
    "step/replay.py:unroll": "reads a tensor on the host",
    "step/turns.py:turns": "the number of turns decides how often the network is called",
    "step/turns.py:decide_sequentially": "likewise",
    "training/minibatches.py:ChunkBatch.epoch": "once per epoch: the order of chunks decides their sizes",
    "training/minibatches.py:ChunkBatch.without": "once per update",
    "training/ppo.py:Update.minibatches": "once per update",
    "training/ppo.py:Update._check": "the text of an error",
    "training/ppo.py:Update.run": "statistics of an update",
    "training/rollout.py:Sampler.collect": "once per fragment",
    "training/rollout.py:Sampler._recent": "once per fragment",
}


def copies(node: ast.AST, where: tuple[str, ...] = ()) -> Iterator[tuple[str, str]]:
    """Calls that may copy a tensor to the host, by the function or class that they are in."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        where = (*where, node.name)
    if isinstance(node, ast.Call) and _copies(node):
        yield ".".join(where), ast.unparse(node)
    for child in ast.iter_child_nodes(node):
        yield from copies(child, where)


def _copies(call: ast.Call) -> bool:
    if isinstance(call.func, ast.Attribute):
        of_torch = isinstance(call.func.value, ast.Name) and call.func.value.id == "torch"
        return call.func.attr in COPIES or (call.func.attr == "equal" and of_torch)
    if not isinstance(call.func, ast.Name) or call.func.id not in ("bool", "int", "float") or not call.args:
        return False
    parts = list(ast.walk(call.args[0]))
    methods = {part.func.attr for part in parts if isinstance(part, ast.Call) and isinstance(part.func, ast.Attribute)}
    return bool(methods & REDUCTIONS) or any(isinstance(part, ast.Subscript) for part in parts)


def test_every_copy_to_the_host_has_a_reason() -> None:
    found: dict[str, list[str]] = {}
    for path in sorted(path for room in ROOMS for path in (ROOT / "agentcomm" / room).rglob("*.py")):
        name = path.relative_to(ROOT / "agentcomm").as_posix()
        for where, text in copies(ast.parse(path.read_text(encoding="utf-8"))):
            found.setdefault(name if name in ELSEWHERE else f"{name}:{where}", []).append(text)
    assert {place: texts for place, texts in found.items() if place not in ELSEWHERE | ALLOWED} == {}
    assert set(ELSEWHERE | ALLOWED) - set(found) == set(), "places that no longer copy anything"


class Reads(TorchDispatchMode):
    """Counts the numbers that are read on the host; so it also sees those that an ``if`` reads."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("policy", [{}, {"gate": {"initial_logit": 0.1}}, {"topology": {"name": "dynamic"}}], ids=str)
def test_a_step_reads_two_numbers(policy: dict[str, Any]) -> None:
    """Whether all actions exist, and whether all numbers of the step are finite."""
    made = sampler(*team(6, **policy))
    made.collect(2)
    with Reads() as reads:
        record = made.loop.step()
    assert reads.count == 2
    made.loop.finish(record)


def test_a_sequence_is_unrolled_without_reading_any() -> None:
    world, policy = team(6, memory={"width": 12})
    made = Sampler(world, policy, sampler(world, policy).comms, PPOSettings(chunk=5), 0)
    batch = batch_of(policy, made.collect(13).columns, made.settings)
    rows = next(batch.epoch(0, policy, torch.Generator()))
    with Reads() as reads:
        steps = list(unroll(policy, rows))
    assert len(steps) == 5
    assert reads.count == 0
