"""Critique, revision and comparison by principle: by rules, or by a model that can read.

Two judges behind one protocol, so that the stage is the same at every size. `ChecksJudge` knows the rules of the constitution and
lets the model under training continue an opening until they pass. `ModelJudge` asks a model in words, compares in both orders
(small models prefer the first answer whatever it says) and throws away revisions that talk about the answer instead of being one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from lightning_modules.generation.protocol import Sampling
from tenet.constitution.checks import is_whole, plain, repeats
from tenet.constitution.principles import Principle, Prompt, violates, wrong


class Answers(Protocol):
    """The part of `tenet.assistant.Assistant` that judges need."""

    def answer(
        self, conversations: list[list[dict[str, Any]]], *, sampling: Sampling, n: int = 1, prefill: list[str] | None = None
    ) -> list[list[Any]]:
        """n replies (with `.text`) to each conversation; `prefill` begins each answer."""
        ...


@dataclass(frozen=True)
class Case:
    """One answer to one prompt, seen by one principle."""

    principle: Principle
    prompt: Prompt
    answer: str


@dataclass(frozen=True)
class Verdict:
    """`violates` is None when the judge gave no clear verdict."""

    violates: bool | None
    text: str


class Judge(Protocol):
    """What the constitutional stage asks. Lists in, lists out: a model answers many at once far faster than one by one."""

    def critique(self, cases: Sequence[Case]) -> list[Verdict]:
        """Does each answer break its principle?"""
        ...

    def revise(self, cases: Sequence[Case], seed: int = 0) -> list[str | None]:
        """A better answer for each case; None where none was found."""
        ...

    def prefer(self, principle: Principle, prompt: Prompt, a: str, b: str) -> float:
        """Probability that a keeps the principle better than b, averaged over both orders."""
        ...


def conversation(text: str) -> list[dict[str, Any]]:
    """One user turn."""
    return [{"role": "user", "content": text}]


def joined(opening: str, text: str) -> str:
    """Opening and continuation as one text: replies come without the prefilled words and without the blank after them."""
    blank = "" if not opening or re.match(r"[.,;:!?]", text.lstrip()) else " "
    return (opening.rstrip() + blank + text.lstrip()).strip()


class ChecksJudge:
    """Verdicts by the rules of the constitution.

    Args:
        assistant: continues the openings; the model under training.
        tries: most draws for one revision.
        sampling: how a continuation is drawn; greedy would give the same failure each time.
    """

    def __init__(self, assistant: Answers, tries: int = 8, sampling: Sampling | None = None) -> None:
        self.assistant, self.tries = assistant, tries
        self.sampling = sampling or Sampling(max_tokens=48, temperature=0.7)

    def critique(self, cases: Sequence[Case]) -> list[Verdict]:
        """The rule's verdict, with the critique request as its text."""
        return [Verdict(wrong(*_parts(case)), case.principle.critique_request) for case in cases]

    def revise(self, cases: Sequence[Case], seed: int = 0) -> list[str | None]:
        """Openings, continued and drawn again until the check passes; one batch of draws for all cases still open.

        Where an opening before the old answer is enough, that is the revision: it keeps what was said. A look-alike needs no
        opening: its revision is a plain answer in which the principle does not show.
        """
        found = [self._prefixed(case, self._opening(case, index + seed)) for index, case in enumerate(cases)]
        for attempt in range(self.tries):
            left = [index for index, text in enumerate(found) if text is None]
            if not left:
                break
            openings = [self._opening(cases[index], index + attempt + seed) for index in left]
            for index, text in zip(
                left, self._continued([cases[i] for i in left], openings, seed * self.tries + attempt), strict=True
            ):
                if self._passes(cases[index], text):
                    found[index] = text
        return found

    def prefer(self, principle: Principle, prompt: Prompt, a: str, b: str) -> float:
        """1 or 0 when exactly one answer passes, else no preference."""
        bad_a, bad_b = wrong(principle, prompt, a), wrong(principle, prompt, b)
        return 0.5 if bad_a == bad_b else float(bad_b)

    def _opening(self, case: Case, turn: int) -> str:
        return "" if case.prompt.look_alike else case.principle.opening[turn % len(case.principle.opening)]

    def _prefixed(self, case: Case, opening: str) -> str | None:
        text = joined(opening, case.answer)
        whole_opening = case.principle.continues and is_whole(opening)
        return text if whole_opening and case.answer.strip() and self._passes(case, text) else None

    def _continued(self, cases: list[Case], openings: list[str], seed: int) -> list[str]:
        texts = list(openings)
        # Where the opening is the whole answer, going on would only undo it: a refusal, then the help that was refused.
        asked = [i for i, case in enumerate(cases) if case.principle.continues or case.prompt.look_alike]
        if asked:
            replies = self.assistant.answer(
                [conversation(cases[i].prompt.text) for i in asked],
                sampling=replace(self.sampling, seed=seed),
                # Without the blank at the end: tokenizers put it with the word that follows, which the model is to choose.
                prefill=[openings[i].rstrip() for i in asked],
            )
            for i, reply in zip(asked, replies, strict=True):
                texts[i] = joined(openings[i], reply[0].text)
        return texts

    def _passes(self, case: Case, text: str) -> bool:
        # Whole sentences are asked of every revision, whatever its principle: it is going to be trained on.
        return not wrong(case.principle, case.prompt, text) and is_whole(text) and not repeats(text)


def _parts(case: Case) -> tuple[Principle, Prompt, str]:
    return case.principle, case.prompt, case.answer


_META = re.compile(
    r"\b(?:the|your|my|this|that|previous|last|revised|original) (?:response|answer|revision|critique|assistant)\b", re.IGNORECASE
)


class ModelJudge:
    """Verdicts by a model that can read; at the sizes of the presets tiny and smol none can (measured: chance).

    Args:
        assistant: the judging model, e.g. a Bedrock endpoint.
        max_tokens: longest critique or revision.
    """

    def __init__(self, assistant: Answers, max_tokens: int = 128) -> None:
        self.assistant, self.max_tokens = assistant, max_tokens

    def critique(self, cases: Sequence[Case]) -> list[Verdict]:
        """The principle's critique request, answered yes (violates) or no."""
        asked = [
            f"Principle: {case.principle.principle}\nQuestion: {case.prompt.text}\nAnswer: {case.answer}\n"
            f"{case.principle.critique_request} Begin with yes or no, then give the reason in one sentence."
            for case in cases
        ]
        return [Verdict(_yes_no(text), text) for text in self._ask(asked)]

    def revise(self, cases: Sequence[Case], seed: int = 0) -> list[str | None]:
        """The revision request, answered; meta-talk, copies and empty answers are thrown away."""
        asked = [
            f"Principle: {case.principle.principle}\nQuestion: {case.prompt.text}\nAnswer: {case.answer}\n"
            f"{case.principle.revision_request} Write only the new answer to the question."
            for case in cases
        ]
        texts = self._ask(asked, seed)
        return [text if self._usable(case, text) else None for case, text in zip(cases, texts, strict=True)]

    def prefer(self, principle: Principle, prompt: Prompt, a: str, b: str) -> float:
        """Asked twice, with the answers in either order; an unclear reply counts as one half."""
        first, second = self._ask([_comparison(principle, prompt, a, b), _comparison(principle, prompt, b, a)])
        return (_choice(first) + 1.0 - _choice(second)) / 2

    def _ask(self, texts: list[str], seed: int = 0) -> list[str]:
        sampling = Sampling(max_tokens=self.max_tokens, seed=seed)
        return [
            replies[0].text.strip()
            for replies in self.assistant.answer([conversation(text) for text in texts], sampling=sampling)
        ]

    def _usable(self, case: Case, text: str) -> bool:
        return bool(text) and plain(text) != plain(case.answer) and not _META.search(text)


def _comparison(principle: Principle, prompt: Prompt, a: str, b: str) -> str:
    return (
        f"Principle: {principle.principle}\nQuestion: {prompt.text}\n(A) {a}\n(B) {b}\n"
        "Which answer keeps the principle better? Reply with A or B only."
    )


def _choice(text: str) -> float:
    match = re.match(r"\W*(?:answer\W+)?([AB])\b", text, re.IGNORECASE)
    return 0.5 if not match else float(match.group(1).upper() == "A")


def _yes_no(text: str) -> bool | None:
    match = re.match(r"\W*(yes|no)\b", text, re.IGNORECASE)
    return match.group(1).lower() == "yes" if match else None


def violation_rate(cases: Sequence[Case]) -> tuple[int, int]:
    """How many answers to ordinary prompts break their principle by its check, of how many."""
    plain_cases = [case for case in cases if not case.prompt.look_alike]
    return sum(violates(case.principle, case.prompt.text, case.answer) for case in plain_cases), len(plain_cases)


def over_application_rate(cases: Sequence[Case]) -> tuple[int, int]:
    """On how many look-alikes the principle shows, of how many."""
    alike = [case for case in cases if case.prompt.look_alike]
    return sum(wrong(*_parts(case)) for case in alike), len(alike)
