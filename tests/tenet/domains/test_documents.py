"""Rows from documents: what they say is in the documents, where they say it is, and one string is right where they say
so."""

from __future__ import annotations

from typing import Any

import pytest

from tenet.domains.documents.library import Library, read_library
from tenet.domains.documents.pairs import Pairs
from tenet.domains.documents.recipes import Persona, Recipes
from tenet.domains.documents.sections import parse
from tenet.domains.documents.sentences import clean, is_whole, language_of, sentences, words_of
from tenet.verifiers import read_verifier, verify
from tests.tenet.domains.texts import MARKDOWN, PLANTS, RST, garden

Row = dict[str, Any]


def document(text: str, group: str, number: int = 1) -> Row:
    name = f"set/{group}" + (f"#{number}" if number > 1 else "")
    return {"text": text, "id": name, "metadata": {"group": group, "source": "set", "licence": "MIT"}}


@pytest.fixture(scope="module")
def library() -> Library:
    return read_library([document(garden(plant), f"{plant}.md") for plant in PLANTS] + [document(MARKDOWN, "pumps.md")])


@pytest.fixture(scope="module")
def recipes(library: Library) -> Recipes:
    return Recipes(library, Persona("Pat", "the garden books"), 0, "MIT")


def texts(library: Library) -> str:
    return " ".join(clean(line) for book in library.books for line in book.text.split("\n"))


# --- sections -----------------------------------------------------------------------------------------------------------


def test_markdown_is_taken_apart() -> None:
    title, sections = parse(MARKDOWN.replace("# Not a", "## Not a"))
    assert title == "The pump station"
    assert [section.title for section in sections] == [
        "", "The pump station", "The main pump", "The valve", "Not a heading of level two (it ends with words)",
    ]  # fmt: skip
    pump, valve = sections[2], sections[3]
    assert pump.path == ("The pump station",) and pump.code == [("sh", "pumpctl start main")] and pump.marked == ["seven blades"]
    assert valve.tables[0].columns == ("part", "material") and valve.tables[0].rows == (("seat", "brass"), ("flap", "rubber"))
    assert pump.sentences()[1] == "Its wheel has seven blades of bronze."


def test_restructuredtext_is_taken_apart() -> None:
    title, sections = parse(RST)
    assert title == "The 'with' statement" and [s.title for s in sections[1:]] == ["The 'with' statement", "Nested blocks"]
    assert sections[2].path == ("The 'with' statement",)
    assert sections[2].code[0][1].strip().startswith("with a() as x")
    assert sections[2].sentences()[-1] == "See the language reference for more."


@pytest.mark.parametrize(
    ("heading", "level"),
    [
        ("CHAPTER IV. Of Whales", 2),
        ("BOOK THE FIRST", 1),
        ("XIV", 3),
        ("2.1 Motion in a line", 2),
        ("OF THE DIVISION OF LABOUR", 2),
    ],
)
def test_headings_of_plain_text(heading: str, level: int) -> None:
    _, sections = parse(f"Some words before.\n\n{heading}\n\nThe text of the chapter stands here.\n")
    assert [(s.title.rstrip("."), s.level) for s in sections[1:]] == [(heading, level)]


@pytest.mark.parametrize("line", ["It was late.", "3. wash the hands", "NO!", "| a | b |", "- a list", "    indented code"])
def test_what_is_no_heading(line: str) -> None:
    assert len(parse(f"Some words before.\n\n{line}\n\nMore words.\n")[1]) == 1


def test_a_heading_inside_a_code_block_is_code() -> None:
    assert [s.title for s in parse("# One\n\nText.\n\n```sh\n# Two\n```\n\n# Three\n\nText.\n")[1]] == ["", "One", "Three"]


# --- sentences ----------------------------------------------------------------------------------------------------------


def test_sentences_end_where_they_end() -> None:
    text = "On board H.M.S. Beagle, Mr. Darwin wrote (e.g. at night). Was it dark? It was 3.5 m wide. New in version 3.5."
    assert sentences(text) == [
        "On board H.M.S. Beagle, Mr. Darwin wrote (e.g. at night).", "Was it dark?", "It was 3.5 m wide.", "New in version 3.5.",
    ]  # fmt: skip


def test_marks_go_and_code_stays() -> None:
    assert clean("Use **`<b>`** and `__init__` of [the *page*](http://x), see :func:`os.path`.") == (
        "Use <b> and __init__ of the page, see os.path."
    )
    assert is_whole("It closes.") and not is_whole("it closes.") and not is_whole("As follows:") and not is_whole("It (closes.")


def test_languages() -> None:
    assert language_of(["The pump lifts the water of the river and it is not for the town."]) == "en"
    assert language_of(["Die Pumpe hebt das Wasser aus dem Fluss und ist nicht für die Stadt."]) == "de"
    assert language_of(["xxx yyy zzz"]) == "und"


# --- rows ---------------------------------------------------------------------------------------------------------------


def test_every_kind_is_made(recipes: Recipes) -> None:
    kinds = {row["kind"] for row in recipes.conversations()}
    assert kinds == {
        "describe",
        "define",
        "where",
        "which",
        "section",
        "read",
        "form",
        "word",
        "term",
        "example",
        "cell",
        "turns",
        "identity",
        "next",
    }


def test_answers_stand_in_the_documents(library: Library, recipes: Recipes) -> None:
    everything = texts(library)
    titles = {entry.title for entry in library.entries} | {book.title for book in library.books}
    for row in recipes.conversations():
        answer = row["messages"][-1]["content"]
        if row["kind"] in ("where", "section", "which", "turns"):
            assert answer in titles, row
        elif row["kind"] not in ("identity", "example"):
            assert answer in everything, row


def test_exact_rows_have_one_right_answer(library: Library, recipes: Recipes) -> None:
    """The title is that of the only section with the term; the missing word makes the sentence that stands in the
    document."""
    by_title = {(library.book(entry).group, entry.title): entry for entry in library.entries}
    everything, checked = texts(library), set()
    for row in recipes.conversations():
        question, answer = row["messages"][0]["content"], row["messages"][-1]["content"]
        if row["kind"] == "where":
            term = question.split('"')[1].lower()
            having = [
                title
                for (group, title), entry in by_title.items()
                if group == row["group"] and term in entry.section.text.lower()
            ]
            assert having == [answer] and "exact" not in row
        elif row["kind"] == "word":
            sentence = max(question.split('"'), key=len)
            assert sentence.replace("____", answer) in everything and question.count(f'"{answer}"') == 1 and row["exact"]
        elif row["kind"] == "section":
            assert question.count(f'"{answer}"') == 1 and row["exact"]
        elif row["kind"] == "read":
            passage, word = sorted(question.split('"')[1::2], key=len, reverse=True)
            having = [one for one in sentences(passage) if word.lower() in words_of(one)]
            assert having == [answer] and row["exact"]
        elif row["kind"] in ("describe", "define", "next", "which", "cell", "turns", "form"):
            assert "exact" not in row
        checked.add(row["kind"])
    assert {"where", "word", "section", "read", "form"} <= checked


def test_rows_are_in_the_contract(recipes: Recipes) -> None:
    for rows in (recipes.conversations(), Pairs(recipes.library, 0, "MIT").preferences(), recipes.prompts()):
        assert rows and len({row["id"] for row in rows}) == len(rows)
        for row in rows:
            assert row["group"] and row["licence"] and "source" in row and isinstance(row["documents"], list)
            assert row["kind"] == "identity" or row["documents"]


def test_exact_answers_stand_in_their_questions(recipes: Recipes) -> None:
    """What training has not seen can only be answered from the question."""
    rows = [row for row in recipes.conversations() if row.get("exact")]
    kinds = {row["kind"] for row in rows}
    assert kinds == {"section", "read", "word", "term"}
    for row in rows:
        assert row["messages"][-1]["content"] in row["messages"][-2]["content"], row


def test_preferences_cannot_be_won_by_length(library: Library) -> None:
    rows = Pairs(library, 0, "MIT").preferences()
    longer = sum(len(row["chosen"][0]["content"]) > len(row["rejected"][0]["content"]) for row in rows)
    assert longer * 2 == len(rows) and all(row["chosen"] != row["rejected"] for row in rows)
    assert {row["kind"] for row in rows} == {"closest", "random", "elsewhere", "cut", "unlisted", "next"}
    for row in rows:
        question, right, wrong = (row[part][0]["content"] for part in ("prompt", "chosen", "rejected"))
        if row["kind"] == "cut":
            assert is_whole(right) and not is_whole(wrong), row
        elif row["kind"] == "unlisted":
            assert f'"{right}"' in question and f'"{wrong}"' not in question, row


def test_prompts_accept_their_answer_and_no_other_option(recipes: Recipes) -> None:
    for row in recipes.prompts():
        row = {**row, "verifier": read_verifier(row["verifier"], row)}
        if row["kind"] == "form":
            continue
        assert verify(row, row["answer"] + ".").score == 1.0 and verify(row, "something else").score == 0.0
        assert row["answer"] in row["prompt"][0]["content"]


def test_a_form_accepts_what_it_asks_for(recipes: Recipes) -> None:
    sentence, words = "It is pruned in winter, by hand.", "One two three"
    asked = {row["prompt"][0]["content"].partition(":")[0]: row for row in recipes.prompts() if row["kind"] == "form"}
    assert set(asked) == {"In one sentence", "In at most six words"}
    for form, good, bad in (
        ("In one sentence", sentence, ("no end", f"{sentence} {sentence}", "Short.")),
        ("In at most six words", words, ("", f"{words} {words} seven", "a  b")),
    ):
        row = {**asked[form], "verifier": read_verifier(asked[form]["verifier"], asked[form])}
        assert verify(row, good).score == 1.0 and [verify(row, text).score for text in bad] == [0.0] * len(bad)


def test_seeds_and_bytes(library: Library, recipes: Recipes) -> None:
    again = Recipes(library, Persona("Pat", "the garden books"), 0, "MIT").conversations()
    other = Recipes(library, Persona("Pat", "the garden books"), 1, "MIT").conversations()
    assert again == recipes.conversations() and other != again


def test_pieces_of_one_group_are_one_document() -> None:
    text = garden("apple")
    cut = text.index("## Harvest")
    library = read_library([document(text[:cut], "a.md"), document(text[cut:], "a.md", 2)])
    assert len(library.books) == 1 and library.books[0].title == "The apple book"
    by_title = {entry.title: entry for entry in library.entries}
    assert by_title["Sowing of apple"].pieces == ("set/a.md",) and by_title["Harvest of apple"].pieces == ("set/a.md#2",)


def test_two_documents_of_one_name_are_told_apart() -> None:
    library = read_library([document(garden("apple"), "a/x.md"), document(garden("apple"), "b/x.md")])
    assert [book.title for book in library.books] == ["The apple book (a/x.md)", "The apple book (b/x.md)"]
    assert library.renamed == ["The apple book"]
    rows = Recipes(library, Persona("P", "q"), 0, "").conversations()
    assert not [row for row in rows if row["kind"] == "which"]  # no section has one document


def test_another_language_is_asked_in_its_own_words() -> None:
    german = "# Die Pumpe\n\n## Der Antrieb\n\nDer Antrieb der Pumpe ist ein Motor mit zwei Wellen aus Stahl. Er wird von der Werkstatt gewartet.\n"
    german += "\n## Das Ventil\n\nDas Ventil ist mit einer Klappe aus Gummi versehen und schließt nicht immer dicht. Es wird jeden Montag geprüft.\n"
    library = read_library([document(german, "p.md")])
    assert library.language == "de"
    recipes = Recipes(library, Persona("P", "q"), 0, "")
    rows = recipes.conversations()
    assert {row["kind"] for row in rows} == {"describe", "word"}
    first = next(row for row in rows if row["kind"] == "describe")
    assert first["messages"][0]["content"].endswith("?") and "section" not in first["messages"][0]["content"]


def test_a_novel_without_headings_gives_rows_of_sentences() -> None:
    things = ("harbour", "lantern", "compass", "mountain", "curtain", "garden", "kitchen", "village")
    text = " ".join(f"Captain number {i} watched the silent {things[i % 8]} until evening came to ship {i}." for i in range(40))
    library = read_library([document(text, "novel.txt")])
    recipes = Recipes(library, Persona("P", "q"), 0, "")
    kinds = {row["kind"] for row in recipes.conversations()}
    assert {"word", "next"} <= kinds and not kinds & {"where", "section", "which"}
    assert {row["kind"] for row in Pairs(library, 0, "").preferences()} == {"next", "cut", "unlisted"}
