"""What a constitution cannot be refused for and its author should know: principles that say the same or the contrary of
each other, that nothing exercises, that no rule can judge, or whose rule contradicts their own words.

Words are compared by their beginnings, so that "answers" and "answering" are one: a hint for a person, not a judgement.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from tenet.constitution.principles import Constitution, Principle

#: Share of words in common from which two sentences are taken to say the same.
ALIKE = 0.6
#: Held-out wordings below which an effect of a principle is not told from chance (the interval of 10 rows is +-30 points).
FEW = 10
#: Letters of a word that are compared.
_STEM = 5
#: Words that carry no meaning of their own; without "not" and "never", which carry most of it.
_EMPTY = frozenset(
    re.findall(
        r"\w+",
        "a an the and or of to in on at by for with from as is are be been it its that this these those you your they their one "
        "when where what which who how if than then so such any all each every other also do does",
    )
)
_NOT = frozenset({"not", "never", "no", "refuse", "don", "cannot", "without", "avoid"})


@dataclass(frozen=True)
class Finding:
    """One remark.

    Args:
        level: problem (a result would mislead) or hint.
        principle: id, two of them joined by a slash.
        text: what was found, and what to do.
    """

    level: Literal["problem", "hint"]
    principle: str
    text: str

    def __str__(self) -> str:
        return f"{self.level}: {self.principle}: {self.text}"


def lint(constitution: Constitution) -> list[Finding]:
    """All remarks on a constitution that was read with its prompts, problems first."""
    found = [*_pairs(constitution.principles), *_repeated(constitution.principles)]
    for principle in constitution.principles:
        found += [*_opposite(principle), *_exercised(principle), *_judged(principle)]
    return sorted(found, key=lambda finding: finding.level != "problem")


def words(sentence: str) -> set[str]:
    """What two sentences are compared by."""
    found = {word[:_STEM] for word in re.findall(r"\w+", sentence.lower()) if word not in _EMPTY}
    return found - {word[:_STEM] for word in _NOT}


def alike(first: str, second: str) -> float:
    """Share of their words that two sentences have in common (Jaccard)."""
    one, two = words(first), words(second)
    return len(one & two) / len(one | two) if one | two else 0.0


def _denies(sentence: str) -> bool:
    return bool(_NOT & set(re.findall(r"\w+", sentence.lower())))


def _pairs(principles: Sequence[Principle]) -> Iterator[Finding]:
    for one, two in itertools.combinations(principles, 2):
        both = f"{one.id}/{two.id}"
        against = max(alike(one.principle, two.opposite or ""), alike(two.principle, one.opposite or ""))
        same = alike(one.principle, two.principle)
        if (against >= ALIKE and against > same) or (same >= ALIKE and _denies(one.principle) != _denies(two.principle)):
            first = one if one.priority <= two.priority else two
            yield Finding(
                "problem",
                both,
                f"they seem to ask for contraries; {first.id} wins by its priority. Say in each when it holds, or drop one",
            )
        elif same >= ALIKE:
            yield Finding(
                "problem", both, f"they share {same:.0%} of their words; join them, or their effects cannot be told apart"
            )


def _repeated(principles: Sequence[Principle]) -> Iterator[Finding]:
    """Wordings of the held-out half that training sees, of whichever principle."""
    trained = {text: principle.id for principle in principles for text in (principle.prompts.train if principle.prompts else ())}
    for principle in principles:
        texts = dict.fromkeys(principle.prompts.test) if principle.prompts and principle.prompts.fill is None else {}
        if both := [text for text in texts if text in trained]:
            yield Finding(
                "problem",
                principle.id,
                f"{len(both)} of its test prompts are train prompts, too ({both[0]!r}, of {trained[both[0]]}); write others",
            )


def _opposite(principle: Principle) -> Iterator[Finding]:
    if not principle.opposite:
        yield Finding(
            "hint",
            principle.id,
            "has no `opposite`; without it nothing shows that the principle, and not training as such, has the effect",
        )
    elif re.findall(r"\w+", principle.principle.lower()) == re.findall(r"\w+", principle.opposite.lower()):
        yield Finding("problem", principle.id, "its opposite says the same; write the contrary")


def _exercised(principle: Principle) -> Iterator[Finding]:
    test = principle.prompts.test if principle.prompts else ()
    if principle.prompts is None or not principle.prompts.train:
        yield Finding("problem", principle.id, "no prompt exercises it in training; write some under `prompts`")
    if len(test) < FEW and not (principle.prompts and (principle.prompts.fill or _has_slots(principle, test))):
        yield Finding(
            "hint", principle.id, f"{len(test)} held-out prompts: its effect cannot be told from chance; write {FEW} or more"
        )
    if principle.look_alike is None:
        yield Finding("hint", principle.id, "has no `look_alike`; where it is applied without need will not be seen")


def _has_slots(principle: Principle, texts: Sequence[str]) -> bool:
    """Few wordings are many prompts where words are filled in."""
    return any(f"{{{slot}}}" in text for slot in principle.slots for text in texts)


def _judged(principle: Principle) -> Iterator[Finding]:
    if principle.check is None:
        yield Finding(
            "hint", principle.id, "has no `check`; only a judge that reads (`constitutional.judge`) can tell whether it is kept"
        )
        return
    prompts = principle.prompts.train if principle.prompts else ()
    # A rule that depends on the prompt is asked with all of them; wordings whose slots rows fill cannot be asked here.
    filled = bool(principle.prompts and principle.prompts.fill) and "when_prompt" in principle.check.source
    if not filled and all(principle.check.passes(prompt, "") for prompt in prompts or ("",)):
        yield Finding(
            "problem", principle.id, f"an empty answer passes its check ({principle.check.source}): silence would be rewarded"
        )
    for opening in principle.opening:
        if (
            opening
            and not principle.continues
            and not any(principle.check.passes(prompt, opening) for prompt in prompts or ("",))
        ):
            yield Finding("problem", principle.id, f"its own opening {opening!r} breaks its check ({principle.check.source})")
