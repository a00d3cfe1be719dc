"""Schemas of the files of a run besides its config: rows of cells and of progress, and recorded episodes.

They check the types of everything that evaluation, report and tables read. Keys that are not listed are kept and not
read; keys with a default may be missing. Rows of an older format have no number, and are read as far as they fit.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, model_validator

Format = Literal[2] | None
Count = Annotated[int, Field(ge=0, lt=2**53)]
Text = Annotated[str, Field(max_length=10_000)]
Number = Annotated[float, Field(gt=-1e15, lt=1e15)]
Numbers = Annotated[list[Number | None], Field(max_length=100_000)]


class AttackRecord(BaseModel):
    """The attack of a cell."""

    class Threat(BaseModel):
        """Its threat model."""

        position: str | dict[str, Any] = ""
        powers: list[Text] = []
        knowledge: Text = ""
        budget: dict[str, Any] | None = None

    label: Text
    name: Text = ""
    arguments: dict[str, Any] = {}
    version: Text = ""
    threat: Threat | None = None
    assumes: dict[str, Any] = {}


class Counterpart(BaseModel):
    """The same episodes without the attack, under its matched control, or with the messages it touches dropped."""

    metrics: dict[str, Number | None] = {}
    ledger: dict[str, Count] = {}
    spent: dict[str, Number | None] = {}


class Effect(BaseModel):
    """The effect of an attack, in units of the world's score; positive values are worse for the team."""

    damage: Number | None = None
    control_damage: Number | None = None
    silence: Number | None = None
    lie: Number | None = None
    worse: Number | None = None
    better: Number | None = None
    predicate: Text = ""
    rate: Number | None = None
    control_rate: Number | None = None
    clean_rate: Number | None = None
    success: Number | None = None


class Detection(BaseModel):
    """How well the scores of a defense tell attacked messages from others."""

    auroc: Number | None = None
    auprc: Number | None = None
    tpr: Number | None = None
    fpr: Number | None = None
    tpr_at_1_fpr: Number | None = None
    delay: Number | None = None
    false_isolations: Number | None = None
    attacked: Count = 0
    others: Count = 0
    curve: Annotated[list[Annotated[list[Number], Field(min_length=2, max_length=2)]], Field(max_length=50)] = []


class CellRow(BaseModel):
    """A line of ``cells.jsonl``."""

    format: Format = None
    id: Text = ""
    variant: Literal["team", "control"]
    seed: Count
    attack: AttackRecord | None = None
    defense_label: Text = "none"
    adaptive: bool = False
    conditions: dict[str, Any] | None = None
    conditions_label: Text | None = None
    environment: dict[str, Any] | None = None
    episodes: Count | None = None
    episode_seed: Count | None = None
    decisions: Text | None = None
    status: Literal["ok", "failed", "inconclusive"] | None = None
    error: Text | None = None
    score: dict[str, Text] | None = None
    references: dict[str, dict[str, Any]] | None = None
    metrics: dict[str, Number | None] = {}
    ledger: dict[str, Count] = {}
    counterparts: dict[Literal["clean", "control", "silence"], Counterpart] = {}
    spent: dict[str, Number | None] = {}
    effect: Effect | None = None
    outcome: Literal["success", "resisted", "inconclusive", "unscored"] | None = None
    detection: dict[str, Detection] = {}
    edges: list[list[Number]] = []
    provenance: dict[str, Text | int | bool | None] | None = None
    violations: dict[str, Any] = {}
    gate_by_step: Numbers = []
    agents: list[Text] = []
    graph: list[list[Literal[0, 1]]] = []
    versions: dict[str, Text | None] = {}
    seconds: Number | None = None
    identity: dict[str, Text] | None = None
    replaces: Text | None = None
    reason: Text | None = None
    stale: Text | None = None
    time: Text | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if any(len(row) != len(self.graph) for row in self.graph):
            raise ValueError("graph must have as many columns as rows")
        if self.graph and self.agents and len(self.agents) != len(self.graph):
            raise ValueError("graph must have a row per agent")
        return self


class ProgressRow(BaseModel):
    """A line of ``progress.jsonl``."""

    format: Format = None
    iteration: Count
    env_steps: Count
    seconds: Number


class Recordings(BaseModel):
    """The file ``episodes.json``."""

    class Episode(BaseModel):
        """One recorded episode."""

        class Frame(BaseModel):
            """One step."""

            class Message(BaseModel):
                """One message."""

                sender: Count
                receiver: Count
                fate: Text
                accepted: bool = False
                refused_by: Text | None = None
                age: int = 0

            agents: list[Any] | None = None
            prey: list[Any] | None = None
            actions: list[Text | None] | None = None
            gates: list[bool | float | None] | None = None
            messages: list[Message] = []
            observations: list[Numbers] = []
            altered: list[bool] = []
            facts: dict[Text, Numbers] = {}

        label: Text
        scene: Count = 0
        attack: Text | None = None
        defense: Text = "none"
        seed: Count = 0
        success: bool | None = False
        steps: list[Frame]

    format: Format = None
    agents: list[Text] = []
    kinds: list[Text] = []
    size: Count | None = None
    vision: list[int | None] | int | None = None
    episodes: list[Episode]
