"""What kind of text a document is, where its source does not say: prose, dialogue, source (code) or a table.

Each kind has its own limits (`thresholds.py`). The numbers were set on novels, plays, treatises, textbooks and the
source files of installed packages; a reference page is not told from prose by its letters, so `reference` is said by
the source alone.
"""

from __future__ import annotations

from collections.abc import Mapping

#: Share from which a kind is taken: of paragraphs that begin with speech, of lines that begin with a speaker's name, of
#: lines in columns.
SPEECH, SPEAKERS, COLUMNS = 0.25, 0.15, 0.5
#: Code: brackets and operators among the characters, either so many of them, or some and lines that end as statements.
SIGNS, SOME_SIGNS, STATEMENTS = 0.075, 0.03, 0.35
#: Below so many words nothing is told.
FEWEST_WORDS = 12


def kind_of_text(text: str, statistics: Mapping[str, float]) -> str:
    """prose, dialogue, source or table.

    Args:
        text: of the document; an empty one is prose.
        statistics: its numbers.
    """
    if not text.strip() or statistics["signed_words"] < FEWEST_WORDS:
        return "prose"
    if statistics["column_lines"] >= COLUMNS:
        return "table"
    signs = statistics["code_signs"]
    if signs >= SIGNS or (signs >= SOME_SIGNS and statistics["code_ends"] >= STATEMENTS):
        return "source"
    if statistics["speech_paragraphs"] >= SPEECH or statistics["speaker_lines"] >= SPEAKERS:
        return "dialogue"
    return "prose"
