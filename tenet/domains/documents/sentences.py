"""Plain text out of marked-up text, sentences out of plain text, and which language it is."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

_ROLE = re.compile(r":[\w:.+-]+:`~?!?([^`<]+?)(?:\s*<[^`>]*>)?`")
_RST_LINK = re.compile(r"`([^`<]+?)\s*<[^`>]+>`__?|`([^`]+)`__?(?!\w)")
_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)|!?\[([^\]]+)\]\[[^\]]*\]")
_CODE = re.compile(r"(`{1,2})([^`]+)\1")
#: Not two underscores: `__init__` is a name.
_EMPHASIS = re.compile(r"(?<![\w*])(\*{1,3})(?=\S)(.+?)(?<=\S)\1(?![\w*])|(?<!\w)_(?![_\s])([^_]+?)(?<!\s)_(?!\w)")
_TAG = re.compile(r"</?[a-zA-Z][^<>]*>")
_FOOTNOTE = re.compile(r"\s*\[(?:\d+|#\w*|\^\w+)\]_?")
_SPACE = re.compile(r"\s+")
_ABBREVIATIONS = (
    "e.g", "i.e", "vs", "etc", "cf", "no", "vol", "fig", "figs", "eq", "dr", "mr", "mrs", "ms", "prof", "st", "rev", "hon", "gen", "col",
    "capt", "lieut", "inc", "ltd", "jr", "sr", "ca", "approx", "al", "pp", "p", "ch", "sec", "z.b", "d.h", "bzw", "usw", "ca", "nr", "bl",
)  # fmt: skip
_INITIALS = re.compile(r"(?:[^\W\d_]\.)*[^\W\d_]")
_END = re.compile(r"[.!?…]+[\"'”’)\]]*(?=\s+[\"'“‘(\[]*[^\W_a-z]|\s*$)|[。！？]")
#: The most common words of a language, none of which is common in another of the list.
_COMMON = {
    "en": "the of and to in is that it was for with as his he be on by this which have from not are",
    "de": "der die und das den von zu ist mit sich auf für nicht ein eine als auch dem werden aus",
    "fr": "le la les des et est une dans que qui pour pas au sur par il ne plus avec ce",
    "es": "el los las y del que en una por con para su al lo como más pero sus se es",
    "it": "il di che è della per una sono con non nel gli dei alla anche più delle lo ha come",
    "pt": "o os as do da dos que não uma em para com por mais como foi ao são na no",
    "nl": "het een van en dat niet op te zijn met voor er aan ook als door maar naar bij om",
    "sv": "och att det som en på är av för med till den har de inte om ett men var jag",
    "pl": "w i na się nie z do to że jest jak o po co ale za od przez tak dla",
    "tr": "ve bir bu da için ile de olarak çok daha olan gibi kadar ne her sonra en ama o var",
}
_STOP = {language: frozenset(words.split()) for language, words in _COMMON.items()}
_LETTERS = re.compile(r"[^\W\d_]+")


def clean(text: str) -> str:
    """The text without the marks of Markdown and reStructuredText, on one line."""
    text = _LINK.sub(lambda m: m.group(1) or m.group(2) or "", _ROLE.sub(r"\1", text))
    text = _RST_LINK.sub(lambda m: m.group(1) or m.group(2), text)
    codes = [code.group(2) for code in _CODE.finditer(text)]
    # What stands in code is meant as it is; a mark that no text has keeps its place.
    text = _without_marks(_CODE.sub("\x00", text))
    for code in codes:
        text = text.replace("\x00", code, 1)
    return _SPACE.sub(" ", text.replace("\\*", "*").replace("\\_", "_").replace("::", ":")).strip()


def _without_marks(text: str) -> str:
    for _ in range(2):  # bold inside italics
        text = _EMPHASIS.sub(lambda m: m.group(2) or m.group(3), text)
    return _FOOTNOTE.sub("", _TAG.sub("", text))


def sentences(text: str) -> list[str]:
    """Sentences of one paragraph, each with its final mark; what has none (a heading, half a line) is the last one,
    without."""
    found, start = [], 0
    for match in _END.finditer(text):
        word = re.split(r"[\s(\[\"“]", text[start : match.start()])[-1].lower()
        initial = bool(_INITIALS.fullmatch(word)) and text[match.start() - 1].isupper()
        if match.group().startswith(".") and (word in _ABBREVIATIONS or initial) and match.end() < len(text):
            continue
        found.append(text[start : match.end()].strip())
        start = match.end()
    rest = text[start:].strip()
    return [sentence for sentence in [*found, rest] if sentence]


def is_whole(sentence: str) -> bool:
    """Does it begin and end like a sentence, with every bracket and quotation mark closed?"""
    if not sentence or not sentence.endswith((".", "!", "?", "。", "！", "？", '."', ".”", '!"', "!”", '?"', "?”", ".)")):
        return False
    first = sentence.lstrip("\"'“‘([*")[:1]
    balanced = all(sentence.count(a) == sentence.count(b) for a, b in ("()", "[]", "“”", "{}")) and sentence.count('"') % 2 == 0
    return balanced and bool(first) and not first.islower() and "..." not in sentence and "  " not in sentence


def words_of(text: str) -> list[str]:
    """Words in lower case."""
    return [word.lower() for word in _LETTERS.findall(text)]


def language_of(texts: Iterable[str]) -> str:
    """Code of the language whose common words are most of the text's, or "und" where none is near."""
    counts = Counter(word for text in texts for word in words_of(text[:20_000]))
    total = sum(counts.values())
    shares = {language: sum(counts[word] for word in words) / max(total, 1) for language, words in _STOP.items()}
    best = max(shares, key=lambda language: shares[language])
    return best if shares[best] >= 0.12 else "und"


def stop_words(language: str) -> frozenset[str]:
    """Words that say nothing about a subject."""
    return _STOP.get(language, frozenset())
