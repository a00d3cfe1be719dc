"""The decision of a team in one step: gates, messages through the network, and actions, in all worlds at once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from agentcomm.base.calling import calling
from agentcomm.contracts.inbox import Inbox, Members
from agentcomm.contracts.policy import CommPolicy
from agentcomm.contracts.topology import Graph
from agentcomm.contracts.traffic import Links
from agentcomm.step.comms import Comms
from agentcomm.step.gates import GateControl, closed_links, drop_links, make_links, open_gates
from agentcomm.step.hooks import ask, ask_at, ask_graph, ask_memory, ask_ranking
from agentcomm.step.interpreter import Interpreter
from agentcomm.step.message_noise import add_message_noise, draw_message_noise
from agentcomm.step.perceive import perceive
from agentcomm.step.preview import predict_logits
from agentcomm.step.reselect import reselect
from agentcomm.step.turns import decide_sequentially
from agentcomm.step.vote import member_logits


@dataclass(frozen=True)
class Decision:
    """A team's decision in one step, and everything needed to reevaluate it.

    Attributes:
        action: [B, N, ...] of the policy's action space.
        gate: [B, N] bool, open gates.
        gate_noise: [B, N] noise with which straight-through gates were sampled; None without such gates.
        log_probability: [B, N] log-probability of the action.
        gate_log_probability: [B, N] log-probability of the gate and of the choice of senders; 0 unless actions.
        value: [B, N] expected return, in units of reward; 0 for members that have left.
        logits: [B, N, P] parameters of the action distributions, masked.
        allowed: [B, N, P] bool, what was possible; None for everything.
        links: [B, N, k] int64, the senders that the graph keeps for each receiver.
        asked: [B, N, k] bool, links that graph, gates and membership left open, before the network; [B, G, N, k] with a
            graph per round.
        closed: Links between present members that only the edge or only the gate closed, shaped like ``asked``; None
            without straight-through gates and dynamic graphs.
        draw: [B] int64 seed of the graph sampled for this step; [0] without.
        noise_draw: [B] int64 seed of the message noise; [0] without noise.
        inboxes: The delivered messages, per round.
        memory: [B, N, S] memory after the step; 0 for members that have left.
        votes: [B, N, A] int64, how many members of a vote chose each discrete action; None if there was no vote.
    """

    action: Tensor
    gate: Tensor
    gate_noise: Tensor | None
    log_probability: Tensor
    gate_log_probability: Tensor
    value: Tensor
    logits: Tensor
    links: Tensor
    asked: Tensor
    closed: Tensor | None
    draw: Tensor
    noise_draw: Tensor
    inboxes: list[Inbox]
    memory: Tensor
    votes: Tensor | None = None
    allowed: Tensor | None = None

    @property
    def num_asked(self) -> Tensor:
        """[B, N], number of links on which each receiver asks for a message in any round."""
        return (self.asked if self.asked.dim() == 3 else self.asked.any(1)).sum(-1)


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
    memory: Tensor | None = None,
    learning: bool = False,
    allowed: Tensor | None = None,
) -> Decision:
    """One decision of the whole team in every world.

    Args:
        policy: The policy.
        observation: [B, N, O].
        graph: The graph in use; None if the policy builds one in every step.
        comms: Message layer and adversary; None delivers messages unchanged and counts nothing.
        step: [B] int64, steps since each episode began.
        generator: Samples graphs, gates and actions; None decides greedily.
        alive: [B, N] bool, present members; None for all.
        control: Controls the gates instead of the policy.
        interpreter: Makes members obey directives in messages.
        memory: [B, N, S] memory of earlier steps; None at the start of episodes.
        learning: Whether straight-through gates explore: some are forced open, and some of their links dropped.
        allowed: [B, N, P] bool, what agents can do; None for everything.

    Raises:
        HookError: If a hook of a plug-in raises an error or breaks its contract.
    """
    shape = observation.shape[:2]
    hidden, memory = perceive(policy, observation, memory, alive)
    _note(policy, comms, "hidden state (encode)", hidden, implied=True)
    if interpreter is not None:
        interpreter.begin(*shape)
    graph, draw = (graph, step[:0]) if graph is not None else _new_graph(policy, hidden, generator)
    graph = ask_at(policy.topology, graph, step)
    given_up = None if comms is None else comms.network.given_up(step)
    if given_up is not None:
        graph = reselect(graph, given_up, ask_ranking(policy.topology, shape[1]), alive)
    explores = learning and generator is not None
    gates = open_gates(policy, hidden, generator, control, explores)
    with calling(f"topology {policy.topology.name!r}", "graph"):  # whose senders may not be agents
        links, closed = make_links(policy, graph, gates.open, alive), closed_links(policy, graph, gates.open, alive)
    if explores:
        links = drop_links(policy, links, generator)
    by_action = gates.log_probability
    if policy.topology.acts and generator is not None:
        by_action = by_action + policy.topology.choice(graph.source, hidden)[0]
    message_draw = draw_message_noise(policy, step, generator)
    team = _TeamStep(policy, links, comms, step, alive, interpreter, message_draw, memory, allowed)
    state, inboxes = team.communicate(hidden)
    noise = None if generator is None else policy.actions.noise(shape, generator, hidden.device)
    logits, action = team.act(state, noise, inboxes)
    value = policy.expected_return(ask(policy, policy.value, shape, hidden))
    # A parameter that is not finite makes the log-probability NaN.
    log_probability = policy.actions.log_probability(logits, action)
    noted = {"gate logit (listen)": by_action, "action logits (act)": log_probability}
    for field, number in (noted | ({} if generator is None else {"value (value)": value})).items():
        _note(policy, comms, field, number)  # greedy teams do not use their value
    return Decision(
        action=action,
        gate=gates.open,
        gate_noise=gates.noise,
        log_probability=log_probability,
        gate_log_probability=by_action,
        value=value if alive is None else value * alive,
        logits=logits,
        links=links.source,
        asked=links.present,
        closed=closed,
        draw=draw,
        noise_draw=message_draw,
        inboxes=inboxes,
        memory=team.memory if alive is None else team.memory * alive.unsqueeze(-1),
        votes=team.votes,
        allowed=allowed,
    )


def _note(policy: CommPolicy, comms: Comms | None, field: str, value: Tensor, implied: bool = False) -> None:
    """Note numbers [B, N, ...] of a policy, which must be finite, if numbers are noted."""
    if comms is not None and comms.network.numbers is not None:
        comms.network.numbers.note(f"policy {policy.name!r}", field, value, implied=implied)


def _new_graph(policy: CommPolicy, hidden: Tensor, generator: torch.Generator | None) -> tuple[Graph, Tensor]:
    """The graph of a dynamic topology for hidden vectors [B, N, H], and the draws [B] of it; [0] without sampling."""
    worlds, agents = hidden.shape[:2]
    draw = torch.zeros(0, dtype=torch.int64, device=hidden.device)
    if generator is not None:
        draw = policy.topology.draw(worlds, generator)
    return ask_graph(policy.topology, draw if len(draw) else None, worlds, agents, hidden), draw


@dataclass
class _TeamStep:
    """One step of a team: its rounds of messages, and its actions.

    Attributes:
        policy: The policy.
        links: The step's links.
        comms: Message layer and adversary; None delivers messages unchanged.
        step: [B] int64, steps since each episode began.
        alive: [B, N] bool, present members; None for all.
        interpreter: Makes members obey directives in messages.
        message_draw: [B] int64 seed of the message noise; [0] for none.
        memory: [B, N, S] with this step's observations and, after :meth:`act`, its messages.
        allowed: [B, N, P] bool, what agents can do; None for everything.
        votes: [B, N, A] int64 votes for each action, after :meth:`act`; None without a vote.
    """

    policy: CommPolicy
    links: Links
    comms: Comms | None
    step: Tensor
    alive: Tensor | None
    interpreter: Interpreter | None
    message_draw: Tensor
    memory: Tensor
    allowed: Tensor | None
    votes: Tensor | None = None

    def communicate(self, hidden: Tensor) -> tuple[Tensor, list[Inbox]]:
        """Run all rounds before the actions; returns the state [B, N, H] after them, and the delivered messages."""
        policy, state = self.policy, hidden
        inboxes: list[Inbox] = []
        for round_ in range(policy.rounds - policy.autoregressive):
            said = ask(policy, policy.speak, (*state.shape[:2], policy.width), state, round_)
            inbox = self.exchange(self.add_noise(said, round_), self.links.of_round(round_), round_, state)
            inboxes.append(inbox)
            if inbox.members is not None:  # which are asked when agents act
                return state, inboxes
            state = ask(policy, policy.hear, tuple(state.shape), state, inbox, round_)
        return state, inboxes

    def act(self, state: Tensor, noise: Tensor | None, inboxes: list[Inbox]) -> tuple[Tensor, Tensor]:
        """Parameters [B, N, P] and actions [B, N, ...]; appends messages about actions to ``inboxes``."""
        policy, shape = self.policy, state.shape[:2]
        if policy.autoregressive:
            logits, action, told = decide_sequentially(
                policy,
                state,
                self.links.of_round(policy.rounds - 1),
                self.exchange,
                noise,
                self.add_noise,
                self.choose,
                self.retain,
                self.allowed,
            )
            inboxes.append(told)
            return logits, action
        if inboxes and (members := inboxes[-1].members) is not None:
            logits, noise = self.vote(state, noise, inboxes[-1], members), None
        else:
            if policy.keeps_heard:
                state, self.memory = ask_memory(policy, policy.retain, state, self.memory)
            logits = ask(policy, policy.act, (*shape, policy.actions.parameters), state)
            logits = policy.actions.masked(logits, self.allowed)
        all_rows = torch.arange(shape.numel(), device=state.device)
        action = self.choose(logits.flatten(0, 1), None if noise is None else noise.flatten(0, 1), all_rows)
        return logits, action.view(*shape, *policy.actions.shape)

    def vote(self, state: Tensor, noise: Tensor | None, inbox: Inbox, members: Members) -> Tensor:
        """Parameters [B, N, P] whose likeliest action is the one that the members of a vote choose.

        Args:
            state: [B, N, H] before the only round.
            noise: Noise of actions [B, N]; None for greedy ones.
            inbox: The delivered messages.
            members: The members.
        """
        each = member_logits(self.policy, state, inbox, members, 0, self.allowed)
        logits, self.votes = self.policy.actions.vote(each, noise)
        return logits

    def retain(self, state: Tensor, rows: Tensor) -> Tensor:
        """States [1, R, H] of the agents ``rows`` (world * N + agent) after their turn, with what they remember."""
        if not self.policy.keeps_heard:
            return state
        memory = self.memory.flatten(0, 1)
        state, kept = ask_memory(self.policy, self.policy.retain, state, memory[rows].unsqueeze(0))
        self.memory = memory.index_copy(0, rows, kept[0]).view_as(self.memory)
        return state

    def add_noise(self, said: Tensor, round_: int) -> Tensor:
        """Payloads [B, N, D] of a round, with message noise."""
        return add_message_noise(self.policy, said, round_, self.message_draw)

    def exchange(self, spoken: Tensor, links: Links, number: int, state: Tensor | None = None) -> Inbox:
        """Deliver payloads [B, N, D] over some links.

        Args:
            spoken: [B, N, D].
            links: Links over which messages travel.
            number: Number of the exchange within the step.
            state: [B, N, H] before the exchange, from which attacks that know the policy predict the effect of a
                message; None if they cannot.
        """
        _note(self.policy, self.comms, f"payload (speak), round {number},", spoken)
        if self.comms is None:
            inbox = Inbox(spoken, links.source, links.present, links.source)
        else:
            predict = None
            if state is not None and not self.policy.autoregressive:
                predict = partial(predict_logits, self.policy, state, self.memory, self.links, self.allowed, number)
            inbox = self.comms.network.exchange(spoken, links, self.step, number, predict)
            if inbox.members is not None and len(inbox.members) == 1:  # no vote, so the team can learn from it
                inbox = inbox.of_members(inbox.members, 0, 1)
        if self.interpreter is not None:
            self.interpreter.read(inbox)
        return inbox

    def choose(self, logits: Tensor, noise: Tensor | None, rows: Tensor) -> Tensor:
        """The actions [R, ...] that the agents ``rows`` (world * N + agent) execute.

        Args:
            logits: [R, P] parameters of the policy, masked.
            noise: Noise of actions [R]; None for greedy actions.
            rows: [R] int64.
        """
        space = self.policy.actions
        own = action = space.choose(logits, noise)
        if self.interpreter is not None:
            action = self.interpreter.obey(action, rows)
        if self.comms is not None:
            action = self.comms.on_action(logits, action, noise, self.step, rows, self.alive)
        if self.allowed is None or action is own:
            return action
        possible = space.permitted(logits, action)  # whoever wants something else from an agent may not know
        return torch.where(possible.view(-1, *(1,) * len(space.shape)), action, own)
