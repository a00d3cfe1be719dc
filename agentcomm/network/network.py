"""Network: everything that happens to messages between senders and receivers.

Each exchange passes through a list of stages (``agentcomm/network/stages/``): codec -> attacks of compromised senders
-> seals -> attacks on the wire -> transport, which measures bytes -> channels and transit -> receivers read -> closed
gates and quarantined links -> defenses up to authorization -> decoding -> the other defenses, which screen single
messages and then aggregate inboxes or choose parts of them for a vote -> ledger -> responses. A network has only the
stages that it needs. Their state (memories, messages in transit, counters) is kept per world and reset when an episode
ends.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from agentcomm.base.numbers import Numbers
from agentcomm.base.seeds import derive
from agentcomm.base.state import DrawingMemory, Memory, State
from agentcomm.base.transports import find
from agentcomm.contracts.calibrating import require_calibrated
from agentcomm.contracts.channel import Channel
from agentcomm.contracts.codec import Codec
from agentcomm.contracts.defense import ORDERS, READING, Defense, authenticates, defense_hooks
from agentcomm.contracts.inbox import Inbox
from agentcomm.contracts.shape import TeamShape
from agentcomm.contracts.traffic import Links
from agentcomm.guards.messages import MessageGuard
from agentcomm.network.exchange import Exchange, PredictLogits
from agentcomm.network.ledger import Ledger
from agentcomm.network.link import Link
from agentcomm.network.prediction import Prediction
from agentcomm.network.reassembly import CheckedReassembly
from agentcomm.network.record import ExchangeRecord, records_of
from agentcomm.network.stages.accounts import Count, Spread
from agentcomm.network.stages.covering import Cover, Discard, Pad
from agentcomm.network.stages.defending import Aggregate, Quarantine, Respond, Screen
from agentcomm.network.stages.receiving import CloseGates, Decode, Receive
from agentcomm.network.stages.sending import AttackSenders, Encode, Seal
from agentcomm.network.stages.stage import Stage
from agentcomm.network.stages.voting import ChooseSubsets
from agentcomm.network.stages.wire import AttackWire, Carry, Send
from agentcomm.network.transports import MakeTransport
from agentcomm.wire.envelope import PLAIN
from agentcomm.wire.keyring import Keyring


class Network(State):
    """The message layer of B worlds.

    Args:
        team_shape: Shape of the team.
        guards: Guards of attacks on messages, applied in this order within their phase; the adversary that owns them
            resets and saves them.
        defenses: Defenses; sorted into their fixed order.
        seed: Seed of the channels' generator.
        channels: Channels, in the order in which messages pass them.
        codec: Compresses payloads; None for uncompressed float32 numbers.
        step_seconds: Duration of a step, in seconds.
        numbers: Entries per payload that are sent; None for all.
        transport: Name of a transport, or a factory.
        secret: Seed of the keys, which attacks should not be able to compute; None for ``seed``.

    Attributes:
        stages: Stages, in the order in which messages pass them.
        defenses: Defenses, in their fixed order.
        prediction: Predicts what the defenses make of messages, for attacks that know them; None without such attacks.
        memories: Memory of each defense, shared by its hooks on messages and actions.
        payload_numbers: Numbers in a payload that carry information.
        ledger: Counts of messages and bytes.
        copies: [M] bool, slots of attacks that inject copies of earlier messages only.
        trace: Records of all exchanges since it was set to an empty list; None to record nothing.
        numbers: Where the numbers of the present step are noted, to be checked; None to note nothing.

    Raises:
        PluginError: If the transport is unknown.
        ValueError: If the transport cannot carry the output of the codec.
    """

    keeps = ("stages", "memories", "ledger", "transport", "keyring", "prediction")

    def __init__(
        self,
        team_shape: TeamShape,
        guards: Sequence[MessageGuard] = (),
        defenses: Sequence[Defense] = (),
        seed: int = 0,
        channels: Sequence[Channel] = (),
        codec: Codec | None = None,
        step_seconds: float = 0.1,
        numbers: int | None = None,
        transport: str | MakeTransport = "batch",
        secret: int | None = None,
    ) -> None:
        self.team_shape = team_shape
        self.ledger = Ledger(team_shape.num_worlds, team_shape.device)
        self.guards = guards
        slot = guards[-1].slots.stop if guards else team_shape.degree
        self.spare = slot - team_shape.degree
        self.copies = torch.zeros(slot, dtype=torch.bool, device=team_shape.device)
        for guard in guards:
            self.copies[guard.slots] = guard.copies_only
        self.defenses = sorted(defenses, key=lambda d: ORDERS.index(d.order))
        secret = seed if secret is None else secret
        self.memories = [_memory(defense, derive(secret, "defense", at)) for at, defense in enumerate(self.defenses)]
        keys = torch.Generator(team_shape.device)
        keys.manual_seed(derive(secret, "keys"))
        self.keyring = Keyring(team_shape.num_agents, team_shape.width, keys, team_shape.device, team_shape.num_worlds)
        self.codec = codec
        self.link: Link | None = None
        if channels or any({"delay", "reorder"} & guard.base.threat.powers for guard in guards):
            self.link = Link(channels, team_shape, slot, step_seconds, derive(seed, "channel"))
        make: MakeTransport = find(transport) if isinstance(transport, str) else transport
        self.transport = make(team_shape, self.keyring, secret)
        partial = numbers is not None and numbers != team_shape.width
        if (codec is not None or partial) and not self.transport.writes_codecs:
            raise ValueError(f"{type(self.transport).__name__} carries whole float32 payloads only: use no codec")
        self.payload_numbers = team_shape.width if numbers is None else numbers
        self.stages = self._stages(4 * self.payload_numbers)
        self.prediction: Prediction | None = None
        if self.defenses and any(guard.base.threat.knowledge == "defense" for guard in guards):
            sealed = any(defense.needs_seal for defense in self.defenses)
            self.prediction = Prediction(
                self.stages, self.keyring, sealed, derive(seed, "prediction"), team_shape.actions
            )
        self.trace: list[ExchangeRecord] | None = None
        self.numbers: Numbers | None = None

    def _stages(self, plain: int) -> list[Stage]:
        """The stages of this network, in the order in which messages pass them.

        Args:
            plain: Bytes of an uncompressed payload.
        """
        transport, codec, guards = self.transport, self.codec, self.guards
        sealed = any(d.needs_seal for d in self.defenses)
        proofs = [d.name for d in self.defenses if authenticates(d)]
        added = sum(d.message_bytes for d in self.defenses)
        senders = [guard for guard in guards if guard.at_sender]
        on_wire = [guard for guard in guards if not guard.at_sender]
        spreading = [guard for guard in guards if guard.base.threat.position.spreads]
        memory = Memory(dict if codec is None else codec.memory)
        used = [(d, m, defense_hooks(type(d))) for d, m in zip(self.defenses, self.memories, strict=True)]
        checks = [(d, m) for d, m, h in used if "reassemble" in h]
        check = CheckedReassembly(checks, self.team_shape) if checks else None
        screens = [(ORDERS.index(d.order) >= READING, Screen(d, m, transport)) for d, m, h in used if "screen" in h]
        covered = any("cover" in h for _, _, h in used)
        responding = [(d, m, Quarantine(d, self.team_shape)) for d, m, h in used if "respond" in h]
        return [
            *([] if codec is None else [Encode(codec, memory)]),
            *([AttackSenders(senders, self.keyring)] if senders else []),
            *(Cover(d, m) for d, m, h in used if "cover" in h),
            *([Seal(self.keyring)] if sealed else []),
            *([AttackWire(on_wire, self.keyring)] if on_wire else []),
            Send(transport, sealed, plain, PLAIN if codec is None else codec.name, added),
            *(Pad(d, m) for d, m, h in used if "pad" in h),
            *([] if self.link is None else [Carry(self.link, transport, self.ledger, check)]),
            Receive(transport),
            *([Discard()] if covered else []),
            *([CloseGates()] if self.spare or self.link is not None or covered else []),
            *(quarantine for _, _, quarantine in responding),
            *(screen for reads, screen in screens if not reads),
            *([Decode(codec, memory)] if codec is not None and codec.stateful else []),
            *(screen for reads, screen in screens if reads),
            *(Aggregate(d, m) for d, m, h in used if "aggregate" in h),
            *(ChooseSubsets(d, m) for d, m, h in used if "subsets" in h),
            *([Spread(spreading)] if spreading else []),
            Count(self.ledger, bool(guards), self.copies),
            *(Respond(*response, self.keyring, proofs) for response in responding),
        ]

    def given_up(self, step: Tensor) -> Tensor | None:
        """[B, N, N] bool, senders whose links receivers have given up in the steps [B]; None if they give up none."""
        stages = [stage for stage in self.stages if isinstance(stage, Quarantine) and stage.defense.reselects]
        closed = [stage.until[..., :-1] >= step.view(-1, 1, 1) for stage in stages]
        return torch.stack(closed).any(0) if closed else None

    def reset(self, worlds: Tensor) -> None:
        """Reset the given worlds ([W] indices) for new episodes; counters continue."""
        for stage in self.stages:
            stage.reset(worlds)
        for memory in self.memories:
            memory.reset(worlds)
        self.transport.reset(worlds)
        self.keyring.reset(worlds)

    def close(self) -> None:
        """End what the transport has started; the network cannot be used afterwards."""
        self.transport.close()

    @torch.no_grad()
    def exchange(
        self, spoken: Tensor, links: Links, step: Tensor, round_: int, predict_logits: PredictLogits | None = None
    ) -> Inbox:
        """Carry one round of messages.

        Args:
            spoken: [B, N, D] payloads of all agents.
            links: Links over which messages travel.
            step: [B] int64, steps since each world's episode began.
            round_: Round within the step, 0 .. rounds - 1, in this order.
            predict_logits: Action parameters [B, N, P] of the team given an inbox, for attacks that know the policy.

        Returns:
            The receivers' inboxes. Spare slots are omitted in exchanges without injections, so that an
            attack that does nothing leaves a run bit-identical.

        Raises:
            RequirementError: If a defense has not been calibrated.
            HookError: If a hook of a plug-in raises an error or breaks its contract.
        """
        for defense in self.defenses:
            require_calibrated(defense)
        x = Exchange.begin(spoken, links, step, round_, self.team_shape.rounds, self.spare, predict_logits)
        x.numbers = self.numbers
        x.predict_defended = None if self.prediction is None else self.prediction.logits
        for stage in self.stages:
            stage(x)
        if self.trace is not None:
            self.trace += records_of(x, self.copies)
        return x.deliver(self.team_shape.degree, dated=self.link is not None or self.spare > 0)


def _memory(defense: Defense, seed: int) -> Memory:
    """A defense's memory, with a generator of its own if it draws."""
    if not defense.draws:
        return Memory(defense.memory)
    return DrawingMemory(defense.memory, torch.Generator(defense.team_shape.device).manual_seed(seed))
