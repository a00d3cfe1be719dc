"""Evaluates every attack on trained teams: against its no-op control, at growing budgets, and under defenses.

python studies/run.py threats --seeds 3    first trains the teams (studies/threats/)
python studies/threats.py                  then evaluates; run it again to resume
python studies/threats_page.py             writes docs/threats.md from the recorded cells
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import torch
import typer
from rich.progress import track
from run import ROOT

from agentcomm import api
from agentcomm.base.errors import AgentcommError
from agentcomm.base.registry import build_config
from agentcomm.runs.choices import Choice
from agentcomm.runs.conditions import PLAIN_CONDITIONS, Conditions

BUDGETS = (1, 4, 16)  # messages or cards per episode, besides an unlimited budget
DEFENSES = ("authenticate", "clip")
CAPTURE, MARKET = "predator_capture_prey-learned", "task_market-full"
REACTOR, AGREEMENT, CUT = "reactor-learned", "agreement-full", "fragments-learned"
Judge = Literal["return", "harm", "success"]
RETURN: Judge = "return"
SUCCESS: Judge = "success"


class Form(NamedTuple):
    """A form of an attack to measure.

    Attributes:
        run: The teams.
        attack: Written as for ``agentcomm evaluate --attack``.
        judge: Its effect: return lost, harm done (reactor), or success by its own predicate, each against its no-op
            control.
        conditions: The conditions of its cells.
        budgets: Whether it is also measured at growing budgets.
        defenses: Each is used alone, besides none.
    """

    run: str
    attack: str
    judge: Judge = "return"
    conditions: Conditions = PLAIN_CONDITIONS
    budgets: bool = True
    defenses: tuple[str, ...] = DEFENSES

    @property
    def choice(self) -> Choice:
        """The attack."""
        return Choice.parse(self.attack)


OBEDIENT = Conditions(obedience=1.0)
FORMS = (
    Form(CAPTURE, "noise"),
    Form(CAPTURE, "noise:epsilon=0.5"),
    Form(CAPTURE, "tamper:how=bias"),
    Form(CAPTURE, "tamper:how=flip"),
    Form(CAPTURE, "tamper:how=permute"),
    Form(CAPTURE, "tamper:how=swap"),
    Form(CAPTURE, "tamper:how=zero"),
    Form(CAPTURE, "tamper:node=0"),
    Form(CAPTURE, "drop"),
    Form(CAPTURE, "delay"),
    Form(CAPTURE, "reorder"),
    Form(CAPTURE, "jam"),
    Form(CAPTURE, "flood"),
    Form(CAPTURE, "replay"),
    Form(CAPTURE, "hijack"),
    Form(CAPTURE, "impersonate"),
    Form(CAPTURE, "cut"),
    Form(CAPTURE, "partial"),
    Form(CAPTURE, "drift"),
    Form(CAPTURE, "insider"),
    Form(CAPTURE, "evade"),
    Form(CAPTURE, "abuse", "success"),
    Form(CAPTURE, "pollute"),
    Form(CAPTURE, "gradient:steps=1,epsilon=0.5"),
    Form(CAPTURE, "gradient:epsilon=0.5"),
    Form(CAPTURE, "gradient:norm=l2,epsilon=2"),
    Form(CAPTURE, "gradient:goal=worst,epsilon=0.5"),
    Form(CAPTURE, "gradient:weakest=1,epsilon=2"),
    Form(CAPTURE, "rewrite:epsilon=2"),
    Form(CAPTURE, "rewrite:epsilon=2,blind=true"),
    Form(CAPTURE, "directive:action=0", "success", OBEDIENT),
    Form(REACTOR, "directive:action=2", "harm", OBEDIENT),
    Form(REACTOR, "directive:action=2,node=0", "harm", OBEDIENT),
    Form(REACTOR, "gradient:goal=target,action=2,norm=l2,epsilon=2", "harm"),
    Form(REACTOR, "tamper:how=flip", "harm"),
    Form(AGREEMENT, "contradict"),
    Form(AGREEMENT, "contradict:share=1"),
    Form(AGREEMENT, "stall", budgets=False),
    Form(AGREEMENT, "churn"),
    Form(AGREEMENT, "churn:away=2"),
    Form(CUT, "fragment:how=early"),
    Form(CUT, "fragment:how=header"),
    Form(CUT, "fragment:how=fake"),
    Form(CUT, "fragment:how=middle"),
    *(
        Form(MARKET, attack, judge, defenses=())  # they act on no messages, so these defenses see nothing
        for attack, judge in (
            ("sybil", RETURN),
            ("rank", RETURN),
            ("rank:knowledge=none", RETURN),
            ("copied_card", RETURN),
            ("description:claim=1", RETURN),
            ("recursive", RETURN),
            ("rug_pull:turn=4", RETURN),
            ("scapegoat", SUCCESS),
            ("badmouth", RETURN),
            ("hub_poison", RETURN),
            ("blast", RETURN),
            ("half_open", RETURN),
        )
    ),
)
# Arguments that the write-ups in docs/threats/ vary.
AGES, COPIES, DISTANCES = (1, 2, 4, 8), (1, 2, 4, 6, 10), (0.05, 0.2, 0.5)
SWEEPS = (
    *(
        Form(CAPTURE, f"replay:age={age},suppress={suppress}", budgets=False, defenses=("authenticate",))
        for age in AGES
        for suppress in ("true", "false")
    ),
    *(Form(MARKET, f"sybil:count={count}", budgets=False, defenses=()) for count in COPIES),
    *(Form(MARKET, f"sybil:distance={distance}", budgets=False, defenses=()) for distance in DISTANCES),
)
RUNS = tuple(dict.fromkeys(form.run for form in FORMS))
SEEDS = 3


def held(form: Form) -> list[Choice]:
    """The attack at each budget."""
    given = form.choice.arguments.get("budget", {})
    return [form.choice.changed({"budget": given | {"per_episode": limit}}) for limit in BUDGETS]


def main(
    root: Annotated[Path, typer.Option(help="where folders of runs lie")] = ROOT,
    run: Annotated[list[str] | None, typer.Option(help="only this run; may be given several times")] = None,
) -> None:
    """Evaluate the cells that are missing."""
    torch.set_num_threads(1)
    for name in run or RUNS:
        folder = root / "threats" / name
        try:
            opened = api.open_run(folder)
        except AgentcommError as error:
            raise typer.BadParameter(f"{error}; train it: python studies/run.py threats --seeds {SEEDS}") from None
        forms = [form for form in (*FORMS, *SWEEPS) if form.run == name]
        for form in forms:
            build_config("attack", form.choice.name, form.choice.arguments)
        for form in track(forms, name):
            conditions = [form.conditions.model_copy(update={"transport": opened.config.transport})]
            api.evaluate(opened, [form.choice], list(form.defenses), conditions)
            if form.budgets:
                api.evaluate(opened, held(form), [], conditions)


if __name__ == "__main__":
    typer.run(main)
