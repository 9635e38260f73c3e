"""Evaluation tasks over the held-out rows of a domain made from documents, as YAML."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

#: Fewer rows than this in all leave too few held-out ones to count.
FEWEST = 60
_KINDS = {"name_the_section": ("section",), "missing_word": ("word",), "find_the_sentence": ("read",)}

FIRST_SENTENCE = """# Which first sentence is that of the section? The wrong ones begin other sections of the same document; documents that training has not seen.
version: 1
about: first sentence of a section against those of its siblings, held-out {groups}
kind: choice
data: corpus:preferences/test.jsonl
licence: {licence}
where: kind in ('closest', 'random')
id: id
cluster: group
prompt: prompt
answer: chosen[0].content
pool: "[chosen[0].content, rejected[0].content]"
options: 3
separator: ""
metric: acc_norm
"""
_EXACT = """# {comment}
version: 1
about: {about}, held-out {{groups}}
kind: generate
data: corpus:instructions/test.jsonl
licence: {{licence}}
where: kind in {kinds}
id: id
cluster: group
prompt: messages[:-1]
answer: messages[-1].content
metric: exact_match
baseline: 0.0
"""
EXACT = {
    "name_the_section": _EXACT.format(
        comment="The section that a sentence is from; three are named and one of them is right.",
        about="the section of a sentence, of three",
        kinds="('section',)",
    ),
    "missing_word": _EXACT.format(
        comment="The word that is missing from a sentence; three are named and one of them stood there.",
        about="the missing word of three",
        kinds="('word',)",
    ),
    "find_the_sentence": _EXACT.format(
        comment="The one of two or three sentences that has a word in it: reading, since the passage stands in the question.",
        about="the sentence with a word, of a passage",
        kinds="('read',)",
    ),
}


def task_files(
    conversations: Sequence[dict[str, Any]], preferences: Sequence[dict[str, Any]], groups: str, licence: str
) -> dict[str, str]:
    """Name -> YAML of each task that there are rows for, the most telling one first."""
    counts = Counter(row["kind"] for row in conversations)
    found = {name: text for name, text in EXACT.items() if sum(counts[kind] for kind in _KINDS[name]) >= FEWEST}
    if sum(row["kind"] in ("closest", "random") for row in preferences) >= FEWEST:
        found["first_sentence"] = FIRST_SENTENCE
    return {name: text.format(groups=groups, licence=licence) for name, text in found.items()}
