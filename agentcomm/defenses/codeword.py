"""codeword: refuse payloads that are no codewords, where senders speak through codec ``vq``.

An honest payload consists of codewords, bit for bit, so anything else is an alarm: noise, a nudge along a gradient, a
payload of an attacker's own making. It costs no bits and needs no keys.

Its limits: an attacker that knows the codebook replaces one codeword by another, or replays a message, and passes. The
codebook bounds what can be said, not by whom. Give it the codec's own arguments, and place defenses that rescale
payloads (``clip``) after it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from agentcomm.codecs.codebook import CodebookConfig, get_codebook
from agentcomm.contracts.defense import Defense, DefenseConfig
from agentcomm.contracts.deployment import Deployment
from agentcomm.contracts.shape import TeamShape
from agentcomm.contracts.verdicts import Delivered, Verdicts


class CodewordConfig(CodebookConfig, DefenseConfig):
    """Arguments of ``codeword``: those of the codec."""


class Codeword(Defense[CodewordConfig]):
    """Compares every part of a payload with all codewords of its group."""

    order = "content"
    answers = ("aa.l3.cross_agent_input_detection",)
    adaptive = ("substitute:exact=true",)
    fails_open = False
    reads_originals = True
    lossless = False  # where senders do not speak through the codec

    def __init__(self, config: CodewordConfig, team_shape: TeamShape) -> None:
        super().__init__(config, team_shape)
        self._codebook = get_codebook(config, team_shape.width).to(team_shape.device)

    def unmet(self, deployment: Deployment) -> str | None:
        """It needs senders that speak through codec ``vq`` with the same codebook."""
        codec = deployment.codec
        here = "messages are not compressed" if codec is None else f"the codec is {codec.name!r}"
        if codec is not None and isinstance(codec.config, CodebookConfig):
            spoken = get_codebook(codec.config, self.team_shape.width).to(self._codebook.device)
            if torch.equal(spoken, self._codebook):
                return super().unmet(deployment)
            mine, its = ({n: getattr(c, n) for n in CodebookConfig.model_fields} for c in (self.config, codec.config))
            other = ", ".join(f"{name}={mine[name]}, not {its[name]}" for name in mine if mine[name] != its[name])
            here = f"its codebook is another one than the codec's ({other})"
        needs = "it needs codec 'vq' with the arguments of the defense, and would refuse every message otherwise"
        return super().unmet(deployment) or f"{needs}: {here}"

    def screen(self, delivered: Delivered, memory: dict[str, Tensor]) -> Verdicts:
        """Refuse payloads with a part that equals no codeword; the score is the largest distance to the nearest one.

        Distances are maxima over coordinates (l-inf), which are 0 for equal parts only: nothing is squared away.
        """
        groups, codewords, width = self._codebook.shape
        parts = delivered.payload.reshape(*delivered.present.shape, groups, width)
        distance = torch.zeros(*parts.shape[:-1], codewords, device=parts.device)
        for i in range(width):
            distance = torch.maximum(distance, (parts[..., i, None] - self._codebook[..., i]).abs())
        # What is not a number is at the largest distance.
        score = distance.nan_to_num(torch.finfo(distance.dtype).max).amin(-1).amax(-1)
        return Verdicts(refuse=delivered.present & (score != 0), score=score)
