"""What a file of judgements says: who won, how sure that is, how far people agree, and whether they prefer a side of
the screen."""

from __future__ import annotations

import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tenet.feedback.agreement import Agreement, agreement
from tenet.feedback.ledger import VERDICTS, Judgement
from tenet.stats import Estimate, mcnemar_exact, proportion

#: What a verdict is worth for b. Both bad is no victory of either, so it counts as a tie does; skips are no verdicts.
WORTH = {"a": 0.0, "b": 1.0, "tie": 0.5, "bad": 0.5}


@dataclass(frozen=True)
class Person:
    """One annotator's share. `seconds`: median of a verdict; `first`: share of the decided pairs in which the answer
    that stood first was preferred."""

    verdicts: dict[str, int]
    win_rate: Estimate
    first: Estimate
    seconds: float


@dataclass(frozen=True)
class Tally:
    """Figures of one file.

    Args:
        items, judged: pairs, and those with a verdict that is no skip.
        verdicts: standing ones by kind; undone: taken back.
        win_rate: of b over a, ties and both bad half; Wilson's interval, widened where verdicts on one item go
            together.
        p: sign test of the items whose verdicts, taken together, are for one side; two-sided.
        first: preference for the answer that stood first; 0.5 is none.
        seconds: median of a verdict. hours: of all verdicts together.
    """

    items: int
    judged: int
    verdicts: dict[str, int]
    undone: int
    win_rate: Estimate
    p: float
    first: Estimate
    seconds: float
    hours: float
    agreement: Agreement
    people: dict[str, Person]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {name: for_json(value) for name, value in asdict(self).items()}


def standing(judgements: Sequence[Judgement]) -> list[Judgement]:
    """Verdicts: not undone, and no skips."""
    return [one for one in judgements if not one.undone and one.verdict != "skip"]


def by_item(judgements: Sequence[Judgement]) -> dict[int, list[Judgement]]:
    """Verdicts of each item that has some."""
    found: dict[int, list[Judgement]] = defaultdict(list)
    for one in standing(judgements):
        found[one.item].append(one)
    return dict(found)


def tally(judgements: Sequence[Judgement], items: int, seed: int = 0) -> Tally:
    """All figures.

    Args:
        items: pairs in the file.
        seed: of the bootstrap of the agreement.
    """
    kept, everything = standing(judgements), [one for one in judgements if not one.undone]
    groups = by_item(judgements)
    net = [sum(WORTH[one.verdict] - 0.5 for one in group) for group in groups.values()]
    names = sorted({one.annotator for one in everything})
    return Tally(
        items=items,
        judged=len(groups),
        verdicts=_verdicts(everything),
        undone=sum(one.undone for one in judgements),
        win_rate=win_rate(kept),
        p=mcnemar_exact(sum(one < 0 for one in net), sum(one > 0 for one in net)),
        first=first_share(kept),
        seconds=_median(kept),
        hours=sum(one.seconds for one in kept) / 3600,
        agreement=agreement([[one.verdict for one in group] for group in groups.values()], seed),
        people={name: _person([one for one in everything if one.annotator == name]) for name in names},
    )


def win_rate(verdicts: Sequence[Judgement]) -> Estimate:
    """Of b over a."""
    return proportion([WORTH[one.verdict] for one in verdicts], [one.item for one in verdicts])


def first_share(verdicts: Sequence[Judgement]) -> Estimate:
    """How often the answer that stood first was preferred, of the verdicts that prefer one."""
    return proportion([float(one.first) for one in verdicts if one.first is not None])


def _person(given: Sequence[Judgement]) -> Person:
    kept = standing(given)
    return Person(_verdicts(given), win_rate(kept), first_share(kept), _median(kept))


def _verdicts(given: Sequence[Judgement]) -> dict[str, int]:
    counts = Counter(one.verdict for one in given)
    return {verdict: counts[verdict] for verdict in VERDICTS}


def _median(verdicts: Sequence[Judgement]) -> float:
    return statistics.median(one.seconds for one in verdicts) if verdicts else float("nan")


def as_text(found: Tally, names: Mapping[str, str]) -> str:
    """The figures for a terminal.

    Args:
        names: of sides a and b.
    """
    counts, agreed = found.verdicts, found.agreement
    lines = [
        f"a: {names['a']}",
        f"b: {names['b']}",
        f"judged       {found.judged} of {found.items} pairs by {len(found.people)} people; {found.undone} verdicts undone",
        f"verdicts     a better {counts['a']}, b better {counts['b']}, tie {counts['tie']}, both bad {counts['bad']}, "
        f"skipped {counts['skip']}",
        f"win rate     of b over a {interval(found.win_rate)}, ties and both bad half; sign test p = {found.p:.3g}",
        f"position     first answer preferred in {interval(found.first)} of the decided ones (no bias: 50 %)",
        f"time         median {found.seconds:.1f} s a verdict, {found.hours:.2f} h in all",
        f"agreement    {_agreed(agreed)}",
    ]
    for name, person in found.people.items():
        total = sum(person.verdicts[verdict] for verdict in WORTH)
        lines.append(
            f"  {name:<12} {total} verdicts, b over a {interval(person.win_rate)}, first preferred {interval(person.first)}, "
            f"median {person.seconds:.1f} s, skipped {person.verdicts['skip']}"
        )
    return "\n".join(lines)


def interval(estimate: Estimate) -> str:
    """A share with its 95 % interval, or that there is none."""
    if not estimate.n:
        return "unknown (none yet)"
    return f"{estimate.value:.1%} [{estimate.low:.1%}, {estimate.high:.1%}]"


def _agreed(found: Agreement) -> str:
    if not found.items:
        return "unknown: no pair was judged by two people (--overlap)"
    on = f"on {found.items} pairs that two or more judged; {found.same:.1%} of their verdicts are equal"
    if found.alpha != found.alpha:
        return f"Krippendorff's alpha is undefined {on}: all verdicts are the same"
    return f"Krippendorff's alpha {found.alpha:.3f} [{found.low:.3f}, {found.high:.3f}] {on}"


def for_json(value: Any) -> Any:
    """Numbers that JSON has no word for (an unknown share, an undefined alpha) as null."""
    if isinstance(value, dict):
        return {key: for_json(one) for key, one in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
