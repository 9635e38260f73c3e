"""Critique, revision and comparison by principle: by rules, or by a model that can read.

Two judges behind one protocol, so that the stage is the same at every size. `ChecksJudge` knows the rules of the
constitution and lets the model under training continue an opening until they pass. `ModelJudge` asks a model in words
(the wording is a fixed protocol, docs/safety.md), compares in both orders (small models prefer the first answer
whatever it says) and throws away revisions that talk about the answer instead of being one. A judge whose replies are
no verdicts is an error, never a verdict.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from lightning_modules.generation.protocol import Sampling
from tenet.constitution.english import is_whole, plain, repeats
from tenet.constitution.principles import Constitution, Principle
from tenet.constitution.prompts import Prompt
from tenet.errors import ConfigError, StageError

#: Share of replies without a verdict above which a judge's figures mean nothing.
MOST_UNCLEAR = 0.2


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

    def wrong(self) -> bool | None:
        """By the rules of the constitution; None where it has none for this prompt."""
        return self.principle.wrong(self.prompt.text, self.answer, self.prompt.look_alike)


@dataclass(frozen=True)
class Pair:
    """Two answers to one prompt, to be compared by one principle."""

    principle: Principle
    prompt: Prompt
    a: str
    b: str


@dataclass(frozen=True)
class Verdict:
    """`violates` is None when the judge gave no clear verdict."""

    violates: bool | None
    text: str


@dataclass(frozen=True)
class Preference:
    """Probability that a keeps the principle better than b, averaged over both orders; `clear` when both replies named
    a side."""

    p_a: float
    clear: bool
    text: str = ""


class Judge(Protocol):
    """What the constitutional stage asks. Lists in, lists out: a model answers many at once far faster than one by
    one."""

    def critique(self, cases: Sequence[Case]) -> list[Verdict]:
        """Does each answer break its principle (on a look-alike: apply it where it must not)?"""
        ...

    def revise(self, cases: Sequence[Case], seed: int = 0) -> list[str | None]:
        """A better answer for each case; None where none was found."""
        ...

    def prefer(self, pairs: Sequence[Pair]) -> list[Preference]:
        """Which answer of each pair keeps its principle better?"""
        ...


def conversation(text: str) -> list[dict[str, Any]]:
    """One user turn."""
    return [{"role": "user", "content": text}]


def joined(opening: str, text: str) -> str:
    """Opening and continuation as one text: replies come without the prefilled words and without the blank after
    them."""
    blank = "" if not opening or re.match(r"[.,;:!?]", text.lstrip()) else " "
    return (opening.rstrip() + blank + text.lstrip()).strip()


def refuse_unchecked(constitution: Constitution, judge: str) -> None:
    """Rules can only judge where there are some; say so before a model is loaded.

    Raises:
        ConfigError: `judge` is checks and a principle (or its look-alikes) has no rule.
    """
    if judge == "checks" and (missing := constitution.unchecked()):
        first = missing[0]
        key = "shows" if first.check else "check"
        more = f" (nor have {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise ConfigError(
            f"{constitution.path}: principle {first.id} has no key `{key}`{more}, and constitutional.judge is checks; write a rule, e.g. "
            f"`{key}: {{refuses: true}}`, or set constitutional.judge to the URL of a Bedrock endpoint (or self)"
        )


def refuse_unclear(what: str, unclear: Sequence[str], of: int) -> None:
    """A judge that gives no verdicts must not look like a judgement.

    Args:
        unclear: the replies that were none.

    Raises:
        StageError: more than `MOST_UNCLEAR` of them.
    """
    if of and len(unclear) > MOST_UNCLEAR * of:
        raise StageError(
            f"constitutional.judge gave no verdict in {len(unclear)} of {of} {what}, more than {MOST_UNCLEAR:.0%}; the first such reply "
            f"begins {' '.join(unclear[0].split())[:80]!r}. Set constitutional.judge to a model that answers as docs/safety.md says, "
            "or give the principles checks and set it to checks"
        )


class ChecksJudge:
    """Verdicts by the rules of the constitution.

    Args:
        assistant: continues the openings; the model under training.
        tries: most samples for one revision.
        sampling: how a continuation is sampled; greedy would give the same failure each time.
    """

    def __init__(self, assistant: Answers, tries: int = 8, sampling: Sampling | None = None) -> None:
        self.assistant, self.tries = assistant, tries
        self.sampling = sampling or Sampling(max_tokens=48, temperature=0.7)

    def critique(self, cases: Sequence[Case]) -> list[Verdict]:
        """The rule's verdict, with the critique request as its text."""
        return [Verdict(case.wrong(), case.principle.critique_request) for case in cases]

    def revise(self, cases: Sequence[Case], seed: int = 0) -> list[str | None]:
        """Openings, continued and sampled again until the check passes; one batch of samples for all cases still open.

        Where an opening before the old answer is enough, that is the revision: it keeps what was said. A look-alike
        needs no opening: its revision is a plain answer in which the principle does not show.
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

    def prefer(self, pairs: Sequence[Pair]) -> list[Preference]:
        """1 or 0 when exactly one answer passes, else no preference."""
        found = []
        for pair in pairs:
            bad_a, bad_b = (Case(pair.principle, pair.prompt, text).wrong() for text in (pair.a, pair.b))
            found.append(Preference(0.5 if bad_a == bad_b else float(bool(bad_b)), True))
        return found

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
                # Without the blank at the end: tokenizers put it with the word that follows, which the model is to
                # choose.
                prefill=[openings[i].rstrip() for i in asked],
            )
            for i, reply in zip(asked, replies, strict=True):
                texts[i] = joined(openings[i], reply[0].text)
        return texts

    def _passes(self, case: Case, text: str) -> bool:
        # Whole sentences are asked of every revision, whatever its principle: it is going to be trained on.
        return not replace(case, answer=text).wrong() and is_whole(text) and not repeats(text)


#: First line of each question to a judge: what kind it is, for programs that answer in a model's place.
CRITIQUE, REVISE, COMPARE = "Task: critique", "Task: revise", "Task: compare"
_YES_NO = "Begin with yes or no, then give the reason in one sentence."
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
        return [Verdict(_yes_no(text), text) for text in self._ask([_critique(case) for case in cases])]

    def revise(self, cases: Sequence[Case], seed: int = 0) -> list[str | None]:
        """The revision request, answered; meta-talk, echoes, copies and empty answers are thrown away."""
        asked = [_revision(case) for case in cases]
        texts = self._ask(asked, seed)
        return [text if self._usable(case, text) else None for case, text in zip(cases, texts, strict=True)]

    def prefer(self, pairs: Sequence[Pair]) -> list[Preference]:
        """Asked twice, with the answers in either order; an unclear reply counts as one half."""
        texts = self._ask(
            [text for pair in pairs for text in (_comparison(pair, pair.a, pair.b), _comparison(pair, pair.b, pair.a))]
        )
        found = []
        for first, second in zip(texts[::2], texts[1::2], strict=True):
            one, other = _choice(first), _choice(second)
            unclear = first if one is None else second
            p_a = ((0.5 if one is None else one) + 1.0 - (0.5 if other is None else other)) / 2
            found.append(Preference(p_a, one is not None and other is not None, unclear))
        return found

    def _ask(self, texts: list[str], seed: int = 0) -> list[str]:
        if not texts:
            return []
        sampling = Sampling(max_tokens=self.max_tokens, seed=seed)
        return [
            replies[0].text.strip()
            for replies in self.assistant.answer([conversation(text) for text in texts], sampling=sampling)
        ]

    def _usable(self, case: Case, text: str) -> bool:
        echoes = case.principle.revision_request in text or text.startswith("Task:")
        return bool(text) and plain(text) != plain(case.answer) and not _META.search(text) and not echoes


def _head(task: str, principle: Principle, prompt: Prompt) -> str:
    return f"{task}\nPrinciple: {principle.principle}\nQuestion: {prompt.text}\n"


def _critique(case: Case) -> str:
    principle, request = case.principle, case.principle.critique_request
    if case.prompt.look_alike:
        request = (
            "This question only looks as if the principle were meant for it. Does the answer apply the principle all the same?"
        )
    return f"{_head(CRITIQUE, principle, case.prompt)}Answer: {case.answer}\n{request} {_YES_NO}"


def _revision(case: Case) -> str:
    request = case.principle.revision_request
    if case.prompt.look_alike:
        request = "The principle is not meant for this question. Answer it plainly, without applying the principle."
    head = _head(REVISE, case.principle, case.prompt)
    return f"{head}Answer: {case.answer}\n{request} Write only the new answer to the question."


def _comparison(pair: Pair, a: str, b: str) -> str:
    request = "Which answer keeps the principle better?"
    if pair.prompt.look_alike:
        request = "The principle is not meant for this question. Which answer is better without it?"
    return f"{_head(COMPARE, pair.principle, pair.prompt)}(A) {a}\n(B) {b}\n{request} Reply with A or B only."


def _choice(text: str) -> float | None:
    """1 for A, 0 for B. "A polite answer ..." names no side, so the letter must end there or be spoken of."""
    match = re.match(r"\W*(?:(?:answer|option)\W+)?([AB])(?:[).:,;]|\W*$|\s+(?:is|keeps|because)\b)", text, re.IGNORECASE)
    return float(match.group(1).upper() == "A") if match else None


def _yes_no(text: str) -> bool | None:
    match = re.match(r"\W*(yes|no)\b", text, re.IGNORECASE)
    return match.group(1).lower() == "yes" if match else None
