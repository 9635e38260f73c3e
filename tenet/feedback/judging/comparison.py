"""Two sides on the same prompts, judged pair by pair: win rate of b over a, raw and at equal length.

Everything that costs time is kept in journals of the folder (`answers_a.jsonl`, `answers_b.jsonl`, `verdicts.jsonl`),
so a killed comparison goes on where it was; `rows.jsonl` and `summary.json` are written at the end, whole.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tenet.errors import ConfigError, StageError
from tenet.feedback.answering import Answer, unanswered
from tenet.feedback.journal import Journal
from tenet.feedback.judging.length_control import LengthControlled, length_controlled
from tenet.feedback.judging.pair_judges import Opinion, Pair, PairJudge
from tenet.feedback.tally import for_json, interval
from tenet.files import read_json, write_json, write_jsonl
from tenet.rows import Row, group_of
from tenet.stats import Estimate, mcnemar_exact, proportion

#: Pairs that are judged, and written to the journal, together.
CHUNK = 16
SETTINGS, ROWS, SUMMARY = "settings.json", "rows.jsonl", "summary.json"


@dataclass(frozen=True)
class Comparison:
    """Figures of one comparison.

    Args:
        prompts: of them; left_out: those without an answer on a side, by what was wrong.
        not_judged: pairs without a verdict, by reason; no part of any rate.
        identical: pairs of equal answers: ties that no judge was asked about.
        wins, losses, ties: of b, over the judged pairs; a tie is also what one order gave to a and the other to b.
        win_rate: of b over a, ties half; Wilson's interval, widened where prompts of one group go together.
        p: sign test of wins against losses, two-sided.
        at_equal_length: see `length_control`; None where it cannot be told.
        first: of a judge that is asked in both orders, share of its picks that fell on the answer that stood first; 0.5
            is no bias. consistent: pairs that it judged alike in both orders.
        cut_off, mean_length: by side; in characters.
    """

    prompts: int
    left_out: dict[str, int]
    not_judged: dict[str, int]
    identical: int
    wins: int
    losses: int
    ties: int
    win_rate: Estimate
    p: float
    at_equal_length: LengthControlled | None
    first: Estimate | None
    consistent: Estimate | None
    cut_off: dict[str, int]
    mean_length: dict[str, float]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {name: for_json(value) for name, value in asdict(self).items()}


def begin(out: Path, settings: dict[str, Any]) -> bool:
    """Take the folder for this comparison; True where it is finished already.

    Raises:
        ConfigError: it holds another comparison, or something else.
    """
    path = out / SETTINGS
    if path.is_file():
        kept = read_json(path)
        for key in settings:
            if kept.get(key) != settings[key]:
                raise ConfigError(
                    f"--out {out}: begun with {key} {kept.get(key)!r}, now it is {settings[key]!r}; give it as it was, "
                    "or another folder"
                )
        return (out / SUMMARY).is_file()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"--out {out}: is there already and holds no comparison; name another folder")
    write_json(path, settings)
    return False


def judged(
    pairs: Sequence[Pair], judge: PairJudge, journal: Journal, say: Callable[[str], None] = lambda text: None
) -> list[Opinion]:
    """An opinion on each pair; equal answers are a tie without being asked about, what the journal holds is not asked
    again.

    Raises:
        StageError: the endpoint failed (what was judged is kept), or the journal is of other prompts.
    """
    asked = [pair for pair in pairs if not same(pair)]
    if [row["id"] for row in journal.rows] != [pair.row["id"] for pair in asked[: len(journal)]]:
        raise StageError(f"{journal.path}: holds verdicts on other prompts than these; delete it, or name another --out")
    while len(journal) < len(asked):
        part = asked[len(journal) : len(journal) + CHUNK]
        opinions = judge.judge(part)
        journal.add([{"id": pair.row["id"], **asdict(opinion)} for pair, opinion in zip(part, opinions, strict=True)])
        say(f"judged: {len(journal)} of {len(asked)}")
    kept = iter(journal.rows)
    return [Opinion(0.5) if same(pair) else _opinion(next(kept)) for pair in pairs]


def same(pair: Pair) -> bool:
    """Do both sides say the same?"""
    return pair.a.whole.strip() == pair.b.whole.strip()


def _opinion(row: Row) -> Opinion:
    return Opinion(row["score"], tuple(row["places"]), row["why"], row["details"])


def figures(sides: Sequence[Sequence[Answer]], pairs: Sequence[Pair], opinions: Sequence[Opinion], seed: int = 0) -> Comparison:
    """All figures.

    Args:
        sides: every answer of a and of b; pairs: those with an answer on both sides. opinions: one a pair.
        seed: of the bootstrap.
    """
    decided = [(pair, one, one.score) for pair, one in zip(pairs, opinions, strict=True) if one.score is not None]
    scores = [score for _, _, score in decided]
    differences = [float(len(pair.b.whole) - len(pair.a.whole)) for pair, _, _ in decided]
    wins, losses = sum(score > 0.5 for score in scores), sum(score < 0.5 for score in scores)
    ordered = [one for one in opinions if one.places]
    picks = [float(place == "first") for one in ordered for place in one.places if place in ("first", "second")]
    whole = [float(one.score in (0.0, 1.0) or one.places == ("tie", "tie")) for one in ordered if one.score is not None]
    return Comparison(
        prompts=len(sides[0]),
        left_out=unanswered(sides),
        not_judged=dict(Counter(one.why for one in opinions if one.score is None)),
        identical=sum(map(same, pairs)),
        wins=wins,
        losses=losses,
        ties=len(scores) - wins - losses,
        win_rate=proportion(scores, [group_of(pair.row) for pair, _, _ in decided]),
        p=mcnemar_exact(losses, wins),
        at_equal_length=length_controlled(scores, differences, seed),
        first=proportion(picks) if ordered else None,
        consistent=proportion(whole) if ordered else None,
        cut_off={side: sum(answer.finish == "length" for answer in said) for side, said in zip("ab", sides, strict=True)},
        mean_length={
            "a": _mean([len(pair.a.whole) for pair in pairs]),
            "b": _mean([len(pair.b.whole) for pair in pairs]),
        },
    )


def rows_of(pairs: Sequence[Pair], opinions: Sequence[Opinion]) -> list[Row]:
    """One row a pair: what was asked, said and judged. `places`: what the judge picked with a first, then with b
    first."""
    return [
        {
            "stage": "compare-answers",
            "task": "pair",
            "id": pair.row["id"],
            "prompt": pair.row["prompt"],
            "a": pair.a.as_row(),
            "b": pair.b.as_row(),
            "winner": None if one.score is None else "b" if one.score > 0.5 else "a" if one.score < 0.5 else "tie",
            "score": one.score,
            "places": list(one.places),
            "why": one.why or ("both answers are the same" if same(pair) else ""),
            **(one.details or {}),
        }
        for pair, one in zip(pairs, opinions, strict=True)
    ]


def finish(out: Path, found: Comparison, rows: list[Row], settings: dict[str, Any]) -> None:
    """Write rows, then the summary: a folder with a summary is finished."""
    write_jsonl(out / ROWS, rows)
    write_json(out / SUMMARY, {**found.as_dict(), "settings": settings})


def as_text(found: Comparison, names: dict[str, str]) -> str:
    """The figures for a terminal."""
    controlled, judged_pairs = found.at_equal_length, found.wins + found.losses + found.ties
    length = "cannot be told: all length differences are the same"
    if controlled is not None:
        pull = f"phi {controlled.phi:+.2f}: pull of a longer answer"
        length = f"{controlled.value:.1%} [{controlled.low:.1%}, {controlled.high:.1%}] ({pull})"
    lines = [
        *(f"{name}: {value}" for name, value in names.items()),
        f"prompts            {found.prompts}; without an answer: {_reasons(found.left_out)}",
        f"judged             {judged_pairs}: b won {found.wins}, a won {found.losses}, ties {found.ties} "
        f"(of them identical {found.identical})",
        f"could not judge    {_reasons(found.not_judged)}",
        f"win rate, b over a {interval(found.win_rate)}, ties half; sign test p = {found.p:.3g}",
        f"at equal length    {length}",
        f"length, characters a {found.mean_length['a']:.0f}, b {found.mean_length['b']:.0f}; "
        f"cut off: a {found.cut_off['a']}, b {found.cut_off['b']}",
    ]
    if found.first is not None and found.consistent is not None:
        lines.append(
            f"position           first answer picked in {interval(found.first)} (no bias: 50 %); "
            f"same verdict in both orders {interval(found.consistent)}"
        )
    return "\n".join(lines)


def _reasons(counts: dict[str, int]) -> str:
    return "; ".join(f"{count} {reason}" for reason, count in counts.items() if count) or "none"


def _mean(values: Sequence[int]) -> float:
    return sum(values) / len(values) if values else float("nan")
