"""Through the whole stage: what is mended, masked, told and refused stands in the documents and in the card."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from tenet.cli.main import main
from tenet.errors import ConfigError
from tenet.files import read_json, read_jsonl
from tenet.settings.corpus import FiltersConfig, SourceConfig
from tests.tenet.corpus.test_own_text import build, english, kept

GERMAN = (
    "Der Müller ging am frühen Morgen über die alte Brücke und dachte nicht daran, dass der Fluss in der Nacht gestiegen war. "
    "Die Kinder standen schon am Ufer und riefen ihm zu, er solle lieber den anderen Weg nehmen, denn das Holz sei nass. "
)


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    """English texts with a German one, one with an address, one with mojibake, and two of pages on a block list."""
    rows = [{"text": english(f"plain {i}"), "url": f"https://good.example.net/{i}"} for i in range(30)]
    rows.append({"text": GERMAN * 3 + " Nummer eins."})
    rows.append({"text": english("mail") + " Write to jane.miller@lighthouse-harbour.org today."})
    rows.append({"text": english("broken") + " The cafÃ© on the quay was the oldâ€™s best."})
    rows += [{"text": english(f"bad {i}"), "url": f"http://www.spam-casino.com/{i}"} for i in range(2)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "block.txt").write_text("spam-casino.com\n")
    return tmp_path


def test_found_masked_mended_refused(texts: Path) -> None:
    filters = FiltersConfig(languages=("en", "la"), block_urls=(str(texts / "block.txt"),), language="any")
    made = build(texts / "run", texts / "rows.jsonl", filters=filters)
    card = read_json(made / "card.json")
    documents = {d["id"].rpartition(":")[2]: d["text"] for d in kept(made)}
    gone = {row["id"].rpartition(":")[2]: (row["filter"], row["reason"]) for row in read_jsonl(made / "removed.jsonl")}
    assert gone["31"] == ("language", "de") and gone["34"][0] == gone["35"][0] == "address"
    assert "spam-casino.com" in gone["34"][1]
    assert "Write to <EMAIL> today." in documents["32"] and "café on the quay" in documents["33"]
    assert card["personal_data"] == {"rows.jsonl": {"email": 1}} and sum(card["repaired"].values()) >= 1
    fertility = card["fertility"]
    assert set(fertility["by_language"]) == set(card["languages"]["languages"])
    (source,) = fertility["by_source"].values()
    assert 1 < source["bytes_per_token"] < 8 and 0.5 < source["tokens_per_word"] < 8
    assert card["languages"]["of"] == "all" and set(card["languages"]["languages"]) <= {"en", "la"}
    assert all(not key.startswith("_") for d in kept(made) for key in d["metadata"])


def test_personal_data_is_kept_or_its_documents_dropped_by_source(texts: Path) -> None:
    for what in ("keep", "drop"):
        source = SourceConfig("folder", str(texts / "rows.jsonl"), personal=what)  # type: ignore[arg-type]
        made = build(texts / what, texts, sources=(source,))
        there = any("jane.miller@lighthouse-harbour.org" in d["text"] for d in kept(made))
        dropped = [row for row in read_jsonl(made / "removed.jsonl") if row["filter"] == "personal data"]
        assert there == (what == "keep") and [row["reason"] for row in dropped] == (["email"] if what == "drop" else [])


@pytest.mark.parametrize(
    ("filters", "said"),
    [
        (FiltersConfig(refuse_licences=("free",)), "refuse_licences: 'free' is no class"),
        (FiltersConfig(languages=("English",)), "'English' is no language code"),
        (FiltersConfig(allow_urls=("x",)), "name block_urls too"),
        (FiltersConfig(block_urls=("nowhere.txt",)), "'nowhere.txt': no such file"),
        (FiltersConfig(language_model="nowhere.ftz"), "nowhere.ftz'?: no such file"),
        (FiltersConfig(quality_model="nowhere"), "no folder of a trained classifier"),
        (FiltersConfig(quality_threshold=2.0), "must lie between 0 and 1"),
    ],
)
def test_filters_that_cannot_be_are_refused_before_anything_is_read(texts: Path, filters: FiltersConfig, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        build(texts / "run", texts / "rows.jsonl", filters=filters)


def test_a_trained_classifier_and_a_tagger_through_the_stage(
    texts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"text": english(f"good {i}"), "label": "good"} for i in range(60)]
    rows += [
        {"text": f"Click here to win {i} prizes now! Buy cheap pills, casino bonus {i}. " * 6, "label": "bad"} for i in range(60)
    ]
    (tmp_path / "judged.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    tags = [{"text": row["text"], "labels": {"spam": int(row["label"] == "bad")}} for row in rows]
    (tmp_path / "tags.jsonl").write_text("".join(json.dumps(row) + "\n" for row in tags))
    quality, toxic = tmp_path / "models" / "quality", tmp_path / "models" / "toxic"
    assert main(["corpus", "quality", "--labelled", str(tmp_path / "judged.jsonl"), "--out", str(quality)]) == 0
    shown = capsys.readouterr().out
    assert '"auc"' in shown and "what the words of bad texts pull" in shown and "click" in shown
    assert main(["corpus", "toxicity", "--labelled", str(tmp_path / "tags.jsonl"), "--out", str(toxic)]) == 0
    assert main(["corpus", "quality", "--labelled", str(tmp_path / "judged.jsonl"), "--out", str(quality)]) == 2
    spam = "Buy cheap pills and click here for a casino bonus, a prize is there for everybody who clicks now. " * 6
    with open(texts / "rows.jsonl", "a") as file:
        file.write(json.dumps({"text": spam}) + "\n")
    filters = FiltersConfig(quality_model=str(quality), toxicity_model=str(toxic), gopher="off")
    made = build(texts / "run", texts / "rows.jsonl", filters=filters)
    gone = [row for row in read_jsonl(made / "removed.jsonl") if row["filter"] == "classifier"]
    assert [row["id"].rpartition(":")[2] for row in gone] == ["36"] and gone[0]["reason"] == "score below 0.5"
    import pyarrow.parquet as pq

    numbers = {row["id"].rpartition(":")[2]: row for row in pq.read_table(made / "documents" / "numbers.parquet").to_pylist()}
    assert numbers["36"]["score"] < 0.5 < numbers["1"]["score"] and numbers["36"]["toxicity"] > numbers["1"]["toxicity"]


def test_earlier_runs_and_repeated_passages(texts: Path, tmp_path: Path) -> None:
    first = build(texts / "first", texts / "rows.jsonl")
    passage = english("shared", 5)
    folder = tmp_path / "later"
    folder.mkdir()
    for i in range(24):
        (folder / f"{i:02}.txt").write_text(f"{english(f'new {i}', 3)}\n\n{passage}\n\n{english(f'end {i}', 3)}")
    (folder / "old.txt").write_text(english("plain 3"))
    made = build(texts / "second", folder, seen_in=(str(texts / "first"),), passages=50)
    card = read_json(made / "card.json")
    (old,) = [row for row in read_jsonl(made / "removed.jsonl") if row["filter"] == "seen before"]
    assert old["id"] == "later/old.txt" and old["reason"].startswith("seen in run first (document ")
    assert card["passages_cut"]["documents"] == 23 and sum(passage in d["text"] for d in kept(made)) == 1
    assert card["passages_cut"]["characters"] >= 23 * len(passage) and first != made
    with pytest.raises(ConfigError, match=r"corpus\.seen_in: .* holds no seen\.parquet"):
        build(texts / "third", folder, seen_in=(str(folder),))


def test_files_that_filters_name_are_inputs_of_the_run(texts: Path) -> None:
    from tenet.pipeline.chain import chain, input_files
    from tenet.settings.preset import load_preset

    preset = load_preset("tests/presets/smoke.yaml")
    corpus = dataclasses.replace(preset.corpus, filters=FiltersConfig(block_urls=(str(texts / "block.txt"),)))
    named = input_files("corpus", chain(dataclasses.replace(preset, corpus=corpus), None))
    assert [(one.name, one.key) for one in named] == [("block.txt", f"corpus.filters.block_urls: {texts / 'block.txt'}")]


def test_the_limits_for_web_pages_hold_where_they_are_wanted(texts: Path) -> None:
    menu = "\n".join(f"{english(f'menu {i}', 1)[:-1]} more" for i in range(12))  # no line ends as a sentence does
    code = english("code") + " The form {name} is filled in."
    lines = "\n".join([*english("few", 6).replace(". ", ".\n").split("\n"), *(english(f"no {i}", 1)[:-1] for i in range(48))])
    with open(texts / "rows.jsonl", "a") as file:
        file.writelines(json.dumps({"text": text}) + "\n" for text in (menu, code, lines))
    for rules in ((), ("c4", "fineweb")):
        made = build(texts / ("web" if rules else "plain"), texts / "rows.jsonl", filters=FiltersConfig(web_rules=rules))
        gone = {row["id"].rpartition(":")[2]: f"{row['filter']} {row['reason']}" for row in read_jsonl(made / "removed.jsonl")}
        shown = [row["filter"] for row in read_json(made / "card.json")["filters"]]
        assert ("c4" in shown, "fineweb" in shown) == (bool(rules), bool(rules))
        found = [gone.get(number) for number in ("36", "37", "38")]
        expected = ["c4 too_few_sentences", "c4 curly_bracket", "fineweb line_punct_ratio"]
        assert found == (expected if rules else [None] * 3)
