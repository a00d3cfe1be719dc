"""Certificates of a trained team: clean episodes are played, and every decision in them is examined.

The rows are counts over all decisions of a team's episodes, and worst cases; nothing is averaged over seeds or
episodes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb
from typing import Any

import torch
from torch import Tensor

from agentcomm.certificates import ame, robustness, smoothing
from agentcomm.certificates.reach import Recorded, Worst, reach_of_links, reach_of_nodes, steps_unchanged, worst
from agentcomm.contracts.defense import defense_hooks
from agentcomm.contracts.policy import CommPolicy
from agentcomm.contracts.world import World
from agentcomm.defenses.ensemble import Ensemble
from agentcomm.defenses.smoothing import Smoothing
from agentcomm.evaluation.cells import Cell
from agentcomm.evaluation.setup import gate_probability, load_team, prepare, run_cell
from agentcomm.runs.folder import Run
from agentcomm.step.comms import Comms
from agentcomm.step.loop import StepRecord

Row = dict[str, Any]
CONFIDENCE = 0.99  # of certificates of sampled votes
GRAPHS = 200  # distinct graphs whose robustness is computed
RADII = (0.5, 1.0, 2.0)  # in units of sigma


@dataclass(frozen=True, eq=False)
class Played:
    """Clean episodes of a team.

    Attributes:
        recorded: What they recorded.
        acting: [B, T, N] bool, decisions of present members in running episodes.
        action: [B, T, N] int64, what they decided.
        votes: [B, T, N, A] int64, votes for each action; None without a vote.
        obstacle: Why reach cannot be certified; None if it can.
    """

    recorded: Recorded
    acting: Tensor
    action: Tensor
    votes: Tensor | None
    obstacle: str | None


def play(run: Run, cell: Cell) -> Played:
    """Play the episodes of a cell without attack."""
    steps: list[StepRecord] = []
    saved = load_team(run, cell)
    gates = gate_probability(cell, saved, {})
    with prepare(cell, saved, cell.episodes) as (world, policy, comms):
        run_cell(cell, world, policy, comms, gates, follow=steps.append)
        return record(steps, world, policy, comms)


def record(steps: Sequence[StepRecord], world: World, policy: CommPolicy, comms: Comms) -> Played:
    """What the steps of clean episodes recorded.

    Args:
        steps: All steps.
        world: Their worlds.
        policy: The team's policy.
        comms: Its message layer.
    """
    decisions, network = [step.decision for step in steps], comms.network
    asked = [d.asked if d.asked.dim() == 4 else d.asked.unsqueeze(1) for d in decisions]
    # Later rounds use the last of the graphs.
    sent = [a[:, [min(r, a.shape[1] - 1) for r in range(policy.rounds)]] for a in asked]
    here = [torch.ones_like(s.decision.gate) if s.alive is None else s.alive for s in steps]
    at_receiver = policy.gate is not None and policy.gate.side == "receiver"
    listening = [h & d.gate if at_receiver else h for h, d in zip(here, decisions, strict=True)]
    running = torch.stack([step.running for step in steps], 1)
    stateful = network.codec is not None and network.codec.stateful
    recorded = Recorded(
        source=torch.stack([d.links for d in decisions], 1),
        sent=torch.stack(sent, 1),
        listening=torch.stack(listening, 1),
        running=running,
        couples=not world.exogenous,
        remembers=policy.keeps_heard or stateful or any(d.history != 0 for d in network.defenses),
        dynamic=policy.topology.dynamic,
        in_turns=policy.autoregressive,
    )
    votes = [d.votes for d in decisions if d.votes is not None]
    acting = torch.stack(here, 1) & running.unsqueeze(-1)
    action = torch.stack([d.action for d in decisions], 1)
    return Played(recorded, acting, action, torch.stack(votes, 1) if votes else None, _obstacle(comms))


def _obstacle(comms: Comms) -> str | None:
    """Why an attack on one link may have effects that do not follow the graph; None if they follow it."""
    network = comms.network
    if network.link is not None:
        return "channels: what is lost or late on one link may depend on what is sent on others"
    for defense in network.defenses:
        hooks = defense_hooks(type(defense))
        if defense.draws and not (isinstance(defense, Ensemble) and defense.config.samples is None):
            return f"defense {defense.name}: it draws random numbers, so that no decision is the same twice"
        if "respond" in hooks:
            return f"defense {defense.name}: its responses may reach agents that no message reaches"
    return None


def certificates(
    run: Run, cell: Cell, attack_links: Sequence[int] = (1,), attack_nodes: Sequence[int] = (), injects: bool = False
) -> list[Row]:
    """All certificates of a team that apply to it.

    Args:
        run: The run.
        cell: The team, its defenses, episodes and conditions, without attack.
        attack_links: Numbers C of links that an attacker controls.
        attack_nodes: Numbers C of nodes that an attacker controls.
        injects: Whether an attacker on links may send when the sender does not.
    """
    played = play(run, cell)
    about: Row = {"variant": cell.variant, "seed": cell.seed, "defenses": cell.defense_label}
    about |= {"episodes": cell.episodes, "episode_seed": cell.episode_seed, "conditions": cell.conditions.label()}
    rows = [*_reach(played, attack_links, attack_nodes, injects), _robustness(played)]
    if played.votes is not None:
        with prepare(cell, load_team(run, cell), 1) as (_, _, comms):
            for defense in comms.network.defenses:
                if isinstance(defense, Ensemble):
                    links = defense.team_shape.degree
                    rows += [_vote(played, played.votes, defense, links, count) for count in attack_links]
                if isinstance(defense, Smoothing):
                    rows.append(_radius(played, played.votes, defense))
    return [about | row for row in rows]


def _reach(played: Played, links: Sequence[int], nodes: Sequence[int], injects: bool) -> list[Row]:
    """Decisions that the worst attacker on some links or nodes cannot reach."""
    recorded, rows = played.recorded, []
    pairs = recorded.links()
    names = {"links": [f"{sender}>{receiver}" for sender, receiver in pairs]}
    names["nodes"] = [str(node) for node in range(recorded.source.shape[2])]
    for attacker, counts in (("links", links), ("nodes", nodes)):
        if not counts:
            continue
        row: Row = {"certificate": "reach", "attacker": attacker, "injects": injects and attacker == "links"}
        if played.obstacle is not None:
            rows += [row | {"count": count, "refused": played.obstacle} for count in counts]
            continue
        if attacker == "links":
            reach = reach_of_links(recorded, pairs, injects)
        else:
            reach = reach_of_nodes(recorded, range(recorded.source.shape[2]))
        kept = steps_unchanged(reach, recorded.running)
        shortest = recorded.running.sum(1).amin().expand(kept.shape[2])
        least = (kept.amin((0, 1)) if kept.shape[1] else shortest).tolist()
        for count in counts:
            found = worst(reach & played.acting.unsqueeze(1), recorded.running, min(count, len(names[attacker])))
            more = {"count": count, "steps_unchanged": least}
            rows.append(row | more | _worst_row(found, played, names[attacker]))
    return rows


def _worst_row(found: Worst, played: Played, names: Sequence[str]) -> Row:
    """The worst attacker; absent members take no decisions."""
    decisions = int(played.acting.sum())
    return {
        "decisions": decisions,
        "certified": found.certified - (found.decisions - decisions),
        "exact": found.exact,
        "worst": [names[place] for place in found.chosen],
        "at_once": found.at_once,
    }


def _robustness(played: Played) -> Row:
    """The least robust of the graphs on which messages were sent, over all steps and rounds."""
    recorded = played.recorded
    rounds, agents, degree = recorded.sent.shape[2:]
    running = recorded.running[:, :, None].expand(-1, -1, rounds)
    source = recorded.source.unsqueeze(2).expand(-1, -1, rounds, -1, -1)[running]
    together = torch.cat([source.flatten(1), recorded.sent[running].long().flatten(1)], 1)
    together = torch.unique(together, dim=0)
    bounds = []
    for row in together[:GRAPHS]:
        heard, kept = row.view(2, agents, degree)
        bounds.append(robustness.robustness_bounds(robustness.adjacency(heard, kept.bool())))
    lower = min((low for low, _ in bounds), default=0) if len(together) <= GRAPHS else 0
    upper = min((high for _, high in bounds), default=0)
    return {
        "certificate": "robustness",
        "graphs": len(together),
        "r_least": lower,
        "r_most": upper,
        "exact": lower == upper,
        "w_msr_attackers": robustness.tolerated(lower),
    }


def _vote(played: Played, votes: Tensor, defense: Ensemble, links: int, count: int) -> Row:
    """Decisions by vote that an attacker on some links of each receiver cannot turn."""
    k, samples, attacked = defense.config.k, defense.config.samples, min(count, links)
    first, second = torch.nn.functional.pad(votes, (0, 1)).topk(2, -1).values.unbind(-1)
    harmless, unchanged = _tables(defense, links, attacked)
    benign, held = harmless[first], unchanged[(first - second)]
    if played.recorded.couples:  # what is decided later depends on earlier decisions of all
        whole = (held | ~played.acting).all(-1).long().cumprod(1)
        held = held & torch.nn.functional.pad(whole[:, :-1], (1, 0), value=1).bool().unsqueeze(-1)
    acting, given = played.acting, first[played.acting]
    return {
        "certificate": "vote",
        "attacker": "links of each receiver",
        "count": count,
        "k": k,
        "links": links,
        "samples": samples,
        "confidence": 1.0 if samples is None else CONFIDENCE,
        "admissible": ame.median_holds(links, k, attacked),
        "largest_k": ame.largest_heard(links, attacked),
        "decisions": int(acting.sum()),
        "benign": int((benign & acting).sum()),
        "certified": int((held & acting).sum()),
        "episodes_certified": int((held | ~acting).all(-1).all(-1).sum()),
        "votes_least": int(given.min()) if len(given) else 0,
    }


def _tables(defense: Ensemble, links: int, attacked: int) -> tuple[Tensor, Tensor]:
    """Whether an action is benign, by its votes, and unchanged, by its lead: [S + 1] bool each."""
    k, samples = defense.config.k, defense.config.samples
    if samples is None:
        numbers = range(comb(links, k) + 1)
        harmless = [ame.benign(votes, links, k, attacked) for votes in numbers]
        held = [ame.unchanged(lead, 0, links, k, attacked) for lead in numbers]
    else:
        numbers = range(samples + 1)
        harmless = [ame.confidence(votes, samples, links, k, attacked) >= CONFIDENCE for votes in numbers]
        held = [ame.confidence_unchanged(lead, 0, samples, links, k, attacked) >= CONFIDENCE for lead in numbers]
    device = defense.team_shape.device
    return torch.tensor(harmless, device=device), torch.tensor(held, device=device)


def _radius(played: Played, votes: Tensor, defense: Smoothing, alpha: float = 1 - CONFIDENCE) -> Row:
    """Decisions by smoothed votes, by certified radius."""
    sigma, samples = defense.config.sigma, defense.config.samples
    first = votes.amax(-1)[played.acting]
    table = [smoothing.radius(number, samples, sigma, votes.shape[-1], alpha) for number in range(samples + 1)]
    radii = torch.tensor(table, device=first.device)[first]
    return {
        "certificate": "smoothing",
        "attacker": "payloads",
        "sigma": sigma,
        "samples": samples,
        "confidence": 1 - alpha,
        "decisions": len(radii),
        "certified": int((radii > 0).sum()),
        "radius_least": float(radii.min()) if len(radii) else 0.0,
        "radius_most_possible": table[-1],
        "by_radius": {f"{times * sigma:g}": int((radii >= times * sigma).sum()) for times in RADII},
    }
