"""Judges of the constitution, against scripted models that follow a rule the code under test does not know."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lightning_modules.generation.protocol import Sampling
from tenet.constitution.judges import Case, ChecksJudge, ModelJudge, Pair
from tenet.constitution.principles import Principle, load_constitution
from tenet.constitution.prompts import Prompt

FILE = Path(__file__).parents[3] / "tenet" / "domains" / "aws_api" / "constitution.yaml"
BASE = load_constitution(FILE)["harm-to-others"]
RHYMES = replace(BASE, principle="Prefer the answer with more vowels.", opposite="Prefer the answer with fewer vowels.")
QUESTION = Prompt("What does ListTables do?", False, "q", "dynamodb")


@dataclass
class Reply:
    text: str


class Oracle:
    """Counts vowels as the principle in the question asks, and shouts the letter in a way of its own."""

    def answer(self, conversations: list[list[dict[str, Any]]], *, sampling: Sampling, n: int = 1, prefill: Any = None) -> Any:
        return [[Reply(self.say(messages[-1]["content"]))] for messages in conversations]

    def say(self, text: str) -> str:
        a, b = re.search(r"\(A\) (.*)\n\(B\) (.*)\n", text).groups()  # type: ignore[union-attr]
        more_in_a = len(re.findall("[aeiou]", a)) > len(re.findall("[aeiou]", b))
        return "A." if more_in_a == ("more vowels" in text) else "(B) is better"


def answers(count: int) -> list[tuple[str, str]]:
    rng = random.Random(3)
    words = ["table", "bucket", "queue", "idea", "rhythm", "crypt", "area", "myth"]
    pairs = [(" ".join(rng.choices(words, k=4)), " ".join(rng.choices(words, k=4))) for _ in range(2 * count)]
    vowels = [tuple(len(re.findall("[aeiou]", text)) for text in pair) for pair in pairs]
    return [pair for pair, (a, b) in zip(pairs, vowels, strict=True) if a != b][:count]


def labels(judge: ModelJudge, principle: Principle, pairs: list[tuple[str, str]]) -> list[bool]:
    return [one.p_a > 0.5 for one in judge.prefer([Pair(principle, QUESTION, a, b) for a, b in pairs])]


def prefer(judge: ModelJudge | ChecksJudge, principle: Principle, prompt: Prompt, a: str, b: str) -> float:
    (one,) = judge.prefer([Pair(principle, prompt, a, b)])
    return one.p_a


def test_labels_follow_the_oracles_rule_and_flip_with_the_opposite() -> None:
    judge, pairs = ModelJudge(Oracle()), answers(100)
    truth = [len(re.findall("[aeiou]", a)) > len(re.findall("[aeiou]", b)) for a, b in pairs]
    found = labels(judge, RHYMES, pairs)
    assert len(pairs) == 100 and 20 < sum(truth) < 80
    assert sum(a == b for a, b in zip(found, truth, strict=True)) >= 95
    assert labels(judge, RHYMES.opposed(), pairs) == [not label for label in found]


def test_swapping_the_order_gives_the_same_label() -> None:
    judge, pairs = ModelJudge(Oracle()), answers(50)
    for a, b in pairs:
        assert prefer(judge, RHYMES, QUESTION, a, b) == 1.0 - prefer(judge, RHYMES, QUESTION, b, a)


def test_a_judge_that_always_says_a_has_no_preference() -> None:
    class First(Oracle):
        def say(self, text: str) -> str:
            return "A"

    assert {prefer(ModelJudge(First()), RHYMES, QUESTION, a, b) for a, b in answers(20)} == {0.5}


def test_model_critique_and_revision_throw_away_what_is_unclear_or_talks_about_itself() -> None:
    class Scripted(Oracle):
        def say(self, text: str) -> str:
            if "yes or no" in text:
                return {"1": "Yes, it does.", "2": "No.", "3": "Well."}[text[text.index("Answer: ") + 8]]
            return {"1": "Your last response is better.", "2": "It lists tables.", "3": "3 tables"}[
                text[text.index("Answer: ") + 8]
            ]

    judge = ModelJudge(Scripted())
    cases = [Case(BASE, QUESTION, text) for text in ("1 table", "2 tables", "3 tables")]
    assert [verdict.violates for verdict in judge.critique(cases)] == [True, False, None]
    assert judge.revise(cases) == [None, "It lists tables.", None]


class Continues(Oracle):
    """Goes on in another way for each seed; only the third one ends its sentence."""

    def __init__(self) -> None:
        self.seeds: list[int] = []

    def answer(self, conversations: list[list[dict[str, Any]]], *, sampling: Sampling, n: int = 1, prefill: Any = None) -> Any:
        self.seeds.append(sampling.seed)
        return [[Reply("deletes the table" + ("." if len(self.seeds) == 3 else " and the"))] for _ in conversations]


def test_revisions_are_drawn_again_until_the_check_passes() -> None:
    warn = load_constitution(FILE)["warn-before-deletion"]
    prompt = Prompt("What does DeleteTable do?", False, "d", "dynamodb")
    model = Continues()
    (revised,) = ChecksJudge(model, tries=5).revise([Case(warn, prompt, "It deletes the")])
    assert revised is not None and revised.endswith("deletes the table.") and warn.wrong(prompt.text, revised) is False
    assert len(model.seeds) == 3 == len(set(model.seeds))
    assert ChecksJudge(Continues(), tries=2).revise([Case(warn, prompt, "It deletes the")]) == [None]
    assert ChecksJudge(model).revise([Case(warn, prompt, "It deletes the table.")]) == [warn.opening[0] + "It deletes the table."]
    assert len(model.seeds) == 3  # the old answer behind a warning needs no further draw


def test_whole_openings_need_no_model_and_look_alikes_get_no_opening() -> None:
    model = Continues()
    harm = Prompt("How do I steal the data of a stranger?", False, "h", "")
    own = replace(harm, text="How do I copy my own data?", look_alike=True)
    revised = ChecksJudge(model, tries=3).revise([Case(BASE, harm, "Sure."), Case(BASE, own, "I can't help with that.")])
    assert revised[0] in BASE.opening
    assert revised[1] == "deletes the table."


def test_checks_judge_prefers_what_passes_and_says_what_is_wrong() -> None:
    judge = ChecksJudge(Continues())
    harm, own = Prompt("Steal it from them.", False, "h", ""), Prompt("Copy my own data.", True, "o", "")
    refused, helped = BASE.opening[0], "Call GetObject."
    assert [prefer(judge, BASE, harm, refused, helped), prefer(judge, BASE, harm, helped, refused)] == [1.0, 0.0]
    assert [prefer(judge, BASE, own, refused, helped), prefer(judge, BASE, harm, refused, refused)] == [0.0, 0.5]
    cases = [Case(BASE, harm, refused), Case(BASE, harm, helped), Case(BASE, own, refused), Case(BASE, own, helped)]
    assert [verdict.violates for verdict in judge.critique(cases)] == [False, True, True, False]
