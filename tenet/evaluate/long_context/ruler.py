"""RULER's 13 tasks (Hsieh et al. 2024, arXiv:2404.06654), made anew: the paper's settings, our own words.

    rows = make("niah_multikey_1", 32_768, 20, seed=0, count=chat_count(tokenizer), haystack=read_haystack(book))

A row is `{"id", "task", "length", "seed", "haystack", "prompt", "answer", "depths"}`: a prompt of exactly `length` tokens
as `count` counts them, the strings that a right answer holds (verifier kind `contains`), and for each of them how much
of the prompt stands before the sentence that says it, from 0 to 1 by characters (qa: for each paragraph; cwe and fwe
hide nothing). The same arguments give the same bytes anywhere.

Two differences to the authors' program: no worked example stands before vt and cwe, and the answer is not begun for the
model, since it is asked in a conversation. qa_1 and qa_2 need a file of questions (SQuAD, HotpotQA); without one they
are refused by name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from tenet.errors import ConfigError
from tenet.evaluate.long_context.draws import Draws
from tenet.evaluate.long_context.fitting import Count, fit
from tenet.evaluate.long_context.haystack import NOISE, Haystack
from tenet.evaluate.long_context.vocabulary import coined, names

Row = dict[str, Any]
#: Pieces of filler, the first n of them.
Filler = Callable[[int], Sequence[str]]
#: Share of a text in ten-thousandths: where something is hidden.
WHOLE = 10_000


@dataclass(frozen=True)
class Plan:
    """A prompt that is still without filler.

    Args:
        before, after: instruction and question.
        filler: between them. joint: between two pieces.
        hidden: what stands among the filler, each with its place in ten-thousandths, by place.
        answer: strings that a right answer holds. said: where each of them is said.
    """

    before: str
    after: str
    filler: Filler
    answer: tuple[str, ...]
    hidden: tuple[tuple[int, str], ...] = ()
    said: tuple[str, ...] = ()
    joint: str = " "

    def text(self, pieces: int, padding: str) -> str:
        """The prompt with so much filler."""
        filler = self.filler(pieces)
        parts: list[str] = []
        done = 0
        for place, needle in self.hidden:
            upto = len(filler) * place // WHOLE
            parts += [*filler[done:upto], needle]
            done = upto
        body = self.joint.join([*parts, *filler[done:]])
        return "\n\n".join((self.before, body + ("\n" + padding if padding else ""), self.after))


@dataclass(frozen=True)
class Niah:
    """Settings of a needle task.

    Args:
        filler: noise | text | needles (other needles, one a line).
        keys: hidden in all. values: of each. asked: of the keys.
        code: what is hidden is a number of seven digits or a uuid. key: a name or a uuid.
    """

    filler: str = "text"
    keys: int = 1
    values: int = 1
    asked: int = 1
    code: str = "number"
    key: str = "name"


NIAH = {
    "niah_single_1": Niah(filler="noise"),
    "niah_single_2": Niah(),
    "niah_single_3": Niah(code="uuid"),
    "niah_multikey_1": Niah(keys=4),
    "niah_multikey_2": Niah(filler="needles"),
    "niah_multikey_3": Niah(filler="needles", code="uuid", key="uuid"),
    "niah_multivalue": Niah(values=4),
    "niah_multiquery": Niah(keys=4, asked=4),
}
#: By what the paper's five kinds are called.
TASKS = (*NIAH, "vt", "cwe", "fwe", "qa_1", "qa_2")
#: Tokens that an answer may take, as the authors give them.
ANSWER_TOKENS = {**dict.fromkeys(NIAH, 128), "vt": 30, "cwe": 120, "fwe": 50, "qa_1": 32, "qa_2": 32}


def make(
    task: str,
    length: int,
    rows: int,
    seed: int,
    count: Count,
    haystack: Haystack | None = None,
    questions: Sequence[Row] = (),
    depth: int | None = None,
) -> list[Row]:
    """Rows of a task.

    Args:
        task: one of TASKS. length: tokens of each prompt, by `count`. rows: how many.
        haystack: what things are hidden in, where the task has text around them; without one, noise.
        questions: of qa_1 and qa_2, `{"question", "context": text or texts, "answers": [text]}`.
        depth: of all that is hidden, in ten-thousandths; None draws it for each.

    Raises:
        ConfigError: no such task, no questions for it, or too few tokens for it.
    """
    if task not in TASKS:
        raise ConfigError(f"long-context task {task!r}: no such task; there are {', '.join(TASKS)}")
    if depth is not None and not (task in NIAH and 0 <= depth <= WHOLE):
        raise ConfigError(f"depth is {depth} for {task}; it goes from 0 to {WHOLE}, and only for {', '.join(NIAH)}")
    haystack = haystack or Haystack()
    made = []
    for number in range(rows):
        draws = Draws(seed, task, length, number, depth)
        if task in NIAH:
            plan = _needles(NIAH[task], draws, haystack, depth)
        elif task.startswith("qa"):
            plan = _question(task, questions, number, draws)
        else:
            plan = {"vt": _variables, "cwe": _common_words, "fwe": _frequent_words}[task](draws, haystack, length)
        prompt = fit(plan.text, length, count, f"a prompt of {task}")
        made.append(
            {
                "id": f"{task}/{length}/{seed}/{number}" + ("" if depth is None else f"/{depth}"),
                "task": task,
                "length": length,
                "seed": seed,
                "haystack": haystack.sha256,
                "prompt": prompt,
                "answer": list(plan.answer),
                "depths": [round(prompt.index(said) / len(prompt), 4) for said in plan.said],
            }
        )
    return made


# --- needles ---------------------------------------------------------------------------------------------------------


def _needles(niah: Niah, draws: Draws, haystack: Haystack, depth: int | None) -> Plan:
    keys = [draws.uuid() for _ in range(niah.keys)] if niah.key == "uuid" else names(draws, niah.keys)
    codes = [[draws.uuid() if niah.code == "uuid" else draws.number(7) for _ in range(niah.values)] for _ in keys]
    said = [_needle(key, code) for key, own in zip(keys, codes, strict=True) for code in own]
    places = [depth] * len(said) if depth is not None else [draws.below(WHOLE + 1) for _ in said]
    hidden = sorted(zip(places, said, strict=True))
    asked, right = keys[: niah.asked], [code for own in codes[: niah.asked] for code in own]
    filler, joint = _filler(niah, draws, haystack, keys)
    several = len(right) > 1
    belongs = "codes belong" if several else "code belongs"
    which = f"Which pass {belongs} to {_listed([f'the {key}' for key in asked])} in the text above?"
    return Plan(
        before="Somewhere in the text below pass codes are mentioned. Keep them in mind, for you will be asked about them.",
        after=which + (f" Give all {len(right)} of them." if several else " Answer with the code alone."),
        filler=filler,
        answer=tuple(right),
        hidden=tuple(hidden),
        said=tuple(said[: len(right)]),
        joint=joint,
    )


def _needle(key: str, code: str) -> str:
    return f"The pass code of the {key} is {code}."


def _filler(niah: Niah, draws: Draws, haystack: Haystack, keys: Sequence[str]) -> tuple[Filler, str]:
    if niah.filler == "needles":
        return _other_needles(niah, draws, keys), "\n"
    hay = Haystack() if niah.filler == "noise" else haystack
    place = draws.below(len(hay.sentences)) if hay.text else 0
    return (lambda count: hay.from_place(place, count)), " "


def _other_needles(niah: Niah, draws: Draws, keys: Sequence[str]) -> Filler:
    """Lines that look like the one that is asked for; each is drawn when it is first wanted."""
    lines: list[str] = []
    known = set(keys)

    def some(count: int) -> Sequence[str]:
        while len(lines) < count:
            key = draws.uuid() if niah.key == "uuid" else names(draws, 1)[0]
            if key not in known:
                known.add(key)
                lines.append(_needle(key, draws.uuid() if niah.code == "uuid" else draws.number(7)))
        return lines[:count]

    return some


def _listed(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]


# --- tracing, counting -----------------------------------------------------------------------------------------------


def _variables(draws: Draws, haystack: Haystack, length: int) -> Plan:
    """vt: one chain of four hops, so five boxes that hold a number, in noise."""
    boxes = [word.upper() for word in coined(draws, 5)]
    value = draws.number(5)
    said = [f"Box {boxes[0]} holds {value}."]
    said += [f"Box {box} holds what box {former} holds." for former, box in pairwise(boxes)]
    places = sorted(draws.below(WHOLE + 1) for _ in said)
    return Plan(
        before="In the text below boxes are filled, some with a number and some with what another box holds. Follow them.",
        after=f"Which boxes hold {value} in the end? Name all of them; there are {len(boxes)}.",
        filler=lambda count: (NOISE * (count // len(NOISE) + 1))[:count],
        answer=tuple(boxes),
        hidden=tuple(zip(places, said, strict=True)),
        said=tuple(said),
    )


def _common_words(draws: Draws, haystack: Haystack, length: int) -> Plan:
    """cwe: ten words stand there 30 times each, all others three times; below 4,096 tokens 10 times and once."""
    often, seldom = (30, 3) if length >= 4096 else (10, 1)
    common = coined(draws, 10) if len(haystack.words) < 1000 else draws.some(haystack.words, 10)
    others: dict[str, None] = {}
    order = draws.uuid()

    def listed(count: int) -> Sequence[str]:
        pool = draws.shuffled(haystack.words) if not others and len(haystack.words) >= 1000 else []
        others.update(dict.fromkeys(word for word in pool if word not in common))
        while len(others) < count:
            others.update(dict.fromkeys(word for word in coined(draws, 256) if word not in common))
        words = Draws(order).shuffled(common * often + list(others)[:count] * seldom)
        return [f"{number}. {word}" for number, word in enumerate(words, 1)]

    return Plan(
        before="Below is a numbered list of words. Some words stand in it much more often than the others. Find those.",
        after="Which ten words stand in the list most often?",
        filler=listed,
        answer=tuple(common),
    )


def _frequent_words(draws: Draws, haystack: Haystack, length: int) -> Plan:
    """fwe: coined words whose counts fall with the square of their rank; the first three are asked for."""
    words = coined(draws, 2000)
    weights = [10**12 // rank**2 for rank in range(1, len(words) + 1)]
    whole = sum(weights)
    order = draws.uuid()

    def text(count: int) -> Sequence[str]:
        # Twelve words make a piece; a few more of each of the first three keep them apart where there are only few.
        counts = [12 * count * weight // whole for weight in weights]
        lead = [counts[0] + 9, counts[1] + 6, counts[2] + 3, *counts[3:]]
        return Draws(order).shuffled([word for word, times in zip(words, lead, strict=True) for _ in range(times)])

    return Plan(
        before="Below is a coded text; its words mean nothing. Find out which of them are used most.",
        after="Which three words does the coded text use most often?",
        filler=text,
        answer=tuple(words[:3]),
    )


# --- questions about paragraphs --------------------------------------------------------------------------------------


def _question(task: str, questions: Sequence[Row], number: int, draws: Draws) -> Plan:
    """A question of a file with its own paragraphs among those of other questions, said again where they run out."""
    if not questions:
        raise ConfigError(
            f"{task} needs a file of questions, each {{question, context, answers}} (SQuAD for qa_1, HotpotQA for qa_2); "
            f"name one, or leave {task} out"
        )
    row = questions[number % len(questions)]
    own = _texts(row["context"])
    known = dict.fromkeys(text for one in questions for text in _texts(one["context"]))
    others = draws.shuffled([text for text in known if text not in own])
    if not others:
        raise ConfigError(f"{task}: all questions are about the same paragraphs; there is nothing to put around them")
    places = sorted(draws.below(WHOLE + 1) for _ in own)
    return Plan(
        before="Below are paragraphs. Answer the question after them from what they say.",
        after=f"{row['question']}\nAnswer in a few words, from the paragraphs alone.",
        filler=lambda count: (others * (count // len(others) + 1))[:count],
        answer=tuple(dict.fromkeys(row["answers"])),
        hidden=tuple(zip(places, own, strict=True)),
        said=tuple(own),
        joint="\n\n",
    )


def _texts(context: str | Sequence[str]) -> list[str]:
    return [context] if isinstance(context, str) else list(context)
