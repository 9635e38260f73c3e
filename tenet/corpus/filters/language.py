"""In which language a text is written: fastText's lid.176 from a local file, else py3langid, whose wheel holds a model.

What is not language misleads both: addresses, markup, identifiers and numbers are taken out first, and a text in
capitals is put in small letters (a model of letters has hardly seen any). A long document is judged by samples from
all over it, so that an English title or licence does not decide about a German book.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

from tenet.errors import ConfigError

#: What is said of a text that gives too little to go by.
UNKNOWN = "und"
#: Samples of a document and characters of each: on 2,909 pages in 24 languages, samples of 700 change one answer.
SAMPLES, SAMPLE = 4, 500
#: Least letters, and least probability, of an answer. Signs of scripts without blanks say more each.
LETTERS, UNSPACED_LETTERS, CERTAIN = 12, 4, 0.25
#: A document's share by language is told from at most so many passages of about so many characters.
PASSAGES, PASSAGE = 64, 400
#: Languages that a model names more finely than ISO 639-1 does.
_WIDER = {
    "als": "de", "arz": "ar", "azb": "az", "bar": "de", "ckb": "ku", "nb": "no", "pnb": "pa", "sh": "sr", "wuu": "zh",
    "yue": "zh", "lzh": "zh", "gom": "mr", "mzn": "fa", "nds": "nds", "zh-Hant": "zh", "zh-Hans": "zh",
}  # fmt: skip
_ADDRESS = re.compile(r"://|^www\.|\w@\w")
_MARKUP = re.compile(r"<[^<>]{1,300}>")
#: What makes a word of plain letters and signs an address, a number or a piece of code.
_CODE = re.compile(r"[\d_=(){}\[\]\\/|$#<>*^~`+@&]|^-|::|\w\.\w|[a-z][A-Z]")
_SIGNS = re.compile(r"[!-/:-@\[-`{-~\d]+")
_NOT_LETTERS = re.compile(r"[^\w\s]|[\d_]")
_UNSPACED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
#: text -> [(code, probability)], likeliest first.
Model = Callable[[str], list[tuple[str, float]]]


class _Forms(dict[str, str]):
    """Word -> what a model is shown of it, "" where it is an address, a number or code; the same few words make up
    most of a text, and looking one up takes a fifth of the time."""

    def __missing__(self, word: str) -> str:
        shown = word if word.isascii() else _SIGNS.sub(" ", word)
        form = "" if word.isascii() and _CODE.search(word) else shown
        if len(word) <= LONGEST:
            self[word] = form
        return form


#: Words that are remembered, about 150 bytes each, and characters of the longest one.
REMEMBERED, LONGEST = 200_000, 40
_forms = _Forms()


class Identifier:
    """Tells languages apart; about 1 ms a document with lid.176, 3 ms with py3langid.

    Args:
        path: of a fastText model whose labels are `__label__CODE`, such as lid.176.ftz; None takes py3langid.

    Raises:
        ConfigError: the file is missing or no such model, or the package is not installed.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.name = path.name if path else "py3langid"
        self._model: Model = _fasttext(path) if path else _py3langid()

    def identify(self, text: str) -> tuple[str, float]:
        """Language and probability, `("und", 0.0)` below the evidence that an answer needs.

        The code is ISO 639-1 where the language has one, else the model's own (ISO 639-3).
        """
        return self._best(samples(text))

    def shares(self, text: str) -> dict[str, float]:
        """Language -> its share of the letters, largest first, told passage by passage."""
        letters: dict[str, int] = defaultdict(int)
        for passage in _passages(text):
            if size := _letters(passage):
                letters[self._best([passage])[0]] += size
        total = sum(letters.values())
        return {code: size / total for code, size in sorted(letters.items(), key=lambda item: (-item[1], item[0]))}

    def _best(self, parts: list[str]) -> tuple[str, float]:
        found: dict[str, float] = defaultdict(float)
        weight = 0
        for part in map(language_only, parts):
            size = _letters(part)
            if size < (UNSPACED_LETTERS if _UNSPACED.search(part) else LETTERS):
                continue
            weight += size
            for code, probability in self._model(part):
                found[_WIDER.get(code, code)] += size * probability
        if not found:
            return UNKNOWN, 0.0
        code = max(sorted(found), key=found.__getitem__)
        probability = min(found[code] / weight, 1.0)
        return (code, probability) if probability >= CERTAIN else (UNKNOWN, probability)


def samples(text: str) -> list[str]:
    """The whole of a short text, and passages from all over a long one."""
    if len(text) <= SAMPLES * SAMPLE:
        return [text]
    starts = [i * (len(text) - SAMPLE) // (SAMPLES - 1) for i in range(SAMPLES)]
    return [text[at : at + SAMPLE] for at in starts]


def language_only(text: str) -> str:
    """A text on one line without what belongs to no language; in small letters if it is mostly in capitals.

    Where little is left (a page of code), the words in it are all there is to go by.
    """
    words = _MARKUP.sub(" ", text).split() if "<" in text else text.split()
    if len(_forms) > REMEMBERED:
        _forms.clear()
    left = " ".join(filter(None, map(_forms.__getitem__, words)))
    if _letters(left) < LETTERS and not _UNSPACED.search(left):
        left = " ".join(_NOT_LETTERS.sub(" ", " ".join(word for word in words if not _ADDRESS.search(word))).split())
    capitals = sum(map(str.isupper, left[:200]))
    return left.lower() if 2 * capitals > min(len(left), 200) else left


def _letters(text: str) -> int:
    """Letters of a short text; of a long one, where it only weighs, its signs too."""
    signs = len(_NOT_LETTERS.findall(text)) if len(text) < SAMPLE // 2 else 0
    return len(text) - text.count(" ") - signs


def _passages(text: str) -> Iterator[str]:
    """Paragraphs, short ones together and long ones cut; of very many only some, from all over the text."""
    found, held = [], ""
    for line in text.splitlines():
        for at in range(0, max(len(line), 1), PASSAGE):
            part = line[at : at + PASSAGE]
            if held and (not part.strip() or len(held) + len(part) > PASSAGE):
                found.append(held)
                held = ""
            held = f"{held} {part}".strip()
    found = [*found, held] if held else found
    step = max(1, -(-len(found) // PASSAGES))
    yield from found[::step]


# --- models ----------------------------------------------------------------------------------------------------------


def _fasttext(path: Path) -> Model:
    if not path.is_file():
        raise ConfigError(f"language model {path}: no such file; leave the setting empty to use py3langid")
    import fasttext

    fasttext.FastText.eprint = lambda *_: None  # a warning about the format of its own models
    try:
        model = fasttext.load_model(str(path))
    except ValueError as error:
        raise ConfigError(f"language model {path}: not a fastText model ({error})") from None

    def predict(text: str) -> list[tuple[str, float]]:
        labels, probabilities = model.predict(text, k=3)
        return [(label.removeprefix("__label__"), float(p)) for label, p in zip(labels, probabilities, strict=True)]

    return predict


def _py3langid() -> Model:
    try:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier
    except ImportError:
        raise ConfigError(
            "no language model: name the file of fastText's lid.176.ftz in the settings, or `pip install py3langid`"
        ) from None
    model = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    return lambda text: [(str(code), float(p)) for code, p in model.rank(text)[:3]]
