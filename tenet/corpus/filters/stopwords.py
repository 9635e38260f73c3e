"""Function words by language, for the rule that a text holds at least two of them.

For English they are the eight of Gopher (arXiv:2112.11446). For other languages justext's lists of frequent words,
where that package is installed and the language puts blanks between words; elsewhere there is no such rule.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from tenet.corpus.filters.characters import hash_of
from tenet.corpus.ngrams import Hashes

ENGLISH = ("the", "be", "to", "of", "and", "that", "have", "with")
#: ISO 639-1 -> name of the list in justext.
LISTS = {
    "af": "Afrikaans", "ar": "Arabic", "az": "Azerbaijani", "be": "Belarusian", "bg": "Bulgarian", "bn": "Bengali",
    "br": "Breton", "bs": "Bosnian", "ca": "Catalan", "cs": "Czech", "cy": "Welsh", "da": "Danish", "de": "German",
    "el": "Greek", "eo": "Esperanto", "es": "Spanish", "et": "Estonian", "eu": "Basque", "fa": "Persian",
    "fi": "Finnish", "fr": "French", "ga": "Irish", "gl": "Galician", "gu": "Gujarati", "he": "Hebrew", "hi": "Hindi",
    "hr": "Croatian", "hu": "Hungarian", "hy": "Armenian", "id": "Indonesian", "is": "Icelandic", "it": "Italian",
    "ka": "Georgian", "kk": "Kazakh", "ko": "Korean", "la": "Latin", "lb": "Luxembourgish", "lt": "Lithuanian",
    "lv": "Latvian", "mk": "Macedonian", "ml": "Malayalam", "mr": "Marathi", "ms": "Malay", "nl": "Dutch",
    "nn": "Norwegian_Nynorsk", "no": "Norwegian_Bokmal", "pl": "Polish", "pt": "Portuguese", "ro": "Romanian",
    "ru": "Russian", "sk": "Slovak", "sl": "Slovenian", "sq": "Albanian", "sr": "Serbian", "sv": "Swedish",
    "sw": "Swahili", "ta": "Tamil", "te": "Telugu", "tl": "Tagalog", "tr": "Turkish", "uk": "Ukrainian", "ur": "Urdu",
    "uz": "Uzbek", "vi": "Vietnamese",
}  # fmt: skip


@lru_cache(maxsize=128)
def stop_hashes(language: str) -> Hashes | None:
    """Hashes of a language's stop words in small letters, sorted; None where there is no list."""
    words = ENGLISH if language == "en" else _listed(language)
    return np.sort(np.array([hash_of(word) for word in words], dtype=np.uint64)) if words else None


def _listed(language: str) -> tuple[str, ...]:
    if language not in LISTS:
        return ()
    from justext import get_stoplist

    return tuple(sorted(get_stoplist(LISTS[language])))
