"""Each kind of IFEval's instructions followed and not, the loose readings, what is refused, and the verdicts of the
authors' own program on mutated answers."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from tenet.rows.records import records
from tenet.verifiers import VERIFIERS, read_verifier, verify
from tenet.verifiers.instruction_checks import CHECKS, PACKAGES, treebank_words
from tenet.verifiers.instructions import instruction_level, loose_readings
from tests.tenet.verifiers.mutated import TEXTS, answer

#: What the authors' program said of 541 mutated answers, made once with it (see docs/abilities.md): strict, then loose,
#: one digit for each instruction.
REFERENCE = json.loads(Path(__file__).with_name("reference_verdicts.json").read_text(encoding="utf-8"))["ifeval"]
AT_LEAST, FEWER = {"relation": "at least"}, {"relation": "less than"}
THREE_DOTS = "Mr. Low went at 5 p.m. to the mill. He slept! Did he?"
# fmt: off
CASES: list[tuple[str, dict[str, Any], str, bool]] = [
    ("keywords:existence", {"keywords": ["lamp", "oil"]}, "LAMP, boiled", True),
    ("keywords:existence", {"keywords": ["lamp", "oil"]}, "a lamp", False),
    ("keywords:frequency", {"keyword": "lamp", "frequency": 2, **AT_LEAST}, "Lamp and lamplight", True),
    ("keywords:frequency", {"keyword": "lamp", "frequency": 2, **FEWER}, "Lamp and lamplight", False),
    ("keywords:forbidden_words", {"forbidden_words": ["lamp"]}, "lamplight", True),
    ("keywords:forbidden_words", {"forbidden_words": ["lamp"]}, "A Lamp!", False),
    ("keywords:letter_frequency", {"letter": "N", "let_frequency": 3, "let_relation": "at least"}, "None n", True),
    ("keywords:letter_frequency", {"letter": "#", "let_frequency": 3, "let_relation": "at least"}, "##", False),
    ("language:response_language", {"language": "de"}, TEXTS[3], True),
    ("language:response_language", {"language": "fr"}, TEXTS[3], False),
    ("language:response_language", {"language": "fr"}, "12 -- 34", True),
    ("length_constraints:number_sentences", {"num_sentences": 3, **AT_LEAST}, THREE_DOTS, True),
    ("length_constraints:number_sentences", {"num_sentences": 4, **AT_LEAST}, THREE_DOTS, False),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, "one\n***\ntwo", True),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, "***one***two***", True),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, "one\n\ntwo", False),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, "one *** *** two", False),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 1}, "one", True),
    ("length_constraints:number_words", {"num_words": 4, **AT_LEAST}, "well-known it's", True),
    ("length_constraints:number_words", {"num_words": 4, **FEWER}, "well-known it's", False),
    ("length_constraints:nth_paragraph_first_word", {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "Then"},
     "First.\n\n\"then, it", True),
    ("length_constraints:nth_paragraph_first_word", {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "then"},
     "First.\n\nIt then", False),
    ("length_constraints:nth_paragraph_first_word", {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "then"},
     "First.\n\n\n\nthen", False),  # the second one is the empty one
    ("detectable_content:number_placeholders", {"num_placeholders": 2}, "[name] at [home]", True),
    ("detectable_content:number_placeholders", {"num_placeholders": 2}, "[name at home]", False),
    ("detectable_content:postscript", {"postscript_marker": "P.S."}, "Bye.\np. s. milk", True),
    ("detectable_content:postscript", {"postscript_marker": "P.P.S"}, "Bye.\nP.S. milk", False),
    ("detectable_format:number_bullet_lists", {"num_bullets": 2}, "* one\n- two\n**bold**", True),
    ("detectable_format:number_bullet_lists", {"num_bullets": 1}, "* one\n- two", False),
    ("detectable_format:number_highlighted_sections", {"num_highlights": 2}, "*one* and *two*", True),
    ("detectable_format:number_highlighted_sections", {"num_highlights": 1}, "** and * *", False),
    ("detectable_format:multiple_sections", {"section_spliter": "PART", "num_sections": 2}, "PART 1\nx\nPART 2\ny", True),
    ("detectable_format:multiple_sections", {"section_spliter": "PART", "num_sections": 2}, "PART 1\nx\nPart 2\ny", False),
    ("detectable_format:constrained_response", {}, "Well. My answer is no. So be it.", True),
    ("detectable_format:constrained_response", {}, "My answer is never.", False),
    ("detectable_format:json_format", {}, '```json\n{"a": 1}\n```', True),
    ("detectable_format:json_format", {}, 'Here: {"a": 1}', False),
    ("detectable_format:json_format", {}, "[" * 5000, False),
    ("detectable_format:title", {}, "<<The Mill>>\nIt stood.", True),
    ("detectable_format:title", {}, "<< >> <The Mill>", False),
    ("combination:two_responses", {}, "one ****** two", True),
    ("combination:two_responses", {}, "one ****** one", False),
    ("combination:repeat_prompt", {"prompt_to_repeat": "Say it."}, "say it.\nIt.", True),
    ("combination:repeat_prompt", {"prompt_to_repeat": "Say it."}, "I say it.", False),
    ("startend:end_checker", {"end_phrase": "That is all."}, 'So. "that is ALL."', True),
    ("startend:end_checker", {"end_phrase": "That is all."}, "That is all. Bye", False),
    ("startend:quotation", {}, ' "one" and "two" ', True),
    ("startend:quotation", {}, '"', False),
    ("change_case:capital_word_frequency", {"capital_frequency": 3, "capital_relation": "at least"}, "I'm at NASA. DO", True),
    ("change_case:capital_word_frequency", {"capital_frequency": 3, "capital_relation": "less than"}, "Nasa, It IS", True),
    ("change_case:english_capital", {}, "THE LAMP STOOD IN THE HALL AND NOBODY LIT IT.", True),
    ("change_case:english_capital", {}, "The lamp stood in the hall.", False),
    ("change_case:english_lowercase", {}, "the lamp stood in the hall and nobody lit it.", True),
    ("change_case:english_lowercase", {}, TEXTS[3].lower(), False),
    ("punctuation:no_comma", {}, "one; two", True),
    ("punctuation:no_comma", {}, "one, two", False),
]
# fmt: on


def needed(name: str) -> None:
    """Skip, by the package's name, what this installation has not got."""
    module = CHECKS[name].needs
    if module and importlib.util.find_spec(module) is None:
        pytest.skip(f"{PACKAGES[module]} is not installed; {name} is refused without it")


def judged(names: list[str], kwargs: list[dict[str, Any]], text: str, **options: Any) -> Any:
    row = {"instruction_id_list": names, "kwargs": kwargs}
    return verify({**row, "verifier": read_verifier({"kind": "instructions", **options}, row)}, text)


@pytest.mark.parametrize(("name", "arguments", "text", "follows"), CASES)
def test_each_kind(name: str, arguments: dict[str, Any], text: str, follows: bool) -> None:
    needed(name)
    verdict = judged([name], [arguments], text)
    assert verdict.score == verdict.parts["strict"] == verdict.parts[name] == float(follows)
    assert verdict.errors == ([] if follows else [f"{name} is not followed"])


def test_all_25_kinds_are_covered() -> None:
    assert {name for name, *_ in CASES} == CHECKS.keys() and len(CHECKS) == 25


def test_an_empty_answer_follows_nothing() -> None:
    assert judged(["punctuation:no_comma"], [{}], " \n").parts["loose"] == 0


def test_loose_leaves_out_a_first_line_a_last_line_and_asterisks() -> None:
    said = "Sure, here it is:\n**one two**\nHope, it helps"
    assert loose_readings(said) == [
        said,
        "**one two**\nHope, it helps",
        "Sure, here it is:\n**one two**",
        "**one two**",
        "Sure, here it is:\none two\nHope, it helps",
        "one two\nHope, it helps",
        "Sure, here it is:\none two",
        "one two",
    ]
    verdict = judged(["punctuation:no_comma", "detectable_format:title"], [{}, {}], said)
    assert verdict.parts == {
        "strict": 0, "loose": 0, "share": 0, "loose_share": 0.5, "punctuation:no_comma": 0, "detectable_format:title": 0,
        "loose punctuation:no_comma": 1, "loose detectable_format:title": 0,
    }  # fmt: skip


def test_scores_by_option_and_two_of_one_kind() -> None:
    words = "length_constraints:number_words"
    args = [{"num_words": 2, "relation": "at least"}, {"num_words": 4, "relation": "at least"}]
    assert judged([words, words], args, "one two three").score == 0
    shared = judged([words, words], args, "one two three", share=True)
    assert shared.score == 0.5 and shared.parts[words] == 1 and shared.parts[f"{words} (2)"] == 0
    assert judged(["punctuation:no_comma"], [{}], "Yes,\nno", loose=True).score == 1


def test_the_four_accuracies_of_the_paper() -> None:
    three = judged(["punctuation:no_comma", "detectable_format:title", "startend:quotation"], [{}, {}, {}], "no comma")
    one = judged(["punctuation:no_comma"], [{}], "Well,\nnone")
    assert instruction_level([three.parts, one.parts]) == (0.25, 0.5)
    with pytest.raises(ValueError, match="no instruction"):
        instruction_level([{"score": 1.0}])


def test_words_as_the_treebank_parts_them() -> None:
    assert treebank_words("I'm sure (A.B.) can't; O'B CANNOT: JOHN'S 3,000") == [
        "I", "'m", "sure", "A.B.", "ca", "n't", "O'", "B", "CAN", "NOT", "JOHN", "'S", "3,000",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("names", "kwargs", "problem"),
    [
        ([], [], "0 in `instruction_id_list`"),
        (["punctuation:no_comma"], [], "1 in `instruction_id_list` and 0 in `kwargs`"),
        (["punctuation:no_commas"], [{}], "did you mean 'punctuation:no_comma'"),
        (["punctuation:no_comma"], [{"num_words": 3}], "has num_words; it takes none"),
        (["length_constraints:number_words"], [{"num_words": 3}], "it takes num_words, relation"),
        (["length_constraints:number_words"], [{"num_words": "3", "relation": "at least"}], "not a whole number"),
        (["length_constraints:number_words"], [{"num_words": 3, "relation": "around"}], "not one of less than, at least"),
        (["keywords:existence"], [{"keywords": ["(a"]}], "not a pattern"),
        (["keywords:existence"], [{"keywords": []}], "not a list of texts"),
        (["startend:end_checker"], [{"end_phrase": " "}], "not a text"),
        (
            ["length_constraints:nth_paragraph_first_word"],
            [{"num_paragraphs": 2, "nth_paragraph": 3, "first_word": "a"}],
            "not from 1 to num_paragraphs",
        ),
    ],
)
def test_what_is_refused(names: list[str], kwargs: list[dict[str, Any]], problem: str) -> None:
    with pytest.raises(ValueError, match="instructions:") as error:
        judged(names, kwargs, "x")
    assert problem in str(error.value)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="pip install langdetect-rs"):
        judged(["change_case:english_capital"], [{}], "X")


def test_null_arguments_are_not_given() -> None:
    """As the benchmark's copy on the hub has them: every key in every row."""
    assert judged(["punctuation:no_comma"], [{"num_words": None, "relation": None}], "x").score == 1


def test_verdicts_equal_the_authors_program_on_mutated_answers(shared_data: Path) -> None:
    """All rows, with the answers that the program was given; see docs/abilities.md for how its verdicts were made."""
    for name in CHECKS:
        needed(name)
    rows = [record.value for record in records(shared_data / "ifeval" / "input_data.jsonl.gz")]
    answers = [answer(row, f"{REFERENCE['key']} {number}") for number, row in enumerate(rows) if row]
    told = hashlib.sha256("\0".join(answers).encode()).hexdigest()
    assert told == REFERENCE["answers"], "the mutations have changed; make the program's verdicts anew"
    for row, text, wanted in zip(rows, answers, REFERENCE["verdicts"], strict=True):
        assert row is not None
        parts = verify({**row, "verifier": VERIFIERS["instructions"].read({"kind": "instructions"}, row, None)}, text).parts
        found = "".join(str(int(value)) for name, value in parts.items() if ":" in name)
        assert found == wanted, (row["key"], row["instruction_id_list"], text)
