"""Plays one episode per world over a fixed horizon.

Stopping when the first so many episodes have finished would leave the long ones out; here every world
plays its one episode to the end, and means are plain means.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from agentcomm.contracts.outcome import Episodes, Facts
from agentcomm.deciding import Decision, GateControl, decide
from agentcomm.directory import DirectoryWorld
from agentcomm.interpreter import Interpreter
from agentcomm.messages.ledger import COUNTS
from agentcomm.messages.network import FATES, Network, Notes
from agentcomm.policy import CommPolicy
from agentcomm.seeds import derive
from agentcomm.step.comms import Comms
from agentcomm.world import Step, World


@dataclass(frozen=True)
class Moment:
    """One step of all worlds as it went.

    Attributes:
        at: [B] int64, step of the episode.
        observation: [B, N, O] what agents saw.
        decision: What they did.
        step: What came of it.
        running: [B] bool, worlds whose episode was still on.
        notes: Of the step's exchanges.
        facts: What there was to know of each agent when it acted (:meth:`agentcomm.world.World.facts`), [B, N] each.
    """

    at: Tensor
    observation: Tensor
    decision: Decision
    step: Step
    running: Tensor
    notes: list[Notes]
    facts: dict[str, Tensor]


@torch.no_grad()
def play(
    world: World,
    policy: CommPolicy,
    comms: Comms,
    seed: int,
    record: int = 0,
    generator: torch.Generator | None = None,
    gates: float | None = None,
    watch: Callable[[list[Notes]], None] | None = None,
    follow: Callable[[Moment], None] | None = None,
    obedience: float = 0.0,
) -> Episodes:
    """One episode in every world, on the executed graph.

    Args:
        world: B worlds; reset with ``seed``, so equal seeds share their episodes.
        policy: Decides.
        comms: The team's message layer, and its adversary.
        seed: Of the episodes.
        record: How many worlds to record frame by frame.
        generator: Samples decisions; None decides greedily.
        watch: Called after each step with the notes of its exchanges.
        gates: Probability with which every gate opens, whatever the policy says; None leaves that to the policy.
        follow: Called after each step with all there is to know about it.
        obedience: Chance that members do what a directive tells them (:mod:`agentcomm.interpreter`); 0 for members
            that read messages as their policy does, and no otherwise.
    """
    was_training = policy.training
    policy.eval()
    observation = world.reset(seed)
    everywhere = torch.arange(world.num_worlds, device=world.device)
    network = comms.network
    comms.reset(everywhere)
    network.ledger.clear()
    graph = None if policy.topology.dynamic else policy.topology.graph(None, world.num_worlds)
    control = None
    if gates is not None:
        control = GateControl(gates, torch.Generator(world.device).manual_seed(derive(seed, "gates")))
    interpreter = None
    if obedience:
        draws = torch.Generator(world.device).manual_seed(derive(seed, "obedience"))
        interpreter = Interpreter(obedience, policy.num_actions, policy.width, draws)
    running = torch.ones(world.num_worlds, dtype=torch.bool, device=world.device)
    length = torch.zeros_like(world.length)
    success = torch.zeros_like(running)
    total = torch.zeros(world.num_worlds, device=world.device)
    harm = torch.zeros_like(length)
    actions = length.new_zeros(world.num_worlds, world.num_actions)
    messages = torch.zeros_like(network.ledger.messages)
    size = torch.zeros_like(network.ledger.bytes)
    late_steps, late_seconds = torch.zeros_like(size), torch.zeros_like(network.ledger.seconds)
    refused_by: dict[str, Tensor] = {}
    directory = world.directory if isinstance(world, DirectoryWorld) else None
    counts = None if directory is None else torch.zeros_like(directory.state["counts"])
    gate_by_step: list[float | None] = []
    opened = asked = 0
    frames: list[list[dict[str, Any]]] = [[] for _ in range(record)]
    for _ in range(world.max_steps):
        network.tape = [] if record or watch or follow else None
        scenes = [world.scene(w) for w in range(record)]
        alive = world.alive.clone() if world.config.loses_members else None
        at = world.length.clone()
        observation = comms.adversary.on_observations(observation, world, at, policy)
        decision = decide(policy, observation, graph, comms, at, generator, alive, control, interpreter)
        there = running.unsqueeze(1).expand_as(decision.gate)
        acting = there if alive is None else there & alive
        actions.scatter_add_(1, decision.action, acting.long())
        open_ = decision.gate[acting]
        opened, asked = opened + int(open_.sum()), asked + open_.numel()
        gate_by_step.append(float(open_.float().mean()) if open_.numel() else None)
        facts = {} if follow is None else world.facts()
        step = world.step(decision.action, auto_reset=False)
        if watch is not None and network.tape is not None:
            watch(network.tape)
        if follow is not None:
            follow(Moment(at, observation, decision, step, running.clone(), network.tape or [], facts))
        for w in range(record):
            if bool(running[w]):
                frames[w].append(
                    _frame(scenes[w], world, decision.action[w], decision.gate[w], network, w, step.reward[w])
                )
        mean = step.reward.mean(1) if alive is None else step.reward.sum(1) / alive.sum(1)  # the gone earn nothing
        total += mean * running
        ended = running & step.done
        comms.reset(ended.nonzero().squeeze(1))  # counts what is still on its way
        length = torch.where(ended, step.length, length)
        success = torch.where(ended, step.success, success)
        harm = torch.where(ended, world.harm, harm)
        messages = torch.where(ended, network.ledger.messages, messages)
        size = torch.where(ended, network.ledger.bytes, size)
        late_steps = torch.where(ended, network.ledger.steps, late_steps)
        late_seconds = torch.where(ended, network.ledger.seconds, late_seconds)
        if directory is not None and counts is not None:
            counts = torch.where(ended.unsqueeze(1), directory.state["counts"], counts)
        for name, count in network.ledger.refused_by.items():
            refused_by[name] = torch.where(ended, count, refused_by.get(name, torch.zeros_like(count)))
        for w in range(record):
            if bool(ended[w]):
                frames[w].append(world.scene(w) | {"actions": None, "gates": None, "messages": [], "reward": None})
        running &= ~step.done
        observation = step.observation
        if not bool(running.any()):
            break
    network.tape = None
    gate_by_step += [None] * (world.max_steps - len(gate_by_step))
    policy.train(was_training)
    events = None if counts is None else Facts.of(counts)
    return Episodes(
        length=length,
        success=success,
        total_reward=total,
        harm=harm,
        actions=actions,
        messages=dict(zip(COUNTS, messages, strict=True)),
        bytes=size,
        late_by=(late_steps, late_seconds),
        refused_by=refused_by,
        gate_by_step=gate_by_step,
        gate_open=opened / max(asked, 1),
        facts=events,
        frames=frames,
    )


def _frame(
    scene: dict[str, Any], world: World, action: Tensor, gate: Tensor, network: Network, w: int, reward: Tensor
) -> dict[str, Any]:
    """One step of one world in plain numbers."""
    messages = []
    for notes in network.tape or []:
        fate = notes.fields["fate"][w]
        for receiver, slot in zip(*fate.nonzero(), strict=True):
            messages.append(
                {
                    "sender": int(notes.fields["sender"][w, receiver, slot]),
                    "receiver": int(receiver),
                    "round": notes.kind,
                    "fate": FATES[fate[receiver, slot]],
                    "accepted": bool(notes.fields["accepted"][w, receiver, slot]),
                }
            )
    return scene | {
        "actions": [world.action_names[a] for a in action.tolist()],
        "gates": gate.tolist(),
        "messages": messages,
        "reward": [round(r, 4) for r in reward.tolist()],
    }
