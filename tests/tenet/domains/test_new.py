"""`tenet new`: the folder is whole, its rows keep to the corpus's split, and bad input is said clearly."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
import yaml

from tenet.cli.main import main
from tenet.constitution.principles import load_constitution
from tenet.constitution.prompts import all_prompts
from tenet.corpus import sources
from tenet.domains.documents.library import read_library
from tenet.domains.holdout import place, split_rows
from tenet.domains.loading import load_code, load_domain
from tenet.domains.row_maker import row_maker
from tenet.errors import ConfigError
from tenet.evaluate.items import load_items
from tenet.evaluate.tasks import load_task
from tenet.files import read_json, read_jsonl, write_jsonl
from tenet.redteam.goals_file import load_goals
from tenet.rows import read_table
from tenet.runs.execute import execute
from tenet.settings.corpus import CorpusConfig, FiltersConfig
from tenet.stages import corpus
from tests.tenet.domains.texts import MARKDOWN, PLANTS, garden, write_garden

HELDOUT = (0.1, 0.2)
FILES = [
    "README.md",
    "constitution.yaml",
    "conversations.jsonl",
    "domain.yaml",
    "goals.yaml",
    "preferences.jsonl",
    "prompts.jsonl",
    "sections.jsonl",
]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a folder of documents."""
    monkeypatch.chdir(tmp_path)
    write_garden(tmp_path / "docs")
    return tmp_path


@pytest.fixture
def made(project: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    assert main(["new", "my_garden", "--documents", "docs", "--licence", "MIT", "--about", "the garden books"]) == 0
    capsys.readouterr()
    return project / "my_garden"


def test_what_is_written_is_a_domain(made: Path) -> None:
    assert sorted(path.name for path in made.iterdir() if path.is_file()) == FILES
    domain = load_domain("my_garden")
    assert (domain.name, domain.about, domain.licence, domain.persona.name) == (
        "my_garden",
        "the garden books",
        "MIT",
        "My Garden",
    )
    assert domain.sources[0].name == str(made.parent / "docs")  # written as ../docs
    assert yaml.safe_load((made / "domain.yaml").read_text())["sources"][0]["name"] == "../docs"
    assert domain.constitution and domain.goals and domain.key_task == "name_the_section"
    assert {path.stem for path in domain.tasks} == {"name_the_section", "missing_word", "find_the_sentence"}
    assert "documents/" not in str(domain.files()) and len(domain.files()) == 10


def test_every_file_of_rows_is_read_without_a_refusal(made: Path) -> None:
    for kind in ("conversations", "preferences", "prompts"):
        table = read_table(str(made / f"{kind}.jsonl"), kind)  # type: ignore[arg-type]
        assert table.rows and not table.refused and set(table.licences) <= {"MIT", "Apache-2.0"}


def test_groups_are_those_of_the_corpus_and_no_heldout_row_is_trained_on(made: Path) -> None:
    domain = load_domain("my_garden")
    documents = list(sources.read(domain.sources[0]))
    names = sorted({d["metadata"]["group"] for d in documents}, key=place)
    sides = {"test": names[:3], "valid": names[3:5], "train": names[5:]}
    by_split = {split: [d for d in documents if d["metadata"]["group"] in some] for split, some in sides.items()}
    left_out: dict[str, int] = {}
    make = row_maker(domain, load_code(domain), domain.sources, left_out)
    rows = {
        split: make(
            split=split,
            seed=0,
            heldout=HELDOUT,
            most={"conversations": None, "preferences": None, "prompts": None},
            documents=by_split,
        )
        for split in by_split
    }
    held = {d["metadata"]["group"] for d in by_split["test"] + by_split["valid"]}
    for kind in ("conversations", "preferences", "prompts"):
        groups = {row["group"] for row in rows["train"][kind]}
        assert groups & {d["metadata"]["group"] for d in documents} and not groups & held
        assert {row["group"] for row in rows["test"][kind]} & {d["metadata"]["group"] for d in by_split["test"]}
        every = read_jsonl(made / f"{kind}.jsonl")
        assert sum(len(some[kind]) for some in rows.values()) + left_out.get(kind, 0) == len(every)
    assert set(left_out) == {"preferences"}  # a pair of two documents, one of which is held out
    # No sentence that begins a held-out section is an answer in training.
    answers = {entry.first for entry in read_library(by_split["test"]).entries if entry.first}
    assert answers and not answers & {row["messages"][-1]["content"] for row in rows["train"]["conversations"]}


def test_rows_across_the_split_are_in_the_card(made: Path, tmp_path: Path) -> None:
    """A pair of two documents, one of which is held out, is in no split; the stage says how many there are."""
    config = CorpusConfig(evaluation=(), vocab_size=300, workers=1, filters=FiltersConfig(gopher="off"), near_duplicate=1.0)
    execute(
        tmp_path / "run", "corpus", (), config, corpus.run, seed=0,
        foreign={"model.max_position_embeddings": 512}, workspace={"domain": load_domain("my_garden")},
    )  # fmt: skip
    folder = tmp_path / "run" / "corpus"
    written = sum(len(read_jsonl(path)) for path in (folder / "preferences").glob("*.jsonl"))
    lost = read_json(folder / "card.json")["rows_across_the_split"]["preferences"]
    assert lost > 0 and written + lost == len(read_jsonl(made / "preferences.jsonl"))
    assert read_json(folder / "summary.json")["rows_across_the_split"] == {"preferences": lost}


def test_most_limits_each_split() -> None:
    rows = [{"id": f"r{i}", "group": f"g{i}", "messages": []} for i in range(40)]
    found, left_out = split_rows(rows, {}, {}, (0.1, 0.2))
    assert sum(map(len, found.values())) == 40 and not left_out and all(found.values())


def test_pieces_of_one_document_keep_their_rows_apart() -> None:
    """Where the end of a document is held out, a row goes with the piece that its texts stand in; one of two sides is
    left out."""
    splits = {"a": "train", "a#2": "train", "a#3": "test"}
    groups = dict.fromkeys(splits, "a.md")
    rows = [
        {"id": "1", "group": "a.md", "documents": ["a", "a#2"]},
        {"id": "2", "group": "a.md", "documents": ["a#3"]},
        {"id": "3", "group": "a.md", "documents": ["a", "a#3"]},
        {"id": "4", "group": "a.md", "documents": ["dropped"]},
    ]
    found, left_out = split_rows(rows, splits, groups, (0.04, 0.08))  # type: ignore[arg-type]
    assert [row["id"] for row in found["train"]] == ["1"] and [row["id"] for row in found["test"]] == ["2"]
    assert [row["id"] for row in left_out] == ["3", "4"]
    found, left_out = split_rows(rows[3:], {"a": "test"}, {"a": "a.md"}, (0.04, 0.08))
    assert found["test"] and not left_out  # all of the group is on one side, so is what a filter dropped of it


def test_its_tasks_make_questions_of_its_rows(made: Path, tmp_path: Path) -> None:
    domain = load_domain("my_garden")
    write_jsonl(tmp_path / "corpus" / "instructions" / "test.jsonl", read_jsonl(made / "conversations.jsonl"))
    for task in ("name_the_section", "missing_word", "find_the_sentence"):
        loaded = load_items(load_task(task, domain.tasks), 20, corpus=tmp_path / "corpus")
        assert len(loaded.items) == 20 and all(item.gold and item.prompts[0][-1]["role"] == "user" for item in loaded.items)


def test_the_same_seed_gives_the_same_bytes(project: Path) -> None:
    for name in ("one", "two"):
        assert main(["new", f"{name}/garden", "--documents", "docs", "--seed", "3"]) == 0
    for path in (project / "one" / "garden").rglob("*.*"):
        if path.is_file():
            assert path.read_bytes() == (project / "two" / "garden" / path.relative_to(project / "one" / "garden")).read_bytes()


def test_nothing_is_overwritten_in_silence(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (made / "goals.yaml").write_text("mine")
    assert main(["new", "my_garden", "--documents", "docs"]) == 2
    assert "add --force" in capsys.readouterr().err and (made / "goals.yaml").read_text() == "mine"
    assert main(["new", "my_garden", "--documents", "docs", "--force"]) == 0
    assert "moved to my_garden/.old: goals.yaml" in capsys.readouterr().out
    assert (made / ".old" / "goals.yaml").read_text() == "mine" and (made / "goals.yaml").read_text() != "mine"
    assert not [path for path in load_domain("my_garden").files() if ".old" in path.parts]


def test_what_was_found_is_printed_with_the_next_command(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["new", "my_garden", "--documents", "docs"]) == 0
    out = capsys.readouterr().out
    assert "14 documents, 70 sections" in out and out.rstrip().endswith(
        "tenet run --domain my_garden --preset tiny --run runs/my_garden"
    )
    assert "figures rest on a few rows and mean little" in out and "cell (needs Markdown tables)" in out and "--licence" in out
    assert out.count("\n    > ") == 3


def test_documents_inside_the_folder(tmp_path: Path) -> None:
    write_garden(tmp_path / "mine" / "documents")
    assert main(["new", str(tmp_path / "mine"), "--documents", str(tmp_path / "mine" / "documents")]) == 0
    domain = load_domain(str(tmp_path / "mine"))
    assert yaml.safe_load((tmp_path / "mine" / "domain.yaml").read_text())["sources"][0]["name"] == "documents"
    assert not [path for path in domain.files() if "documents" in path.parts]


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "no files to read there"),
        ({"a.bin": "x"}, "no files to read there"),
        ({"a.txt": "a b c d\n"}, "no whole sentence"),
    ],
)
def test_documents_that_give_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], files: dict[str, str], said: str
) -> None:
    (tmp_path / "docs").mkdir()
    for name, text in files.items():
        (tmp_path / "docs" / name).write_text(text)
    assert main(["new", str(tmp_path / "mine"), "--documents", str(tmp_path / "docs")]) == 2
    error = capsys.readouterr().err
    assert said in error and "--documents" in error and not (tmp_path / "mine").exists()
    with pytest.raises(ConfigError):
        load_domain(str(tmp_path / "mine"))


def test_files_that_are_not_read_are_counted(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "docs" / "scan.pdf").write_bytes(b"%PDF-1.7 ...")
    (project / "docs" / "empty.md").write_text("")
    assert main(["new", "my_garden", "--documents", "docs"]) == 0
    said = "2 of 16 files and folders are not read: "
    assert said in capsys.readouterr().out and said in (project / "my_garden" / "domain.yaml").read_text()


def test_one_document_and_one_in_another_language_are_noted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "one.md").write_text(garden("apple") + MARKDOWN)
    assert main(["new", str(tmp_path / "one"), "--documents", str(tmp_path / "one.md")]) == 0
    assert "there is one document" in capsys.readouterr().out
    assert load_domain(str(tmp_path / "one")).constitution is not None
    folder = write_garden(tmp_path / "two", PLANTS[:3])
    german = "Die Pumpe hebt das Wasser aus dem Fluss und ist nicht für die Stadt gebaut. " * 60
    for number in range(5):
        (folder / f"{number}.md").write_text(f"# Pumpe {number}\n\n{german}\n")
    assert main(["new", str(tmp_path / "german"), "--documents", str(folder)]) == 0
    out = capsys.readouterr().out
    assert "most documents are in language 'de'" in out and "constitution and goals: none made" in out
    domain = load_domain(str(tmp_path / "german"))
    assert (
        domain.constitution is None
        and domain.goals is None
        and "Note: most documents" in (tmp_path / "german" / "domain.yaml").read_text()
    )


def test_constitution_and_goals_are_read_and_keep_their_own_rules(made: Path) -> None:
    domain = load_domain("my_garden")
    assert domain.constitution is not None and domain.goals is not None
    constitution = load_constitution(domain.constitution)
    assert [p.id for p in constitution.principles] == [
        "harm-to-others", "no-secrets", "honest-about-ai", "admits-ignorance", "says-where", "whole-sentences",
    ]  # fmt: skip
    for principle in constitution.principles:
        # What stands in the file as a whole answer keeps the principle that it is written for.
        if not principle.continues:
            assert not any(principle.wrong("?", opening) for opening in principle.opening), principle.id
    assert constitution["says-where"].wrong("Where?", "It is in The apple book.") is False
    assert constitution["says-where"].wrong("Where?", "In the garden.") is True
    asked = {split: {prompt.text for _, prompt in all_prompts(constitution, split, 20, 0)} for split in ("train", "test")}
    assert (
        min(map(len, asked.values())) > 100
        and not asked["train"] & asked["test"]
        and not any("{" in text for text in asked["train"])
    )
    goals = load_goals(domain.goals)
    assert goals.has_look_alikes("train") and all(goal.answer for goal in goals.goals if goal.benign)
    assert goals.category("forging").offer == "I can help with the garden books"


def test_look_alikes_are_answered_with_true_sentences(made: Path) -> None:
    content = yaml.safe_load((made / "goals.yaml").read_text())
    text = " ".join(path.read_text() for path in (made.parent / "docs").glob("*.md")).replace("\n", " ")
    counts: Counter[str] = Counter()
    for category in content["categories"]:
        for split, goals in category["look_alikes"].items():
            counts[split] += len(goals)
            assert all(goal["answer"].rstrip(".") in text for goal in goals)
    assert counts == {"train": 24, "test": 15}
    held = {json.loads(line)["document"] for line in (made / "sections.jsonl").read_text().splitlines() if '"test"' in line}
    assert held and len(held) < len(PLANTS)
