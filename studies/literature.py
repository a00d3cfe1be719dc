"""Writes docs/literature.md: published claims, tested with the cells of these studies.

python studies/literature.py           evaluates the missing cells and writes the page
python studies/literature.py --page    only writes the page
"""

from __future__ import annotations

from typing import NamedTuple

from book import LEDGER, PREDICATE, REWARD, Book, Claim, Judged
from cells import Series, across
from figures import dot_plot, save
from plan import CUTS, SAMPLED, label
from study import command, page, table

MARGIN = 0.25  # steps
SECRETS = 64  # of which `covert` tells one
VERDICTS = {"above": "reproduced", "below": "not reproduced: the opposite", "neither": "not reproduced"}


class Published(NamedTuple):
    """A published claim and its test here.

    Attributes:
        name: In a word.
        says: What the paper says.
        source: The paper.
        differs: In what our setting differs.
        claim: Its test here; above zero means that the claim holds. None if it cannot be compared, and then ``differs``
            says why.
    """

    name: str
    says: str
    source: str
    differs: str
    claim: Claim | None


def claimed(name: str, difference: Series, unit: str, holds: str, oracle: str = REWARD, **more: float) -> Claim:
    """A claim whose words are the same for all outcomes, besides the verdict."""
    margin, start = more.get("margin"), f"{holds[0].upper()}{holds[1:]}"
    return Claim(
        difference,
        f"**{name}: reproduced.** {start}: {{d}} {unit}.",
        f"**{name}: not reproduced.** The opposite is the case. Expected: {holds}. Measured: {{d}} {unit}.",
        f"**{name}: not reproduced.** Not shown here: {holds}. Measured: {{d}} {unit}.",
        oracle,
        margin,
    )


def steps(book: Book, run: str) -> Series:
    """Steps of a team that nobody attacks."""
    return book.cells.series(run, "metrics.mean_steps")


def damage(book: Book, run: str, attack: str, defense: str = "none") -> Series:
    """Damage of an attack."""
    return book.cells.series(run, "effect.damage", attack, defense)


def graph_claims(book: Book) -> list[Published]:
    """On graphs and gates."""
    sparse, random, full = (steps(book, run) for run in ("capture", "capture_random", "capture_full"))
    sent, gated = (book.cells.series(run, "metrics.messages_per_step") for run in ("capture", "capture_gated"))
    return [
        Published(
            "Parity of the sparse graph",
            "a learned graph with 40% of the links does as well as the full graph",
            "CommFormer, ICLR 2024 (arXiv 2405.08550)",
            "SMAC there; Predator-Capture-Prey here",
            claimed(
                "Parity of the sparse graph",
                sparse - full,
                "steps",
                f"learned and full graphs differ by at most {MARGIN} steps",
                margin=MARGIN,
            ),
        ),
        Published(
            "Worth of learning the graph",
            "a learned graph does better than a random one with as many links",
            "CommFormer, ICLR 2024",
            "three agents here, so that there are eight graphs in all",
            claimed(
                "Worth of learning the graph",
                random - sparse,
                "steps",
                "teams with random graphs need more steps than teams with learned ones",
            ),
        ),
        Published(
            "Saving by a temporal gate",
            "a gate that decides when to listen saves communication",
            "CommFormer, journal version (arXiv 2411.00382)",
            "no code was published; the gate is ours",
            claimed(
                "Saving by a temporal gate",
                sent - gated,
                "messages per step",
                "gated teams send fewer messages",
                LEDGER,
            ),
        ),
    ]


def attack_claims(book: Book) -> list[Published]:
    """On attacks and defenses."""
    gradient = damage(book, "capture", "gradient:epsilon=0.5")
    control = book.cells.series("capture", "effect.control_damage", "gradient:epsilon=0.5")
    weakest = damage(book, "capture", "gradient:epsilon=2,weakest=1")
    anyone = damage(book, "capture", "gradient:epsilon=2,probability=0.33")
    alone, crowd = (damage(book, run, "tamper:node=0") for run in ("agreement_1", "agreement"))
    median = damage(book, "agreement", "tamper:node=0", "median")
    clean = book.cells.series("agreement", "metrics.mean_return")
    held = book.cells.series("agreement", "metrics.mean_return", None, "median")
    return [
        Published(
            "Gradients against noise",
            "small white-box changes of messages ruin a team that hardly notices random ones (AP 82 to 8)",
            "Tu et al., ICCV 2021 (arXiv 2101.06560)",
            "perception there; the control spends the same norm in a random direction",
            claimed(
                "Gradients against noise",
                gradient - control,
                "steps",
                "a gradient attack does more damage than a random change of equal norm",
            ),
        ),
        Published(
            "Dilution",
            "more benign agents dilute the attack of one",
            "Tu et al., ICCV 2021",
            "Agreement with five members; one listens to one or to four others",
            claimed(
                "Dilution",
                alone - crowd,
                "of return",
                "one lying member does less damage where each listens to four others than to one",
            ),
        ),
        Published(
            "Robust aggregation",
            "a median over messages helps without knowledge of the threat",
            "Tu et al., ICCV 2021",
            "a median over inboxes of four messages",
            claimed(
                "Robust aggregation",
                crowd - median,
                "of return",
                "a median lowers the damage of one lying member",
            ),
        ),
        Published(
            "Price of consensus",
            "voting over messages destroys information that only one agent has (AME scores 0.00 on Hallway)",
            "Yuan et al., MA3C, 2024 (arXiv 2305.05116), on AME",
            "a median instead of AME's vote; every member has a signal of its own",
            claimed("Price of consensus", clean - held, "of return", "a median costs return without an attack"),
        ),
        Published(
            "Where to strike",
            "the messages with the largest gradients are better targets than random ones (29 of 30 settings)",
            "Standen, Kim and Szabo, AAMAS 2026 (arXiv 2605.13170)",
            "equal norms; one message per exchange, or each of three with probability 0.33",
            claimed(
                "Where to strike",
                weakest - anyone,
                "steps",
                "choosing the message with the largest gradient does more damage than choosing at random",
            ),
        ),
    ]


def other_claims(book: Book) -> list[Published]:
    """On covert channels, on fragments, and claims that cannot be compared."""
    rate = book.cells.series("capture", "effect.rate", "covert:node=2", conditions=SAMPLED)
    told = (rate - 1 / SECRETS) * 100.0
    cut = across("known", [damage(book, "capture_fragments", attack, "authenticate") for attack in CUTS])
    return [
        Published(
            "A message in actions",
            "actions can carry a secret that no test on their statistics finds",
            "Sokota et al., minimum entropy coupling (arXiv 2410.21666)",
            "a trained team with nearly deterministic actions, so that little fits in",
            claimed(
                "A message in actions",
                told,
                "percentage points",
                f"an observer of actions tells one of {SECRETS} secrets more often than by chance",
                PREDICATE,
            ),
        ),
        Published(
            "Fragment attacks",
            "receivers that authenticate whole messages are open to attacks on single fragments",
            "Predictive-CSM (arXiv 2506.01767), the problem that it states",
            "delivery there, steps of a task here; its chained hash is not built",
            claimed(
                "Fragment attacks",
                cut,
                "steps",
                "fragment attacks do damage although messages are authenticated",
            ),
        ),
        Published(
            "Traffic on few links",
            "30% of channels carry 70% of the traffic, and a trained attacker takes a team from 81 to 28",
            "DMAC, IJCAI 2025 (arXiv 2504.21278)",
            "not comparable: graphs here give every receiver equally many links, and no attacker was trained",
            None,
        ),
        Published(
            "Retrained attackers",
            "an attacker that is retrained against a filter takes back 20 to 30% of the return",
            "R-MACRL, AAMAS 2022 (arXiv 2108.03803)",
            "not comparable: neither filter nor attacker is trained in these cells",
            None,
        ),
        Published(
            "Certificates",
            "with subsets of messages, fewer than half liars cannot change a vote",
            "AME, ICLR 2023",
            "not comparable: no certified defense is built, and uncertified results must not be averaged with it",
            None,
        ),
    ]


def verdict(one: Published, judged: dict[str, Judged]) -> str:
    """Reproduced, not reproduced, or not comparable."""
    return "not comparable" if one.claim is None else VERDICTS[judged[one.name].outcome]


def made(book: Book) -> str:
    """The page."""
    published = [*graph_claims(book), *attack_claims(book), *other_claims(book)]
    judged = book.judge({one.name: one.claim for one in published if one.claim is not None})
    rows = [[one.name, one.says, one.source, one.differs, f"**{verdict(one, judged)}**"] for one in published]
    found = [verdict(one, judged) for one in published]
    reproduced, not_comparable = found.count("reproduced"), found.count("not comparable")
    failed = [one.name.lower() for one in published if verdict(one, judged).startswith("not reproduced")]
    shown = {one.name: one.claim.difference for one in published if one.claim is not None}
    answer = (
        f"Of {len(published)} published claims, {reproduced} are reproduced, {len(failed)} are not"
        f" ({', '.join(failed) or 'none'}) and {not_comparable} cannot be compared."
        " *Not reproduced* means in these tasks, with these teams, at this budget of training; it does not mean"
        " refuted."
    )
    parts = [
        save(
            dot_plot(shown, "measured difference; above zero the claim holds"), book, "claims", "Measured differences"
        ),
        "Each claim's difference, team by team, in its own unit (see below); for parity, close to zero.\n",
        table(("claim", "what the paper says", "source", "what differs here", "verdict"), rows),
        f"Attacks on fragments: {', '.join(f'`{label(a)}`' for a in CUTS)}.\n",
    ]
    question = "Which published claims about learned communication hold here?"
    return page(book, "Published claims, tested again", question, answer, parts, judged)


if __name__ == "__main__":
    command("literature", made)
