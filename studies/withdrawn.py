"""Statements of earlier pages that no longer stand, and why."""

from __future__ import annotations

NO_RECORD = "three to five teams, and no record of the code that made the cells; not measured again"

WITHDRAWN: tuple[tuple[str, str], ...] = (
    (
        "Learned minus random graph: -0.24 (-0.45 to -0.04) steps",
        "not significant with five teams (exact sign-flip p = 0.0625); measured again with ten in literature.md",
    ),
    (
        "27 of 30 risks have an attack whose effect is above zero with its whole interval",
        "the largest of many lower bounds was picked and reported on the same three teams; directives and infection"
        " counted as shown although victims were scripted to obey; controls spent nothing",
    ),
    (
        "`directive` does 81.93 (81.93 to 81.93) harm",
        "members were scripted to obey every directive, so that all teams did the same; here it is a curve over"
        " obedience, and no risk counts as shown by it",
    ),
    (
        "`pollute` loses 0.40 (0.30 to 0.51) of return",
        "exposed members were scripted to become infected; here it is a curve over that chance",
    ),
    (
        "`drop`, `delay` and other changes against \u201ca control that touches as many messages\u201d",
        "their control was the clean run, which spends nothing; controls now spend what the attack spends",
    ),
    (
        "Success of `drop` 0.98, of `delay` 0.92, and so on",
        "\u201cthe team earned less\u201d has a base rate near one in five by decision noise alone; success is"
        " now worse minus"
        " better than the control",
    ),
    (
        "`blast`, `half_open` lose 0.39 and 0.35 of return",
        "their controls sent nothing; now they send as many requests that the hub can serve",
    ),
    (
        "`rug_pull` loses 0.05 (0.02 to 0.08) of return",
        "its control gave the team a free perfect worker to the end, so the difference was the gift",
    ),
    ("`recursive` loses 0.03 (0.01 to 0.05) of return", "its own predicate never held"),
    ("`abuse` has success 0", "its cells were inconclusive, which is not zero"),
    (
        "Damage as a share of what messages are worth: `drop` 130%, `directive` 181%",
        "the floor is a team that was retrained without messages, so that the share passes 100%; the retained fraction"
        " is now given with Fieller's interval, and may be negative",
    ),
    (
        "\u201cDefenses that halve some attack's damage\u201d: `authenticate` for eight risks",
        "hid that `authenticate` made 12 of 31 attacks worse; defenses.md now counts and names both",
    ),
    (
        "Damage never falls measurably as the budget grows",
        "with three teams next to nothing could have been found; budgets.md tests each step with ten",
    ),
    (
        "Without messages, teams need 16.5 steps, MAPPO and IPPO 20.0",
        "decoded unequally: the one sampled, the others greedy",
    ),
    (
        "Intervals of the older pages",
        "bootstrap over three or five teams covers 49 to 83% instead of 95%; 37 of 197 intervals reached"
        " impossible values",
    ),
    (
        "CommFormer page: edges that matter, gates as actions or straight through, peers, teams of other sizes",
        "three to five teams, and no record of the code that made the cells; measured again in graphs.md, gates.md,"
        " methods.md and sizes.md",
    ),
    ("Paths page: codecs, bottlenecks, lossy networks", NO_RECORD),
    (
        "Covert page: capacities under temperatures, sessions and random policies",
        f"{NO_RECORD}; the channel of trained teams and the warden are measured again in privacy.md",
    ),
    (
        "Eavesdropping page: sizes and times alone reveal who sees the prey",
        f"{NO_RECORD}; what payloads reveal is measured again in privacy.md",
    ),
    ("Replay and Sybil pages: ages of copies, numbers of look-alikes", f"{NO_RECORD}, except the default forms below"),
    (
        "Learned attackers: a trained rewriter takes the team from 6 to 15 steps",
        f"one attacker per team and three teams; {NO_RECORD}",
    ),
    ("Edge hijack: ransom makes all victims listen to the node", NO_RECORD),
    (
        "Gate forcing: the false view, not the gate, does most of the damage",
        f"the forms that separate view from gate are not measured again ({NO_RECORD}); the others are in gates.md",
    ),
    ("Backdoor: a trigger in messages makes members take the target action", NO_RECORD),
)
