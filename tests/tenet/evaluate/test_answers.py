"""What counts as right, and that a scripted model with a known answer key gets exactly the score it deserves."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest

from lightning_modules.generation.protocol import Sampling
from tenet.assistant.assistant import MissingCapability, Reply
from tenet.domains.loading import load_code, load_domain
from tenet.errors import ConfigError, StageError
from tenet.evaluate.items import Item, Loaded, load_items
from tenet.evaluate.judge import Judged, judge_call, judge_choice, judge_text
from tenet.evaluate.runner import missing, run_task
from tenet.evaluate.tasks import load_task
from tenet.verifiers import registry
from tests.tenet.evaluate.tiny import Scripted, call

DOMAIN = load_domain("aws_api")
OWN, KNOWN = DOMAIN.tasks, registry(load_code(DOMAIN).verifiers)
GOLD = {
    "service": "dynamodb",
    "operation": "DeleteTable",
    "expected": {"TableName": "orders"},
    "verifier": {"kind": "aws_request"},
}


def called(name: str, arguments: dict[str, Any], times: int = 1) -> Reply:
    return Reply("", ({"name": name, "arguments": arguments},) * times)


def test_choice_by_loglik_and_by_character() -> None:
    logliks, choices = [-10.0, -12.0, -30.0], ["iron", "a long wrong answer", "x"]
    plain, normed, scores = judge_choice(logliks, [True, False, False], choices, 1)
    assert (plain, normed) == (0, 1)
    share = math.exp(-2) / (1 + math.exp(-2) + math.exp(-20))
    assert scores == {"acc": 0.0, "acc_norm": 1.0, "greedy": 0.0, "mass": pytest.approx(share)}
    *_, several = judge_choice(logliks, [True, False, False], choices, (0, 2))
    assert several == {"acc": 1.0, "acc_norm": 0.0, "greedy": 1.0, "mass": pytest.approx(1 - share)}


def test_ties_go_to_the_first() -> None:
    plain, normed, scores = judge_choice([-2.0, -1.0, -1.0], [False] * 3, ["a", "b", "c"], 2)
    assert (plain, normed, scores["acc"], scores["acc_norm"]) == (1, 1, 0.0, 0.0)


@pytest.mark.parametrize(
    "text, exact, contains",
    [("DeleteTable", 1, 1), (" DeleteTable.\n", 1, 1), ("It is DeleteTable.", 0, 1), ("deletetable", 0, 0), ("", 0, 0)],
)
def test_text(text: str, exact: int, contains: int) -> None:
    row = {"verifier": {"kind": "exact", "punctuation": "full_stop", "answer": ["DeleteTable"]}}
    assert judge_text(Reply(text), row) == Judged({"exact_match": exact, "contains": contains}, [])


@pytest.mark.parametrize(
    "reply, right, why",
    [
        (called("DeleteTable", {"TableName": "orders"}), {"called", "name", "valid", "values", "exact"}, ""),
        (called("DeleteTable", {"TableName": "order"}), {"called", "name", "valid"}, "'orders' was asked for"),
        (called("DeleteTable", {"Table": "orders"}), {"called", "name"}, "TableName"),
        (called("DeleteTable", {"TableName": 7}), {"called", "name"}, "TableName"),
        (called("DeleteTable", {"TableName": "orders", "Force": True}), {"called", "name", "values"}, "Force"),
        (called("DropTable", {"TableName": "orders"}), {"called"}, "called DropTable"),
        (called("DeleteTable", {"TableName": "orders"}, times=2), {"called", "name", "valid", "values"}, "more than one"),
        (Reply("I cannot do that."), set(), "no tool call"),
    ],
)
def test_call_part_by_part(reply: Reply, right: set[str], why: str) -> None:
    judged = judge_call(reply, GOLD, KNOWN)
    assert {name for name, score in judged.scores.items() if score == 1.0} == right
    assert why in "; ".join(judged.errors) and bool(judged.errors) == bool(why)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows in the corpus stage's shape: two services with six operations each, one with two."""
    folder = tmp_path_factory.mktemp("corpus")
    preferences, requests, instructions = [], [], []
    for service, count in (("dynamodb", 6), ("sqs", 6), ("small", 2)):
        for i in range(count):
            prompt = [{"role": "user", "content": f"What does Op{i} of {service} do?"}]
            chosen, rejected = (f"It does thing {j % count} for {service}." for j in (i, i + 1))
            pair = {name: [{"role": "assistant", "content": text}] for name, text in (("chosen", chosen), ("rejected", rejected))}
            preferences.append({"prompt": prompt, **pair, "service": service, "id": f"preference/{service}/{i}"})
            asked = [{"role": "user", "content": f"Which operation does thing {i}?"}, {"role": "assistant", "content": f"Op{i}"}]
            kind = "find" if i % 2 else "describe"
            instructions.append({"messages": asked, "kind": kind, "service": service, "id": f"{kind}/{service}/{i}"})
    for i in range(6):
        prompt = [{"role": "user", "content": f"Call DeleteTable with table name 'orders{i}'."}]
        tools = [{"type": "function", "function": {"name": "DeleteTable", "parameters": {"type": "object"}}}]
        gold = {"service": "dynamodb", "operation": "DeleteTable", "expected": {"TableName": f"orders{i}"}}
        requests.append({"prompt": prompt, "tools": tools, **gold, "id": f"request/{i}"})
    for name, rows in (("preferences", preferences), ("requests", requests), ("instructions", instructions)):
        (folder / name).mkdir()
        (folder / name / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def loaded(name: str, corpus: Path, count: int = 0) -> Loaded:
    return load_items(load_task(name, OWN), count, seed=1, corpus=corpus, verifiers=KNOWN)


def test_description_choices(corpus: Path) -> None:
    task = loaded("aws_description", corpus)
    assert (len(task.items), task.skipped, task.available) == (12, 2, 14)  # two operations cannot give four choices
    assert task.baseline == 0.25
    for item in task.items:
        assert len(set(item.choices)) == 4
        assert all(choice.endswith(f"for {item.cluster}.") for choice in item.choices)
        assert item.choices[item.gold] == f"It does thing {item.id.rsplit('/')[-1]} for {item.cluster}."
    assert len({item.gold for item in task.items}) > 1


def test_scripted_models_get_what_they_deserve(corpus: Path) -> None:
    task = loaded("aws_description", corpus)
    gold = {item.choices[item.gold] for item in task.items}

    def knows(context: Any, continuation: str) -> float:
        return 0.0 if continuation.split("thing ")[1][0] in context[-1]["content"] else -50.0

    rows = run_task(Scripted(like=knows), task, "final", Sampling())
    assert [row["score"] for row in rows] == [1.0] * 12
    assert {row["choices"][row["pred"]] for row in rows} == gold
    contrary = run_task(Scripted(like=lambda *pair: -1 - knows(*pair)), task, "final", Sampling())
    assert sum(row["score"] for row in contrary) == 0.0
    broken = Scripted(like=lambda context, continuation: math.nan)
    with pytest.raises(StageError, match=r"final: log-likelihoods of task aws_description, row \d+ .*nan"):
        run_task(broken, task, "final", Sampling())
    indifferent = run_task(Scripted(), task, "final", Sampling())
    assert [row["pred"] for row in indifferent] == [0] * 12


def test_word_overlap_needs_no_model() -> None:
    task = load_task("arc_easy")
    easy = Item("1", "1", ("What does DeleteTable do?",), ("Creates a table.", "Deletes a table.", "Lists."), 1)
    hard = Item("2", "2", ("What does PutObject do?",), ("Adds an object.", "Stores data."), 1)
    assert Loaded(task, (easy,), 1, 0, "").overlap == 1.0
    assert Loaded(task, (easy, hard), 2, 0, "").overlap == 0.5
    assert Loaded(load_task("aws_tool", OWN), (easy,), 1, 0, "").overlap is None


def test_find_rows_only(corpus: Path) -> None:
    task = loaded("aws_operation", corpus)
    assert {item.id.split("/")[0] for item in task.items} == {"find"}
    rows = run_task(Scripted(say=lambda messages, tools: "Op1."), task, "final", Sampling())
    assert {row["gold"] for row in rows if row["score"] == 1.0} == {"Op1"}
    assert all(len(prompt) == 1 for prompt, _ in _asked(task))


def _asked(task: Loaded) -> list[Any]:
    model = Scripted()
    run_task(model, task, "final", Sampling())
    return model.asked


def test_tools_are_offered_and_calls_judged(corpus: Path) -> None:
    task = loaded("aws_tool", corpus, 5)
    assert all(tools[0]["function"]["name"] == "DeleteTable" for _, tools in _asked(task))

    def say(messages: list[dict[str, Any]], tools: Any) -> str:
        value = messages[-1]["content"].split("'")[1]
        return call("DeleteTable", {"TableName": value if value != "orders3" else "wrong"})

    rows = run_task(Scripted(say=say), task, "final", Sampling())
    assert {row["id"] for row in rows if not row["score"]} <= {"request/3"}
    assert all(row["scores"]["valid"] == 1.0 for row in rows)


def test_several_answers_to_a_question_are_one_row(corpus: Path) -> None:
    """Of four drawn answers one is right: the mean is a quarter, and one of two is right in half of the draws."""

    class Alternating(Scripted):
        def answer(self, conversations: Any, **more: Any) -> list[list[Reply]]:
            assert more["n"] == 5 and more["sampling"].temperature == 0.5
            right = [f"Op{messages[-1]['content'].split('thing ')[1][0]}" for messages in conversations]
            return [[Reply(text if i == 2 else "", (), 3) for i in range(5)] for text in right]

    task = dataclasses.replace(load_task("aws_operation", OWN), samples=5, temperature=0.5)
    rows = run_task(Alternating(), load_items(task, corpus=corpus, verifiers=KNOWN), "final", Sampling())
    for row in rows:
        assert (row["score"], row["correct"], row["tokens"], len(row["samples"])) == (0.2, False, 15, 5)
        assert row["scores"]["pass@1"] == pytest.approx(0.2) and row["scores"]["pass@5"] == 1.0
    with pytest.raises(ValueError, match="raise temperature"):
        dataclasses.replace(task, temperature=0.0)


def test_a_missing_capability_is_told_before(corpus: Path) -> None:
    wire = Scripted(capabilities=("answer", "tools"))
    assert missing(wire, loaded("aws_description", corpus)) == "score_chat"
    assert missing(wire, loaded("aws_tool", corpus)) is None
    assert issubclass(MissingCapability, Exception)


def test_no_question_at_all(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "preferences").mkdir()
    rows = (corpus / "preferences" / "test.jsonl").read_text().splitlines()
    (tmp_path / "preferences" / "test.jsonl").write_text("\n".join(row for row in rows if '"small"' in row))
    with pytest.raises(ConfigError, match="none of the 2 rows"):
        load_items(load_task("aws_description", OWN), corpus=tmp_path)


def own_task(folder: Path, rows: list[dict[str, Any]], **task: Any) -> Loaded:
    """A task of one's own: a YAML file and its rows beside it."""
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    stated = {"version": 1, "about": "own", "data": "rows.jsonl", "licence": "none", "baseline": 0.0, **task}
    (folder / "own.yaml").write_text(json.dumps(stated))
    load_task.cache_clear()
    return load_items(load_task(str(folder / "own.yaml")))


def test_numbers_of_ones_own_are_judged_by_a_verifier(tmp_path: Path) -> None:
    rows = [{"q": [{"role": "user", "content": f"What is {n} + {n}?"}], "a": f"#### {2 * n}"} for n in range(4)]
    task = own_task(tmp_path, rows, kind="generate", prompt="q", answer="a", verifier="'number'", metric="score")

    def say(messages: list[dict[str, Any]], tools: Any) -> str:
        n = int(messages[-1]["content"].split()[2])
        return f"That is {2 * n if n != 3 else 7}."

    made = run_task(Scripted(say=say), task, "final", Sampling())
    assert {row["gold"]: row["score"] for row in made} == {"#### 0": 1, "#### 2": 1, "#### 4": 1, "#### 6": 0}
    assert [row["errors"] for row in made if not row["score"]] == [["7 is not 6"]]


def test_tools_of_ones_own_need_no_domain(tmp_path: Path) -> None:
    parameters = {"type": "object", "properties": {"what": {"type": "string"}}}
    tools = [{"type": "function", "function": {"name": "find", "parameters": parameters}}]
    rows = [{"q": [{"role": "user", "content": f"Find lamp {i}."}], "t": tools, "a": {"name": "find", "arguments": {"what": f"lamp {i}"}}}
            for i in range(3)]  # fmt: skip
    task = own_task(tmp_path, rows, kind="tool", prompt="q", tools="t", answer="a", metric="exact")

    def say(messages: list[dict[str, Any]], tools: Any) -> str:
        n = messages[-1]["content"].split()[-1].rstrip(".")
        return call("find", {"what": f"lamp {n}"} if n != "1" else {"what": 1})

    made = {row["asked"]: row for row in run_task(Scripted(say=say), task, "final", Sampling())}
    assert {asked: row["score"] for asked, row in made.items()} == {"Find lamp 0.": 1, "Find lamp 1.": 0, "Find lamp 2.": 1}
    assert made["Find lamp 1."]["scores"] == {"called": 1, "name": 1, "valid": 0, "values": 0, "exact": 0}


def test_a_malformed_verifier_is_refused_before_a_model_is_asked(tmp_path: Path) -> None:
    rows = [{"q": [{"role": "user", "content": "?"}], "a": "none"}]
    with pytest.raises(ConfigError, match=r"task own: row 0 of rows.jsonl: verifier: number: there is no number"):
        own_task(tmp_path, rows, kind="generate", prompt="q", answer="a", verifier="'number'", metric="score")


def test_rows_of_a_task_are_read_as_any_others_and_a_broken_one_is_named(tmp_path: Path) -> None:
    own_task(tmp_path, [{"q": "?", "a": "yes"}], kind="generate", prompt="q", answer="a", metric="exact_match")
    (tmp_path / "rows.jsonl").write_bytes(b'\xef\xbb\xbf{"q": "?", "a": "yes"}\r\n\r\n{"q": "!", "a": "no"}\r\n')
    assert {item.gold for item in load_items(load_task(str(tmp_path / "own.yaml"))).items} == {"yes", "no"}
    (tmp_path / "rows.jsonl").write_text('{"q": "?", "a": "yes"}\n{broken\n')
    with pytest.raises(ConfigError, match=r"task own: .*rows.jsonl:2: not valid JSON"):
        load_items(load_task(str(tmp_path / "own.yaml")))
