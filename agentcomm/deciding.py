"""How a team decides: gates, messages through the network, actions, in all worlds at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from agentcomm.interpreter import Interpreter
from agentcomm.messages.traffic import Inbox, Links, ProjectionCache
from agentcomm.policy import CommPolicy, Graph
from agentcomm.step.comms import Comms


@dataclass(frozen=True)
class Decision:
    """What a team did in one step, and all that is needed to evaluate it again.

    Attributes:
        action: [B, N] int64.
        gate: [B, N] bool, whose gate was open.
        gate_noise: [B, N] noise that straight-through gates were drawn with; None without such gates.
        log_probability: [B, N] of the action.
        gate_log_probability: [B, N] of the gate, 0 unless it is an action.
        value: [B, N] in units of reward; 0 for members that are gone, who earn nothing more.
        logits: [B, N, A].
        links: [B, N, k] int64, the senders that the graph kept.
        draw: [B] int64 of a graph made for this step; [0] without.
        voice_draw: [B] int64 that messages were drawn with; [0] without a voice.
        inboxes: What was delivered, per round.
    """

    action: Tensor
    gate: Tensor
    gate_noise: Tensor | None
    log_probability: Tensor
    gate_log_probability: Tensor
    value: Tensor
    logits: Tensor
    links: Tensor
    draw: Tensor
    voice_draw: Tensor
    inboxes: list[Inbox]


@dataclass(frozen=True)
class GateControl:
    """Gates that open by chance, whatever the policy says: always (1), never (0), or with that probability."""

    probability: float
    generator: torch.Generator


def gate_log_probability(logit: Tensor, open_: Tensor) -> Tensor:
    """Log-probability [B, N] of gates that were found open or not."""
    return nn.functional.logsigmoid(torch.where(open_, logit, -logit))


def choose(logits: Tensor, gumbel: Tensor | None) -> Tensor:
    """Actions: the likeliest, or with Gumbel noise of the same shape a sample."""
    return (logits if gumbel is None else logits + gumbel).argmax(-1)


@torch.no_grad()
def decide(
    policy: CommPolicy,
    observation: Tensor,
    graph: Graph | None,
    comms: Comms | None,
    step: Tensor,
    generator: torch.Generator | None,
    alive: Tensor | None = None,
    control: GateControl | None = None,
    interpreter: Interpreter | None = None,
) -> Decision:
    """One decision of the whole team in every world.

    Args:
        policy: The policy.
        observation: [B, N, O].
        graph: The graph in use; None where the policy makes one in every step.
        comms: What messages and actions pass; None delivers messages untouched and counts nothing.
        step: [B] int64, steps since each episode began.
        generator: Samples graphs, gates and actions; None decides greedily.
        alive: [B, N] bool, members of the team that are still there; None for all.
        control: Opens gates instead of the policy.
        interpreter: Lets members do what messages tell them.
    """
    hidden = policy.encode(observation)
    if interpreter is not None:
        interpreter.begin(*hidden.shape[:2])
    if alive is not None:
        hidden = hidden * alive.unsqueeze(-1)
    draw = step[:0]
    if graph is None:
        if generator is not None:
            draw = policy.topology.draw(len(step), generator)
        graph = policy.topology.graph(draw if len(draw) else None, len(step), hidden)
    gate, noise, gate_log = _open_gates(policy, hidden, generator, control)
    links = _links(policy, graph, gate, alive)
    inboxes: list[Inbox] = []

    def exchange(spoken: Tensor, links: Links, kind: int, foresee: Callable[[Inbox], Tensor] | None = None) -> Inbox:
        if comms is None:
            inbox = Inbox(spoken, links.source, links.present, links.source)
        else:
            inbox = comms.network.exchange(spoken, links, step, kind, foresee)
        if interpreter is not None:
            interpreter.read(inbox)
        return inbox

    voice_draw = step[:0]
    if policy.voice is not None and generator is not None:
        voice_draw = torch.randint(2**62, step.shape, generator=generator, device=step.device)

    def utter(said: Tensor, round_: int) -> Tensor:
        if policy.voice is None:
            return said
        uttered: Tensor = policy.voice(said, voice_draw if len(voice_draw) else None, round_)[0]
        return uttered

    state = hidden
    for round_ in range(policy.rounds - policy.tells_actions):
        foresee = None if policy.tells_actions else partial(consequences, policy, state, links, round_)
        inboxes.append(exchange(utter(policy.speak(state, round_), round_), links, round_, foresee))
        state = policy.hear(state, inboxes[-1], round_)
    gumbel = None
    if generator is not None:  # Gumbel-max: the largest of logit - log(exponential noise)
        shape = (*hidden.shape[:2], policy.num_actions)
        gumbel = -torch.empty(shape, device=hidden.device).exponential_(generator=generator).log_()
    actions = torch.zeros(hidden.shape[0] * hidden.shape[1], dtype=torch.int64, device=hidden.device)

    def pick(logits: Tensor, gumbel: Tensor | None, rows: Tensor) -> Tensor:
        chosen = choose(logits, gumbel)
        if interpreter is not None:
            chosen = interpreter.obey(chosen, rows)
        if comms is not None:
            chosen = comms.adversary.on_action(logits, chosen, gumbel, step, rows, alive)
        actions[rows] = chosen
        return chosen

    if policy.tells_actions:
        logits, told = in_turns(policy, state, links, exchange, gumbel, utter, pick)
        inboxes.append(told)
    else:
        logits = policy.act(state)
        everybody = torch.arange(len(actions), device=actions.device)
        pick(logits.flatten(0, 1), None if gumbel is None else gumbel.flatten(0, 1), everybody)
    log_probabilities = logits.log_softmax(-1)
    action = actions.view(hidden.shape[:2])
    value = policy.expected_return(policy.value(hidden))
    return Decision(
        action=action,
        gate=gate,
        gate_noise=noise,
        log_probability=log_probabilities.gather(-1, action.unsqueeze(-1)).squeeze(-1),
        gate_log_probability=gate_log,
        value=value if alive is None else value * alive,
        logits=logits,
        links=links.source,
        draw=draw,
        voice_draw=voice_draw,
        inboxes=inboxes,
    )


@torch.no_grad()
def first_words(
    policy: CommPolicy, observation: Tensor, graph: Graph | None, alive: Tensor | None = None
) -> tuple[Tensor, Links]:
    """What a team that decides greedily is about to say in a step's first round, and on which links.

    Args:
        policy: One whose agents act all at once.
        observation: [B, N, O].
        graph: The graph in use; None where the policy makes one in every step.
        alive: [B, N] bool, members of the team that are still there; None for all.

    Returns:
        Payloads [B, N, D], and the links.
    """
    hidden = policy.encode(observation)
    if alive is not None:
        hidden = hidden * alive.unsqueeze(-1)
    if graph is None:
        graph = policy.topology.graph(None, len(observation), hidden)
    gate, _, _ = _open_gates(policy, hidden, None, None)
    said = policy.speak(hidden, 0)
    if policy.voice is not None:
        said = policy.voice(said, None, 0)[0]
    return said, _links(policy, graph, gate, alive)


def consequences(policy: CommPolicy, state: Tensor, links: Links, round_: int, inbox: Inbox) -> Tensor:
    """What a team will do that hears this in a round, and in later rounds whatever is then said.

    Args:
        policy: One whose agents act all at once.
        state: [B, N, H] before the round.
        links: The step's links.
        round_: The round.
        inbox: What is heard in it; gradients flow through its payloads.

    Returns:
        Action logits [B, N, A].
    """
    state = policy.hear(state, inbox, round_)
    for later in range(round_ + 1, policy.rounds):
        said = policy.speak(state, later)
        if policy.voice is not None:
            said = policy.voice(said, None, later)[0]
        state = policy.hear(state, Inbox(said, links.source, links.present, links.source), later)
    return policy.act(state)


def _open_gates(
    policy: CommPolicy, hidden: Tensor, generator: torch.Generator | None, control: GateControl | None
) -> tuple[Tensor, Tensor | None, Tensor]:
    """Who opens its gate [B, N], the noise of straight-through gates, and the log-probability of gates as actions."""
    shape, zero = hidden.shape[:2], hidden.new_zeros(hidden.shape[:2])
    if control is not None:
        chance = torch.rand(shape, generator=control.generator, device=hidden.device)
        return chance < control.probability, None, zero
    logit = policy.listen(hidden)
    if logit is None:
        return torch.ones(shape, dtype=torch.bool, device=hidden.device), None, zero
    if generator is None:
        open_, noise = logit > 0, zero
    else:
        uniform = torch.rand(shape, generator=generator, device=hidden.device).clamp(1e-7, 1 - 1e-7)
        # Logistic noise: open with probability sigmoid(logit).
        noise = uniform.logit()
        open_ = logit + noise > 0
    if policy.gate.straight_through:
        return open_, noise, zero
    return open_, None, gate_log_probability(logit, open_)


def _links(policy: CommPolicy, graph: Graph, gate: Tensor, alive: Tensor | None) -> Links:
    """The links of a graph between members that are there and whose gates are open."""
    open_, carried = gate, graph.kept

    def senders(who: Tensor) -> Tensor:
        return who.unsqueeze(1).expand(-1, who.shape[1], -1).gather(2, graph.source)

    if policy.gate is not None and policy.gate.side == "sender":
        speaking = senders(gate)
        open_, carried = torch.ones_like(gate), speaking if carried is None else carried & speaking
    if alive is not None:
        there = senders(alive)
        open_, carried = open_ & alive, there if carried is None else carried & there
    return Links(graph.source, open_, carried)


def turns(links: Links) -> tuple[Tensor, Tensor]:
    """When agents act that tell each other what they do.

    An agent listens to those of its senders that come before it in the team's order. It acts right after the last of
    them: agents that do not depend on each other act in the same turn, and there are as many turns as the longest
    chain of dependences has members.

    Args:
        links: Whose present ones count.

    Returns:
        [B, N] int64 turn of each agent, from 0; and [B, N, k] bool, the links on which actions are told.
    """
    worlds, agents, _ = links.source.shape
    receiver = torch.arange(agents, device=links.source.device).view(1, -1, 1)
    earlier = links.present & (links.source < receiver)
    turn = torch.zeros(worlds, agents, dtype=torch.int64, device=links.source.device)
    if links.source.shape[-1]:
        for _ in range(agents):
            heard = turn.unsqueeze(1).expand(-1, agents, -1).gather(2, links.source) + 1
            new = heard.masked_fill(~earlier, 0).amax(-1)
            if torch.equal(new, turn):
                break
            turn = new
    return turn, earlier


def in_turns(
    policy: CommPolicy,
    hidden: Tensor,
    links: Links,
    exchange: Callable[[Tensor, Links, int], Inbox],
    gumbel: Tensor | None,
    utter: Callable[[Tensor, int], Tensor] = lambda said, round_: said,
    pick: Callable[[Tensor, Tensor | None, Tensor], Tensor] = lambda logits, noise, rows: choose(logits, noise),
) -> tuple[Tensor, Inbox]:
    """The last round of a policy that tells actions: each turn, some agents hear, act and tell.

    Args:
        policy: The policy.
        hidden: [B, N, H] before the round.
        links: The step's links.
        exchange: Takes payloads, links and the number of the exchange.
        gumbel: [B, N, A] noise to sample actions with; None for the likeliest.
        utter: Makes payloads [B, N, D] of what agents would say in a round.
        pick: Makes actions [R] of logits [R, A] and noise of the agents ``rows`` (world * N + agent).

    Returns:
        Logits [B, N, A], and what each agent had been told when its turn came.
    """
    last = policy.rounds - 1
    worlds, agents, _ = hidden.shape
    turn, earlier = turns(links)
    flat = hidden.flatten(0, 1).unsqueeze(0)
    spoken = hidden.new_zeros(worlds, agents, policy.width)
    cache = ProjectionCache(spoken.view(1, worlds * agents, policy.width))
    logits = hidden.new_zeros(worlds * agents, policy.num_actions)
    noise = None if gumbel is None else gumbel.flatten(0, 1)
    told: Inbox | None = None
    for number in range(int(turn.max()) + 1):
        due = turn == number
        inbox = exchange(spoken, links.only(due, earlier), last + number).spelled_out()
        told = inbox if told is None else told.merge(inbox, due)
        rows = due.flatten().nonzero().squeeze(-1)
        state = policy.hear(flat[:, rows], inbox.rows(rows, cache), last)
        logits[rows] = policy.act(state)[0]
        action = pick(logits[rows], None if noise is None else noise[rows], rows)
        said = spoken.new_zeros(worlds * agents, policy.width)
        said[rows] = policy.tell(flat[:, rows], action.unsqueeze(0))[0]
        # Noise depends on the agent's place in its world, so all are uttered and these kept.
        cache.speak(rows, utter(said.view_as(spoken), last).flatten(0, 1)[rows])
    assert told is not None
    return logits.view(worlds, agents, -1), told
