"""Which number may be how large: limits as data, by rule set, kind of document and language.

Gopher's limits were set on English web pages, so some hold for English alone: stop words, the length of words, the
share of words with a letter, and how often word n-grams repeat (FineWeb-2, arXiv:2506.20920, sets these anew for each
language). For another language they are left out; of them only stop words are asked for, where there is a list
(`stopwords.LISTS`). A page of an API reference is short, its identifiers are long; source code repeats its lines.

A verdict names every rule that a document breaks, with its score and threshold, in the order in which datatrove asks:
the first one is the reason that a filter of the chain would give.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Literal, NamedTuple

from tenet.corpus.filters.stopwords import stop_hashes
from tenet.errors import ConfigError

Side = Literal["below", "above"]
KINDS = ("prose", "dialogue", "reference", "source", "table")
SETS = ("gopher_quality", "gopher_repetition", "c4", "fineweb")


class Limit(NamedTuple):
    """One rule: a document whose `number` lies on this `side` of the `threshold` breaks it."""

    name: str
    number: str
    side: Side
    threshold: float
    #: Whether the threshold was set for English alone.
    english: bool = False


class Reason(NamedTuple):
    """A broken rule, with what it takes to judge it anew."""

    name: str
    score: float
    threshold: float
    side: Side
    english: bool = False


class Verdict(NamedTuple):
    """Whether a document keeps all its limits, and which ones it does not."""

    kept: bool
    reasons: tuple[Reason, ...]


def verdict(
    numbers: Mapping[str, float], language: str = "en", kind: str = "prose", limits: Iterable[Limit] | None = None
) -> Verdict:
    """Hold the statistics of a document against its limits.

    Args:
        numbers: of `statistics`.
        language, kind: choose Gopher's limits where no others are given.
        limits: of `limits_for`, or one's own.

    Raises:
        ConfigError: a limit asks for a number that the document does not have.
    """
    broken = []
    for limit in limits_for(kind, language) if limits is None else limits:
        if limit.number not in numbers:
            raise ConfigError(f"limit {limit.name}: no such number as {limit.number}; known are {', '.join(numbers)}")
        score = numbers[limit.number]
        if score < limit.threshold if limit.side == "below" else score > limit.threshold:
            broken.append(Reason(limit.name, score, limit.threshold, limit.side, limit.english))
    return Verdict(not broken, tuple(broken))


def limits_for(
    kind: str, language: str = "en", sets: tuple[str, ...] = ("gopher_quality", "gopher_repetition")
) -> tuple[Limit, ...]:
    """The limits of a kind of document in a language.

    Args:
        kind: one of `KINDS`.
        language: ISO 639-1 code; "und" is taken as a language for which no limits are known.
        sets: of `SETS`.

    Raises:
        ConfigError: an unknown kind or set.
    """
    if kind not in KINDS:
        raise ConfigError(f"kind of document {kind!r} is none of {', '.join(KINDS)}")
    if unknown := [name for name in sets if name not in SETS]:
        raise ConfigError(f"corpus.filters: {unknown[0]!r} is none of {', '.join(SETS)}")
    found = tuple(limit for name in sets for limit in _LIMITS[name].get(kind, ()))
    if language == "en":
        return found
    return tuple(limit for limit in found if not limit.english) + _stop_word_limit(found, language)


def _stop_word_limit(limits: tuple[Limit, ...], language: str) -> tuple[Limit, ...]:
    """The one English rule that other languages have too, where it is known which words they are."""
    if stop_hashes(language) is None:
        return ()
    return tuple(limit._replace(english=False) for limit in limits if limit.number == "stop_words")


@cache
def numbers_asked() -> tuple[str, ...]:
    """The numbers that any limit looks at, in the order in which they are kept beside a document."""
    return tuple(sorted({limit.number for name in SETS for kind in KINDS for limit in _LIMITS[name].get(kind, ())}))


# --- the limits ------------------------------------------------------------------------------------------------------


def _quality(
    fewest: int = 50,
    longest_word: float = 10,
    alphabetic: float | None = 0.8,
    stop_words: int = 2,
    lines: bool = True,
    english: bool = True,
    prefix: str = "",
) -> tuple[Limit, ...]:
    """Gopher's rules on words, symbols and lines; None and False leave a rule out."""
    rules = [
        Limit("gopher_short_doc", f"{prefix}words", "below", fewest),
        Limit("gopher_long_doc", f"{prefix}words", "above", 100_000),
    ]
    if english:
        rules.append(Limit("gopher_below_avg_threshold", f"{prefix}word_length", "below", 3, True))
        rules.append(Limit("gopher_above_avg_threshold", f"{prefix}word_length", "above", longest_word, True))
    if lines:
        rules += [
            Limit("gopher_too_many_hashes", f"{prefix}hashes_per_word", "above", 0.1),
            Limit("gopher_too_many_ellipsis", f"{prefix}ellipses_per_word", "above", 0.1),
            Limit("gopher_too_many_bullets", "bullet_lines", "above", 0.9),
            Limit("gopher_too_many_end_ellipsis", "ellipsis_lines", "above", 0.3),
        ]
    if alphabetic is not None:
        rules.append(Limit("gopher_below_alpha_threshold", f"{prefix}alphabetic_words", "below", alphabetic, True))
    if stop_words:
        rules.append(Limit("gopher_enough_stop_words", "stop_words", "below", stop_words, True))
    return tuple(rules)


_LINES = (
    Limit("dup_para_frac", "repeated_paragraphs", "above", 0.30),
    Limit("dup_para_char_frac", "repeated_paragraph_share", "above", 0.20),
    Limit("dup_line_frac", "repeated_lines", "above", 0.30),
    Limit("dup_line_char_frac", "repeated_line_share", "above", 0.20),
)
_TOP = tuple(Limit(f"top_{n}_gram", f"top_{n}_gram", "above", most, True) for n, most in ((2, 0.20), (3, 0.18), (4, 0.16)))
_GRAMS = tuple(
    Limit(f"duplicated_{n}_n_grams", f"repeated_{n}_grams", "above", round(0.20 - n / 100, 2), True) for n in range(5, 11)
)
_C4 = (
    Limit("lorem_ipsum", "lorem_ipsum", "above", 0),
    Limit("curly_bracket", "curly_brackets", "above", 0),
    Limit("too_few_sentences", "c4_sentences", "below", 5),
)
_FINEWEB = (
    Limit("line_punct_ratio", "terminal_lines", "below", 0.12),
    Limit("short_line_ratio", "short_lines", "above", 0.67),
    Limit("char_dup_ratio", "repeated_line_characters", "above", 0.01),
    Limit("list_ratio", "breaks_per_word", "above", 0.3),
)
#: Rule set -> kind -> limits. Dialogue is prose in short lines, some of which return ("Yes, sir."); a table repeats
#: its words and holds numbers; neither ends its lines as sentences end. C4 and FineWeb were made for pages of prose.
_LIMITS: dict[str, dict[str, tuple[Limit, ...]]] = {
    "gopher_quality": {
        "prose": _quality(),
        "dialogue": _quality(),
        "reference": _quality(fewest=12, longest_word=14, stop_words=0, prefix="signed_"),
        "source": _quality(fewest=12, alphabetic=None, stop_words=0, lines=False, english=False),
        "table": _quality(fewest=12, alphabetic=None, stop_words=0, english=False),
    },
    "gopher_repetition": {
        "prose": (*_LINES, *_TOP, *_GRAMS),
        "dialogue": (*_LINES, *_TOP, *_GRAMS),
        "reference": (*_LINES, *_GRAMS),
        "table": _LINES,
    },
    "c4": {"prose": _C4, "dialogue": _C4},
    "fineweb": {"prose": _FINEWEB, "dialogue": tuple(limit for limit in _FINEWEB if limit.name == "line_punct_ratio")},
}
