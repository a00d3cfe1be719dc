"""What an attacker on the path met and did, per attack, and what passed there at all: the summary at a proxy's end."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from agentcomm.base.text import clip
from agentcomm.protocols.event import Event
from agentcomm.protocols.tampering import Effect, Rule

MAX_METHOD = 80  # characters of a method's name that are recorded; the other side chooses it
MAX_METHODS = 32  # names that are told apart; further ones are counted together
OTHERS = "others"


class Tally:
    """Counts of events, per method and per attack."""

    def __init__(self) -> None:
        self._seen: defaultdict[str, Counter[str]] = defaultdict(Counter)  # by method: events of each kind
        self._met: Counter[int] = Counter()  # by the attack's place in the list
        self._changed: Counter[int] = Counter()
        self._unmet: defaultdict[int, Counter[str]] = defaultdict(Counter)  # by attack: conditions that events missed

    def count(self, event: Event, rules: Sequence[Rule], effects: Sequence[Effect]) -> None:
        """Count an event, and what each attack did to it."""
        method = clip(event.method, MAX_METHOD) or "no method"
        known = method in self._seen or len(self._seen) < MAX_METHODS
        self._seen[method if known else OTHERS][event.kind] += 1
        for place, (rule, effect) in enumerate(zip(rules, effects, strict=True)):
            self._met[place] += effect.met
            self._changed[place] += effect.changed
            if not effect.met:
                self._unmet[place].update(rule.unmet(event))

    def lines(self, rules: Sequence[Rule]) -> list[str]:
        """A line on what passed, and one per attack on what it met and did."""
        if not self._seen:
            return ["Nothing arrived: does your client use the proxy's URL instead of the server's?"]
        methods = [f"{method} ({_counts(kinds)})" for method, kinds in self._seen.items()]
        return [f"Methods seen: {', '.join(methods)}", *(self._line(place, rule) for place, rule in enumerate(rules))]

    def _line(self, place: int, rule: Rule) -> str:
        met, changed = self._met[place], self._changed[place]
        if not met:
            return f"  {rule.label}: met nothing, as {self._why(place, rule)}"
        did = f"  {rule.label}: met {met} event{'s' * (met != 1)}, {rule.did} {changed or 'none'}"
        return f"{did}, as {rule.idle}" if rule.idle and not changed and rule.probability == 1 else did

    def _why(self, place: int, rule: Rule) -> str:
        """The conditions that no event met; with the methods seen, one of which may have been meant."""
        total = sum(kinds.total() for kinds in self._seen.values())
        missed = [name for name, number in self._unmet[place].items() if number == total]
        if not missed:
            return "no event that reached it met all of its conditions at once"
        given = " or ".join(f"{name}={getattr(rule, name)}" for name in missed)
        seen = f"; the methods were {', '.join(self._seen)}" if "method" in missed else ""
        return f"no event had {given}{seen}"


def _counts(kinds: Counter[str]) -> str:
    return ", ".join(f"{number} {kind}" for kind, number in kinds.items())
