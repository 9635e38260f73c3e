"""A domain's folder is read whole, and whatever is wrong in it is said with the file, the key and the way out."""

from __future__ import annotations

from pathlib import Path

import pytest

from tenet.domains.domain import RowRequest
from tenet.domains.loading import load_code, load_domain
from tenet.errors import ConfigError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A domain that brings one of everything."""
    root = tmp_path / "pumps"
    (root / "documents").mkdir(parents=True)
    (root / "tasks").mkdir()
    for name in ("conversations.jsonl", "constitution.yaml", "goals.yaml", "tasks/quiz.yaml", "documents/a.txt", "README.md"):
        (root / name).write_text("{}\n")
    (root / "rows.py").write_text(
        "def make_rows(request):\n    return {'prompts': [{'id': request.split}]}\n\nVERIFIERS = {'even': len}\n"
    )
    (root / "domain.yaml").write_text(
        "about: pumps\nlicence: MIT\nwords: {section: chapter}\nprompts: rows.py\npreferences: some/data-set\n"
        "sources: [{kind: folder, name: documents}]\nprobe: {question: 'What is a pump?'}\nkey_task: quiz\n"
    )
    return root


def test_every_part_is_resolved(folder: Path) -> None:
    domain = load_domain(str(folder))
    assert (domain.name, domain.words.sections, domain.words.group) == ("pumps", "chapters", "document")
    assert domain.conversations == str(folder / "conversations.jsonl")
    assert (domain.preferences, domain.prompts) == ("some/data-set", "rows.py")
    assert domain.sources[0].name == str(folder / "documents") and domain.sources[0].licence == "MIT"
    assert domain.tasks == (folder / "tasks" / "quiz.yaml",) and domain.goals == folder / "goals.yaml"
    assert load_domain(str(folder / "domain.yaml")) == domain


def test_files_are_all_but_documents_and_readme(folder: Path) -> None:
    names = [path.relative_to(folder).as_posix() for path in load_domain(str(folder)).files()]
    assert names == ["constitution.yaml", "conversations.jsonl", "domain.yaml", "goals.yaml", "rows.py", "tasks/quiz.yaml"]


def test_code_is_imported_from_the_folder(folder: Path) -> None:
    code = load_code(load_domain(str(folder)))
    assert code.make_rows is not None and code.make_rows(RowRequest(split="test")) == {"prompts": [{"id": "test"}]}
    assert set(code.verifiers) == {"even"} and code.make_tables is None


def test_a_key_with_an_empty_text_takes_the_part_out(folder: Path) -> None:
    (folder / "domain.yaml").write_text("conversations: ''\ngoals: ''\n")
    domain = load_domain(str(folder))
    assert domain.conversations == "" and domain.goals is None and domain.constitution is not None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("abuot: pumps", "abuot: unknown key; did you mean 'about'?"),
        ("persona: {nam: x}", "persona.nam: unknown key; did you mean 'name'?"),
        ("licence: 3", "licence: is 3, a int"),
        ("words: chapter", "words: is 'chapter'"),
        ("goals: gols.yaml", "did you mean 'goals.yaml'?"),
        ("conversations: conversation.jsonl", "did you mean 'conversations.jsonl'?"),
        ("sources: [{kind: folder, name: nowhere}]", "sources[0].name: 'nowhere' does not exist"),
        ("sources: [{kind: folder, name: documents, licens: x}]", "sources[0]"),
        ("sources: documents", "sources: is 'documents'"),
        ("tasks: [tasks/quizz.yaml]", "did you mean 'tasks/quiz.yaml'?"),
        ("tasks: [documents]", "tasks[0]: 'documents' is a folder"),
        ("key_task: quitz", "key_task: 'quitz' is none of the domain's tasks; did you mean 'quiz'?"),
        ("probe: {tool: {name: x}}", "probe.tool: is"),
        ("sample_prompts: once", "sample_prompts: is 'once'"),
        ("name: a b", "name: is 'a b'"),
        ("rows: ''\nprompts: rows.py", "prompts: is rows.py, but the folder has none"),
        ("[a, b]", "holds a list"),
        ("a: b: c", "not valid YAML"),
    ],
)
def test_what_is_wrong_is_said_with_the_way_out(folder: Path, text: str, said: str) -> None:
    (folder / "domain.yaml").write_text(text + "\n")
    with pytest.raises(ConfigError) as caught:
        load_domain(str(folder))
    assert str(folder / "domain.yaml") in str(caught.value) and said in str(caught.value)


def test_no_such_domain(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no such domain.*tenet new NAME --documents DIR"):
        load_domain("nowhere")
    with pytest.raises(ConfigError, match=r"the folder has no domain\.yaml"):
        load_domain(str(tmp_path))


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import nothing_of_that_name", "cannot be imported (ModuleNotFoundError"),
        ("make_rows = 3", "make_rows is a int; it must be a function"),
        ("x = 1", "has no function make_rows"),
        ("def make_rows(r): ...\nVERIFIERS = [1]", "VERIFIERS must be a dictionary"),
    ],
)
def test_broken_code_is_named(folder: Path, code: str, said: str) -> None:
    (folder / "rows.py").write_text(code + "\n")
    with pytest.raises(ConfigError) as caught:
        load_code(load_domain(str(folder)))
    assert str(folder / "rows.py") in str(caught.value) and said in str(caught.value)
