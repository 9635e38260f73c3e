"""A constitution of anybody's: plain sentences, prompts from files and rows, and a judge in the checks' place."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from lightning_modules.generation.protocol import Sampling
from tenet.constitution.checks import parse_check
from tenet.constitution.judges import Case, ModelJudge, Pair, refuse_unchecked
from tenet.constitution.principles import Constitution, load_constitution, named_files
from tenet.constitution.prompts import all_prompts, prompts
from tenet.constitution.revise import feedback, measure, revisions, verdicts
from tenet.errors import ConfigError, StageError
from tenet.pipeline.chain import chain, input_files
from tenet.serving.clients.bedrock import BedrockAssistant
from tenet.settings.preset import load_preset, replace_section
from tenet.settings.safety import ConstitutionalConfig, RedteamConfig
from tests.tenet.scripted import scripted_server

SENTENCES = [
    "Be polite, even when the reader is rude.",
    "Say where in the library a book stands.",
    "Never tell what another reader has borrowed.",
    "Keep it short.",
    "Recommend only books that the library has.",
]
QUESTIONS = [f"Where do I find book number {number}?" for number in range(20)]


def write(tmp_path: Path, content: dict[str, Any]) -> Path:
    path = tmp_path / "constitution.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


@pytest.fixture
def library(tmp_path: Path) -> Constitution:
    return load_constitution(write(tmp_path, {"principles": SENTENCES, "prompts": QUESTIONS}))


# --- the file ----------------------------------------------------------------------------------------------------------


def test_five_sentences_and_a_list_of_prompts_are_a_constitution(library: Constitution) -> None:
    assert [p.principle for p in library.principles] == SENTENCES
    assert [p.id for p in library.principles][:2] == ["be-polite-even-when-the-reader", "say-where-in-the-library-a"]
    assert all(p.check is None and p.look_alike is None and p.opposite == "" for p in library.principles)
    assert library.licence == "not stated" and library.source == "constitution.yaml"
    train, test = ({q.text for _, q in all_prompts(library, split, 50, 0)} for split in ("train", "test"))
    assert train | test == set(QUESTIONS) and not train & test and len(test) == 6
    with pytest.raises(ConfigError, match="key `opposite` is missing"):
        library.principles[0].opposed()


def test_sentences_that_begin_alike_get_names_of_their_own(tmp_path: Path) -> None:
    same = ["One two three four five six seven.", "One two three four five six eight."]
    found = load_constitution(write(tmp_path, {"principles": same, "prompts": QUESTIONS}))
    assert [p.id for p in found.principles] == ["one-two-three-four-five-six", "one-two-three-four-five-six-2"]
    with pytest.raises(ConfigError, match=r"principle 'Keep it short\.' stands there twice"):
        load_constitution(write(tmp_path, {"principles": ["Keep it short."] * 2, "prompts": QUESTIONS}))


def test_plain_prompts_are_asked_as_they_stand(tmp_path: Path) -> None:
    plain = ["was ist ein {dict}? und wozu?", "e a essere un elenco"]
    found = load_constitution(write(tmp_path, {"principles": SENTENCES[:1], "prompts": plain}))
    asked = [q.text for split in ("train", "test") for q in prompts(found.principles[0], split, 9, 0)]
    assert sorted(asked) == sorted(plain)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"principles": SENTENCES}, "principle be-polite-even-when-the-reader has no prompts; write `prompts:`"),
        ({"principles": SENTENCES, "prompts": ["one"]}, "key `prompts`: there is only one"),
        ({"principles": SENTENCES, "prompts": "none.txt"}, "key `prompts`: {tmp}/none.txt: no such file"),
        ({"principles": SENTENCES, "prompts": "c.docx"}, "ends in .docx; kinds that can be read are .txt"),
        ({"principles": [""], "prompts": QUESTIONS}, "principle number 1 is ''; write a sentence"),
        ({"principles": SENTENCES, "prompts": QUESTIONS, "colour": 1}, "key `colour` is unknown; known are version"),
    ],
)
def test_what_is_missing_is_said_with_the_way_out(tmp_path: Path, content: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message.replace("{tmp}", str(tmp_path)))):
        load_constitution(write(tmp_path, content))


def test_a_file_of_prompts_says_split_principle_and_look_alike(tmp_path: Path) -> None:
    rows = [{"prompt": f"q{n}", "split": "test" if n < 2 else "train"} for n in range(6)]
    rows += [{"prompt": f"short {n}", "principle": "short"} for n in range(4)]
    rows += [{"prompt": f"long {n}", "principle": "short", "look_alike": True} for n in range(4)]
    (tmp_path / "my.jsonl").write_text("\ufeff" + "\n".join(map(json.dumps, rows)) + "\n\n", encoding="utf-8")
    entries: list[Any] = [SENTENCES[0], {"id": "short", "principle": "Keep it short."}]
    polite, short = load_constitution(write(tmp_path, {"principles": entries, "prompts": "my.jsonl"})).principles
    assert polite.prompts is not None and set(polite.prompts.test) == {"q0", "q1"} and polite.look_alike is None
    assert short.prompts is not None and short.look_alike is not None
    assert {*short.look_alike.train, *short.look_alike.test} == {f"long {n}" for n in range(4)}
    assert {"q0", "q1"} < {*short.prompts.test} and {"q2", "q3", "q4", "q5"} < {*short.prompts.train}
    (tmp_path / "my.jsonl").write_text('{"prompt": "a", "principle": "shrot"}\n{"prompt": "b"}\n', encoding="utf-8")
    with pytest.raises(ConfigError, match="a row names principle 'shrot'; the constitution has"):
        load_constitution(write(tmp_path, {"principles": entries, "prompts": "my.jsonl"}))
    (tmp_path / "my.jsonl").write_text('{"question": "a"}\n', encoding="utf-8")
    with pytest.raises(ConfigError, match=r"my.jsonl: row 1 has no text under `prompt`; its columns are question"):
        load_constitution(write(tmp_path, {"principles": entries, "prompts": "my.jsonl"}))
    (tmp_path / "my.jsonl").write_text('{"prompt": "a"}\n{"prompt"\n', encoding="utf-8")
    with pytest.raises(ConfigError, match=r"my.jsonl:2: not valid JSON"):
        load_constitution(write(tmp_path, {"principles": entries, "prompts": "my.jsonl"}))


def test_templates_are_filled_from_rows_and_the_rows_are_held_apart(tmp_path: Path) -> None:
    rows = [{"title": f"Book {n}", "shelf": f"S{n % 5}", "pages": n * 10, "licence": "CC0-1.0"} for n in range(40)]
    (tmp_path / "books.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    fill = {"from": "books.jsonl", "where": "pages >= 100 and title is not matching '9$'", "by": "shelf"}
    principle = {
        "principle": "Say where.",
        "prompts": {"fill": fill, "templates": ["{hello}where is {title}?", "who wrote a {title}?"]},
        "slots": {"hello": ["hi, ", "please, ", ""]},
    }
    (found,) = load_constitution(write(tmp_path, {"principles": [principle]})).principles
    train, test = (prompts(found, split, 60, 3) for split in ("train", "test"))
    assert train == prompts(found, "train", 60, 3) != prompts(found, "train", 60, 4)
    assert not {q.group for q in train} & {q.group for q in test} and {q.licence for q in train} == {"CC0-1.0"}
    named = {int(n) for q in train + test for n in re.findall(r"Book (\d+)", q.text)}
    assert named == {n for n in range(10, 40) if n % 10 != 9}
    assert all(q.text[0].isupper() and "{" not in q.text for q in train)


@pytest.mark.parametrize(
    ("fill", "template", "message"),
    [
        (
            {"from": "b.jsonl", "where": "page > 3"},
            "{title}",
            "where is 'page > 3', which fails ('page' is undefined); columns are",
        ),
        ({"from": "b.jsonl", "where": "pages >"}, "{title}", "where is 'pages >', which fails"),
        ({"from": "b.jsonl", "where": "pages > 99"}, "{title}", "the train rows of b.jsonl have none where 'pages > 99'"),
        ({"from": "b.jsonl", "by": "shelf"}, "{title}", "by is 'shelf'; columns of b.jsonl are title, pages"),
        ({"from": "b.jsonl"}, "{author}", "{author} in '{author}' is neither slot nor column; known are title, pages"),
        ({"from": "c.jsonl"}, "{title}", "from is 'c.jsonl': no table (there are: none) and no file"),
    ],
)
def test_a_fill_that_cannot_be_names_key_and_columns(tmp_path: Path, fill: dict[str, str], template: str, message: str) -> None:
    (tmp_path / "b.jsonl").write_text("\n".join(json.dumps({"title": f"t{n}", "pages": n}) for n in range(8)), encoding="utf-8")
    entry = {"principle": "x", "prompts": {"fill": fill, "templates": [template]}}
    (found,) = load_constitution(write(tmp_path, {"principles": [entry]})).principles
    with pytest.raises(ConfigError, match=re.escape(message)):
        prompts(found, "train", 5, 0)


# --- checks ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("check", "prompt", "good", "bad"),
    [
        ("refuses", "?", "I can't help with that.", "Sure."),
        ({"refuses": False}, "?", "Sure.", "I can't help with that."),
        ({"refuses": True, "max_sentences": 1}, "?", "I can't help with that.", "I can't help with that. I won't."),
        ([{"min_sentences": 2}, {"max_words": 4}], "?", "One. Two three.", "One two."),
        ({"any": [{"answer_matches": "(?i)shelf"}, {"admits_ignorance": True}]}, "?", "On Shelf 3.", "It is here."),
        ({"not": {"answer_matches": "x"}}, "?", "y", "x"),
        ({"all": ["is_whole", {"repeats": False}]}, "?", "It ends.", "a b c d a b c d."),
        ({"contains_none": r"\d"}, "?", "no digits", "7"),
        ({"requires_when": {"prompt": "where", "answer": "shelf"}}, "where is it?", "shelf 3", "there"),
        ({"when_prompt": "rude", "then": {"min_words": 3}, "else": "refuses"}, "be rude", "I would rather not", "no"),
        ({"when_prompt": "rude", "then": "refuses", "else": {"answer_matches": "ok"}}, "be kind", "ok", "not so"),
    ],
)
def test_checks_are_put_together_from_rules_with_arguments(check: Any, prompt: str, good: str, bad: str) -> None:
    built = parse_check("c.yaml: principle p", "check", check)
    assert built.passes(prompt, good) and not built.passes(prompt, bad)


def test_requires_when_asks_nothing_of_other_prompts() -> None:
    check = parse_check("c", "check", {"requires_when": {"prompt": "where", "answer": "shelf"}})
    assert check.passes("who wrote it?", "Anna")


def test_rules_as_judge_need_a_check_for_every_principle(tmp_path: Path, library: Constitution) -> None:
    with pytest.raises(ConfigError, match=r"be-polite.* has no key `check` \(nor have 4 more\).*or self"):
        refuse_unchecked(library, "checks")
    refuse_unchecked(library, "self")
    half = {"principle": "Keep it short.", "check": {"max_words": 9}}
    refuse_unchecked(load_constitution(write(tmp_path, {"principles": [half], "prompts": QUESTIONS})), "checks")


# --- a judge in the checks' place ---------------------------------------------------------------------------------------


@dataclass
class Reply:
    text: str


@dataclass
class Model:
    """Answers every prompt with one of two texts, politely to every other question."""

    def answer(self, conversations: list[Any], *, sampling: Sampling, n: int = 1, prefill: Any = None) -> list[list[Reply]]:
        texts = ["Please look at shelf 3.", "Go away."]
        return [[Reply(texts[(i + k) % 2]) for k in range(n)] for i in range(len(conversations))]


def oracle(text: str) -> str:
    """Thinks that an answer keeps any principle when it says please; written against docs/safety.md alone."""
    head, _, question_on = text.partition("\nQuestion: ")
    question, _, rest = question_on.partition("\n")
    task, principle = re.fullmatch(r"Task: (\w+)\nPrinciple: (.*)", head).groups()  # type: ignore[union-attr]
    assert principle in SENTENCES and question in QUESTIONS
    if task == "critique":
        answer = re.match(r"Answer: (.*)\n", rest).group(1)  # type: ignore[union-attr]
        return "No, it is kind." if "lease" in answer else "Yes, it is rude."
    if task == "revise":
        return "Please see the catalogue."
    a = re.match(r"\(A\) (.*)\n\(B\) ", rest).group(1)  # type: ignore[union-attr]
    return "A" if "lease" in a else "B"


def echo(text: str) -> str:
    return text


def test_an_endpoint_judges_what_has_no_check(library: Constitution) -> None:
    asked = all_prompts(library, "train", 8, 0)
    with scripted_server(oracle) as server:
        judge = ModelJudge(
            BedrockAssistant(server.endpoint, server.model_id, keys=(server.keys.access_key, server.keys.secret_key))
        )
        rows = measure(Model(), asked, 32, judge)
        assert [row["wrong"] for row in rows] == [row["answer"] == "Go away." for row in rows] and {r["by"] for r in rows} == {
            "judge"
        }
        made, counts = revisions(library, Model(), judge, asked, max_tokens=32, seed=0)
        assert counts == {"answers": 40, "broken": 20, "mended": 20, "without_verdict": 0}
        assert {row["messages"][-1]["content"] for row in made} == {"Please look at shelf 3.", "Please see the catalogue."}
        assert {(row["source"], row["licence"]) for row in made} == {("constitution.yaml, model-written", "not stated")}
        pairs = feedback(library, Model(), judge, asked, max_tokens=32, seed=0, judged_by="oracle")
    assert len(pairs) == 40 and {row["chosen"][0]["content"] for row in pairs} == {"Please look at shelf 3."}


def test_an_echo_is_no_judge(library: Constitution) -> None:
    asked = all_prompts(library, "train", 8, 0)
    with scripted_server(echo) as server:
        judge = ModelJudge(
            BedrockAssistant(server.endpoint, server.model_id, keys=(server.keys.access_key, server.keys.secret_key))
        )
        for work in (
            lambda: measure(Model(), asked, 32, judge),
            lambda: revisions(library, Model(), judge, asked, max_tokens=32, seed=0),
            lambda: feedback(library, Model(), judge, asked, max_tokens=32, seed=0, judged_by="echo"),
        ):
            with pytest.raises(StageError, match=r"gave no verdict in \d+ of \d+ .*, more than 20%; .*begins 'Task: "):
                work()
        assert judge.revise([Case(*asked[0], "Go away.")]) == [None]


def test_a_few_unclear_verdicts_are_counted_and_left_out(library: Constitution) -> None:
    class Judge(ModelJudge):
        def _ask(self, texts: list[str], seed: int = 0) -> list[str]:
            return ["Hmm." if i % 8 == 7 else "No." if i % 2 else "Yes." for i in range(len(texts))]

    asked = all_prompts(library, "train", 8, 0)
    rows = verdicts([Case(p, q, "text.") for p, q in asked], Judge(Model()))
    assert [row["wrong"] for row in rows].count(None) == 5
    made, counts = revisions(library, Model(), Judge(Model()), asked, max_tokens=9, seed=0)
    assert counts["without_verdict"] == 5 and len(made) == 35


def test_a_letter_that_begins_a_sentence_is_no_choice(library: Constitution) -> None:
    class Talker(ModelJudge):
        def _ask(self, texts: list[str], seed: int = 0) -> list[str]:
            return ["A polite answer is best.", "B.", "(A)", "Answer: B"]

    principle = library.principles[0]
    question = all_prompts(library, "train", 1, 0)[0][1]
    first, second = Talker(Model()).prefer([Pair(principle, question, "x", "y")] * 2)
    assert (first.p_a, first.clear, first.text) == (0.75, False, "A polite answer is best.")
    assert (second.p_a, second.clear) == (1.0, True)


def test_files_that_a_constitution_or_goals_name_are_inputs_of_the_stage(tmp_path: Path) -> None:
    (tmp_path / "books.jsonl").write_text('{"title": "a"}\n{"title": "b"}\n', encoding="utf-8")
    (tmp_path / "q.txt").write_text("one\ntwo\n", encoding="utf-8")
    (tmp_path / "rows.jsonl").write_text('{"prompt": "a"}\n{"prompt": "b"}\n', encoding="utf-8")
    filled = {"principle": "x", "prompts": {"fill": {"from": "books.jsonl"}, "templates": ["{title}"]}}
    rules = write(tmp_path, {"principles": ["Be kind.", filled], "prompts": "q.txt"})
    (tmp_path / "goals.yaml").write_text("rows: rows.jsonl", encoding="utf-8")
    assert [path.name for path in named_files(rules)] == ["books.jsonl", "q.txt"]
    preset = load_preset("tiny")
    preset = replace_section(preset, "constitutional", ConstitutionalConfig(constitution=str(rules)))
    preset = replace_section(preset, "redteam", RedteamConfig(goals=str(tmp_path / "goals.yaml")))
    chained = chain(preset, None)

    def inputs(stage: str) -> dict[str, str]:
        return {file.key: file.sha256 for file in input_files(stage, chained)}

    before = {**inputs("constitutional"), **inputs("redteam")}
    assert {"constitutional.constitution: q.txt", "constitutional.constitution: books.jsonl", "redteam.goals: rows.jsonl"} < set(
        before
    )
    (tmp_path / "q.txt").write_text("one\nthree\n", encoding="utf-8")
    changed = {key for key, value in {**inputs("constitutional"), **inputs("redteam")}.items() if value != before[key]}
    assert changed == {"constitutional.constitution: q.txt"}
