"""Limits of English hold for English; other languages, scripts and code are kept, and the rule that took most is
named."""

from __future__ import annotations

import random
from typing import Any

import pytest
from datatrove.data import Document as Item

from benchmarks.datatrove_rules import BlankWords
from tenet.corpus.cards.card import doubts
from tenet.corpus.documents import NUMBERS, Document, document
from tenet.corpus.ngrams import WordHasher
from tenet.corpus.rules import Measure, Quality, Repetition, settle
from tenet.settings.corpus import FiltersConfig

WORDS = {
    "english": [
        "the",
        "of",
        "and",
        "to",
        "be",
        "that",
        "have",
        "with",
        "river",
        "mill",
        "bridge",
        "quiet",
        "narrow",
        "garden",
        "carried",
        "watched",
        "answered",
        "before",
        "after",
    ],
    "german": [
        "der",
        "die",
        "das",
        "und",
        "nicht",
        "Mühle",
        "Brücke",
        "Garten",
        "stiller",
        "schmaler",
        "trug",
        "sah",
        "antwortete",
        "bevor",
        "nachdem",
        "Fluss",
        "über",
        "wieder",
    ],
}
CHINESE = "院子里的梨树开花了面包师回来时看见满地都是花瓣没有人知道为什么桥虽然很旧还赶着车走过去写信等音"


def prose(language: str, seed: int, length: int = 150) -> str:
    pick = random.Random(f"{language} {seed}")
    if language == "chinese":
        return "。".join("".join(pick.choices(CHINESE, k=12)) for _ in range(length // 6)) + "。"
    if language == "code":
        names = [f"count_{pick.randint(0, 999)}" for _ in range(30)]
        return "\n".join(f"    if {a}[i] > {pick.randint(2, 99)}:\n        total[{a!r}] += 1" for a in names)
    words = [f"{pick.choice(WORDS[language])}{pick.choice(['', '', '', '.'])}" for _ in range(length)]
    return " ".join(words)


def through(texts: list[str], config: FiltersConfig, **more: Any) -> tuple[list[Document], list[tuple[str, str, Document]]]:
    """What the pipeline's two filters and the decision behind them leave and take."""
    filters = [Quality(config, None), Repetition(config, None)]
    kept, removed = [], []
    for i, text in enumerate(texts):
        made = document(text, str(i), "s", "MIT", _source=more.get("source", 0), **{"kind": more.get("kind", "prose")})
        item = Item(text=made["text"], id=made["id"], metadata=made["metadata"])
        for rule in filters:
            verdict = rule.filter(item)
            if verdict is not True:
                removed.append((rule.name, verdict[1] if isinstance(verdict, tuple) else "", {**made, "metadata": item.metadata}))
                break
        else:
            kept.append({**made, "metadata": item.metadata})
    found = settle(kept, removed, config.language)
    assert not any(key in d["metadata"] for d in found.kept for key in ("_english", "_ngrams"))
    return found.kept, found.removed


def test_measured_together_or_alone_the_decision_is_the_same() -> None:
    texts = [prose("english", i, 20 + 37 * i % 200) for i in range(30)] + [
        "",
        "- a\n- b\n" * 40,
        prose("code", 1),
        "x " * 300_000,
    ]

    def items() -> list[Item]:
        kinds = ("prose", "reference", "source")
        return [Item(text=text, id=str(i), metadata={"kind": kinds[i % 3]}) for i, text in enumerate(texts)]

    together = list(Measure(FiltersConfig()).run(iter(items())))  # type: ignore[arg-type]
    assert [item.id for item in together] == [item.id for item in items()]
    for one, other in zip(together, items(), strict=True):
        for rule in (Quality(FiltersConfig(), None), Repetition(FiltersConfig(), None)):
            assert rule.filter(one) == rule.filter(other)
        one.metadata.pop(NUMBERS), other.metadata.pop(NUMBERS)
        assert one.metadata == other.metadata


def test_a_table_gets_limits_of_its_own() -> None:
    table = "\n".join(f"{i}  |  {i * i}  |  {i * 7 % 13}  |  {i / 3:.2f}" for i in range(60))
    assert through([table], FiltersConfig(language="en"))[0]
    assert not through([table], FiltersConfig(language="en", gopher="prose"))[0]


@pytest.mark.parametrize("language", ["german", "chinese", "code"])
def test_other_languages_are_kept_and_can_be_refused(language: str) -> None:
    texts = [prose(language, i) for i in range(40)]
    assert len(through(texts, FiltersConfig())[0]) == 40
    assert len(through(texts, FiltersConfig(language="any"))[0]) == 40
    assert len(through(texts, FiltersConfig(gopher="off"))[0]) == 40
    kept, removed = through(texts, FiltersConfig(language="en"))
    assert len(kept) < 20 and {name for name, _, _ in removed} <= {"quality", "repetition"}


def test_english_with_some_junk_is_english() -> None:
    texts = [prose("english", i) for i in range(40)] + [prose("german", i) for i in range(5)]
    kept, removed = through(texts, FiltersConfig())
    assert len(kept) == 40 and {reason for _, reason, _ in removed} == {"gopher_enough_stop_words"}
    assert len(through(texts, FiltersConfig(language="any"))[0]) == 45


def test_a_german_file_in_an_english_folder_is_kept() -> None:
    texts = [prose("english", i) for i in range(40)] + [prose("german", i) for i in range(10)]
    documents = [
        document(
            text,
            str(i),
            "s",
            "MIT",
            _source=0,
            _file="de.txt" if i >= 40 else f"{i}.txt",
            **({"_english": "x"} if i >= 38 else {}),
        )
        for i, text in enumerate(texts)
    ]
    found = settle(documents, [], "auto")
    assert found.foreign == {(0, "de.txt"): (10, 10)} and [d["id"] for _, _, d in found.removed] == ["38", "39"]


def test_what_the_limits_for_english_took_is_a_doubt() -> None:
    everything = [document("x", str(i), "s", "MIT", _source=0) for i in range(100)]
    gone = [("quality", "gopher_enough_stop_words", d) for d in everything[:6]]
    assert doubts(gone, everything, ["web"], {}) == [
        "the limits for English removed 6 of 100 documents of web; corpus.filters.language: any keeps them"
    ]
    assert doubts(gone[:5], everything, ["web"], {}) == []


def test_tables_are_no_junk() -> None:
    rows = "\n".join(f"| the setting | of {word} | and what | {word} |" for word in WORDS["german"])
    assert rows.count("|") / len(rows.split()) > 0.3
    assert Quality(FiltersConfig(language="en"), None).filter(Item(text=rows, id="t", metadata={"kind": "prose"})) is True


def test_what_repeats_itself_goes_where_the_source_is_english() -> None:
    story = " ".join("The traveller walked to the city of glass and then came back with a story." for _ in range(8))
    kept, removed = through([prose("english", i) for i in range(40)] + [story], FiltersConfig())
    assert len(kept) == 40 and [(name, reason[:4]) for name, reason, _ in removed] == [("repetition", "top_")]


def test_short_documents_go_by_their_kind() -> None:
    page = "# CreateThing\n\nCreates one thing of the kind that the request names, and returns it."
    assert not through([page], FiltersConfig())[0]
    assert through([page], FiltersConfig(), kind="reference")[0] and through([page], FiltersConfig(gopher="reference"))[0]
    assert not through(["too short"], FiltersConfig(), kind="source")[0]


def test_a_rule_that_takes_most_of_a_source_is_named() -> None:
    everything = [document("x", str(i), "s", "MIT", _source=0) for i in range(10)]
    gone = [("repetition", "dup_line_frac", d) for d in everything[:6]]
    [said] = doubts(gone, everything, ["poems"], {})
    assert said.startswith("repetition (dup line frac) removed 6 of 10 documents of poems; set corpus.filters.gopher")
    assert doubts(gone[:5], everything, ["poems"], {}) == []
    [said] = doubts([], everything, ["poems"], {(0, ""): (10, 9)})
    assert "poems is not taken as English" in said and "9 of 10" in said and "corpus.filters.language: en" in said


def test_scripts_without_blanks_have_words() -> None:
    words = BlankWords().word_tokenize(CHINESE)
    assert "".join(words) == CHINESE and len(CHINESE) / 4 < len(words) < len(CHINESE)
    assert BlankWords().word_tokenize("plain words, as before") == ["plain", "words,", "as", "before"]
    hasher = WordHasher()
    inside = hasher(f"前面的话。{CHINESE}").tolist()
    shared = hasher(CHINESE).tolist()
    assert any(inside[i : i + 10] == shared[2:12] for i in range(len(inside)))  # cut alike wherever the same letters stand
