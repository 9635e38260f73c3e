"""Long-context rows: exact length by any tokenizer, answerable from their prompt alone, deep as they say, and the same
bytes everywhere."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tenet.errors import ConfigError
from tenet.evaluate.long_context.draws import Draws
from tenet.evaluate.long_context.fitting import chat_count, fit
from tenet.evaluate.long_context.haystack import NOISE, Haystack, read_haystack
from tenet.evaluate.long_context.ruler import NIAH, TASKS, make
from tenet.evaluate.long_context.vocabulary import coined, names
from tenet.verifiers import read_verifier, verify
from tests.tenet.evaluate.tiny import tokenizer

Row = dict[str, Any]
#: Enough sentences for some prompts, and too few for others, where they are said again.
BOOK = Haystack(" ".join(f"On day {i} the {'calm' if i % 3 else 'wild'} sea lay before us, grey and wide." for i in range(400)))
QUESTIONS = [
    {"question": f"Who lives in house {i}?", "context": f"House {i} is the home of Ann{i}q.", "answers": [f"Ann{i}q"]}
    for i in range(30)
]
#: SHA-256 of two rows of every task with `len` as the tokenizer; a change of words or of draws is a new version.
PINNED = "896cd3f57637159ec33e1b9674c913d45a7f467df7fee235263a7f0ad913a99e"


def rows_of(task: str, length: int, count: Callable[[str], int] = len, rows: int = 2, **more: Any) -> list[Row]:
    return make(task, length, rows, 7, count, BOOK, QUESTIONS, **more)


def scored(row: Row, said: str) -> float:
    spec = {"kind": "contains", "words": True} if not row["task"].startswith("qa") else {"kind": "contains", "which": "any"}
    return verify({**row, "verifier": read_verifier(spec, row)}, said).score


def solved(prompt: str, question: str) -> str:
    """Answers out of a prompt, or a part of one, without a look at the row."""
    if "pass code" in question:
        asked = re.findall(r"the ([\w-]+(?: \w+ \w+)?)(?=,| and|\?| in the)", question)
        found = re.findall(r"The pass code of the (.+?) is ([\w-]+)\.", prompt)
        return " ".join(code for key, code in found if key in asked)
    if "Which boxes hold" in question:
        value = re.findall(r"Which boxes hold (\d+)", question)[0]
        boxes = set(re.findall(rf"Box ([A-Z]+) holds {value}\.", prompt))
        for box, former in re.findall(r"Box ([A-Z]+) holds what box ([A-Z]+) holds", prompt):
            boxes |= {box} if former in boxes else set()
        return " ".join(sorted(boxes))
    if "ten words" in question:
        return " ".join(word for word, _ in Counter(re.findall(r"\d+\. (\w+)", prompt)).most_common(10))
    if "three words" in question:
        body = prompt.split("\n\n")[1].split("\n")[0]
        return " ".join(word for word, _ in Counter(body.split()).most_common(3))
    house = re.findall(r"house (\d+)", question)[0]
    return " ".join(re.findall(rf"House {house} is the home of (\w+)", prompt))


@pytest.mark.parametrize("task", TASKS)
def test_prompts_have_exactly_the_asked_length_and_can_be_answered(task: str) -> None:
    count = chat_count(tokenizer())
    for length in (2500, 5003):
        for row in rows_of(task, length, count):
            chat = tokenizer().prompt([{"role": "user", "content": row["prompt"]}])
            assert len(chat) == length == row["length"]
            assert scored(row, solved(row["prompt"], row["prompt"].rpartition("\n\n")[2])) == 1.0
            assert scored(row, "I do not know.") == 0.0


@pytest.mark.parametrize("task", [*NIAH, "qa_1"])
def test_a_reader_of_the_second_half_scores_as_the_depths_say(task: str) -> None:
    scores, depths = [], []
    for row in rows_of(task, 9000, rows=12):
        question = row["prompt"].rpartition("\n\n")[2]
        half = row["prompt"][len(row["prompt"]) // 2 :]
        scores.append(scored(row, solved(half, question)))
        depths.append(sum(depth >= 0.5 for depth in row["depths"]) / len(row["depths"]))
    assert scores == depths and 0 < sum(scores) < 12


@pytest.mark.parametrize("task", TASKS)
def test_any_length_by_any_tokenizer(task: str) -> None:
    """By characters no common word costs one token; every length must come out all the same."""
    for length in range(6000, 6013, 4):
        assert len(rows_of(task, length, rows=1)[0]["prompt"]) == length


def test_the_same_bytes_in_another_process_and_in_every_version() -> None:
    code = (
        "import hashlib, json, sys; from tenet.evaluate.long_context.ruler import TASKS, make;"
        "from tenet.evaluate.long_context.haystack import Haystack; text, questions = json.load(sys.stdin);"
        "rows = [make(task, 6000, 2, 7, len, Haystack(text), questions) for task in TASKS];"
        "print(hashlib.sha256(json.dumps(rows).encode()).hexdigest())"
    )
    here = hashlib.sha256(json.dumps([rows_of(task, 6000) for task in TASKS]).encode()).hexdigest()
    given = json.dumps([BOOK.text, QUESTIONS])
    env = {**os.environ, "PYTHONHASHSEED": "77"}
    there = subprocess.run([sys.executable, "-c", code], input=given, capture_output=True, text=True, check=True, env=env)
    assert here == there.stdout.strip() == PINNED


def test_another_seed_is_another_row_and_rows_differ() -> None:
    first, second = rows_of("niah_single_1", 4000)
    (other,) = make("niah_single_1", 4000, 1, 8, len)
    assert len({row["prompt"] for row in (first, second, other)}) == 3
    assert rows_of("niah_single_1", 4000, rows=3)[:2] == [first, second]


def test_what_the_tasks_hide() -> None:
    multi = rows_of("niah_multikey_1", 6000, rows=1)[0]
    assert multi["prompt"].count("The pass code of the") == 4 and len(multi["answer"]) == 1
    assert len(rows_of("niah_multivalue", 6000, rows=1)[0]["answer"]) == 4
    needles = rows_of("niah_multikey_3", 6000, rows=1)[0]
    assert needles["prompt"].count("The pass code of the") > 40 and re.fullmatch(r"[0-9a-f-]{36}", needles["answer"][0])
    words = Counter(re.findall(r"\d+\. (\w+)", rows_of("cwe", 20_000, rows=1)[0]["prompt"]))
    assert sorted(words.values())[-11:] == [3] + [30] * 10
    assert NOISE[0] in rows_of("niah_single_1", 4000, rows=1)[0]["prompt"]
    assert "the wild sea" in rows_of("niah_single_2", 4000, rows=1)[0]["prompt"]


def test_what_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'niah': no such task; there are niah_single_1"):
        rows_of("niah", 4000)
    with pytest.raises(ConfigError, match="qa_2 needs a file of questions"):
        make("qa_2", 4000, 1, 0, len)
    with pytest.raises(ConfigError, match="all questions are about the same paragraphs"):
        make("qa_1", 4000, 1, 0, len, questions=QUESTIONS[:1])
    with pytest.raises(ConfigError, match=r"a prompt of vt has \d+ tokens without any filler"):
        rows_of("vt", 100)
    with pytest.raises(ConfigError, match="depth is 5 for vt"):
        rows_of("vt", 4000, depth=5)
    with pytest.raises(ConfigError, match="cannot be made to have exactly 801 tokens"):
        fit(lambda pieces, pad: "ab" * pieces + pad + "ab", 801, lambda text: 2 * len(text))
    (tmp_path / "empty.txt").write_text(" \n")
    for path in (tmp_path / "empty.txt", tmp_path / "none.md.gz"):
        with pytest.raises(ConfigError, match=path.name):
            read_haystack(path)


def test_a_real_book_at_200_000_tokens(shared_data: Path) -> None:
    """By characters, so that no large tokenizer is needed; docs/abilities.md has the time by a real one."""
    book = read_haystack(shared_data / "gutenberg" / "herman_melville_moby_dick.md.gz")
    (row,) = make("niah_single_2", 200_000, 1, 0, len, book)
    assert len(row["prompt"]) == 200_000 and scored(row, solved(row["prompt"], row["prompt"].rpartition("\n\n")[2])) == 1.0


def test_draws_are_even_and_do_not_repeat() -> None:
    draws = Draws("test")
    counts = Counter(draws.below(6) for _ in range(6000))
    assert all(850 < counts[face] < 1150 for face in range(6))
    assert sorted(draws.shuffled(range(50))) == list(range(50)) and len(set(draws.some(range(9), 9))) == 9
    assert len(set(names(draws, 500))) == len(set(coined(draws, 500))) == 500
    assert len(draws.number(7)) == 7 and re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", draws.uuid())
    assert Draws(1, "a").below(10**9) == Draws("1 a").below(10**9) != Draws(2, "a").below(10**9)
