"""MB of text per CPU second of each filter signal, beside datatrove's own classes, with how often they decide alike.

    python -m benchmarks.corpus_filters                          # books, textbook and papers of ../shared/data, or docstrings
    python -m benchmarks.corpus_filters --megabytes 8 --lid ../shared/data/lid176/lid.176.ftz --piece 4000

Every signal runs over the same documents in this process on one thread. "alike" is the share of documents that this
project's numbers keep where datatrove's class, with this project's splitter or with its default (spaCy), keeps them
too, and drop where it drops them. datatrove's classes see only the first `--theirs` megabytes: they are slow.

With `--languages FOLDER` (a folder for each ISO 639-1 code, of pages as text files) the accuracy on pages and on one line
of each is printed instead. Pages may come from translated manuals; one with more than a tenth of English function words
in a folder of another language is taken as not translated, left out and counted.
"""

from __future__ import annotations

import argparse
import gzip
import importlib
import importlib.util
import json
import os
import pkgutil
import random
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

from datatrove.data import Document as Item
from datatrove.pipeline.filters import C4QualityFilter, FineWebQualityFilter, GopherQualityFilter, GopherRepetitionFilter

from benchmarks.datatrove_rules import BlankWords
from tenet.corpus.documents import pieces
from tenet.corpus.filters.characters import Words
from tenet.corpus.filters.language import Identifier
from tenet.corpus.filters.quality import Classifier, train
from tenet.corpus.filters.statistics import statistics
from tenet.corpus.filters.text_kinds import kind_of_text
from tenet.corpus.filters.thresholds import limits_for, verdict
from tenet.corpus.ngrams import WordHasher

DATA = Path(__file__).parents[2] / "shared" / "data"
_TAGS = re.compile(r"<[^>]*>")


def shared_texts() -> Iterator[str]:
    """Books, modules of a textbook and papers, in turn."""
    sources = [_books(), _rows("openstax/physics.cnxml.jsonl.gz"), _rows("papers/arxiv_unarxive.jsonl.gz")]
    while sources:
        for source in list(sources):
            if (text := next(source, None)) is None:
                sources.remove(source)
            else:
                yield text


def _books() -> Iterator[str]:
    for path in sorted((DATA / "gutenberg").glob("*.md.gz")):
        yield gzip.decompress(path.read_bytes()).decode()


def _rows(name: str) -> Iterator[str]:
    if not (DATA / name).exists():
        return
    with gzip.open(DATA / name, "rt", encoding="utf-8") as lines:
        for line in lines:
            yield _TAGS.sub(" ", "\n\n".join(_strings(json.loads(line))))


def _strings(value: Any) -> Iterator[str]:
    """Every longer string of a row, wherever it stands."""
    if isinstance(value, str) and len(value) > 200:
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _strings(part)


def docstrings() -> Iterator[str]:
    """Documentation of the standard library, module by module: what is there on every machine."""
    for module in sorted(pkgutil.iter_modules(), key=lambda found: found.name):
        if (
            module.name in sys.stdlib_module_names
            and not module.name.startswith("_")
            and module.name not in ("antigravity", "this")
        ):
            try:
                loaded = importlib.import_module(module.name)
            except ImportError:
                continue
            texts = [str(value.__doc__) for value in vars(loaded).values() if getattr(value, "__doc__", None)]
            yield "\n\n".join([str(loaded.__doc__), *texts])


def documents(megabytes: float, piece: int) -> list[str]:
    """Pieces of texts until there are so many megabytes."""
    found: list[str] = []
    size = 0
    for text in shared_texts() if DATA.exists() else docstrings():
        for part in list(pieces(text, piece))[:40]:
            found.append(part)
            size += len(part.encode())
            if size > megabytes * 1e6:
                return found
    return found


def timed(work: Callable[[str], Any], texts: Sequence[str]) -> tuple[float, list[Any]]:
    """MB per CPU second, and what came out."""
    work(texts[0])
    begin = time.process_time()
    results = [work(text) for text in texts]
    spent = time.process_time() - begin
    return sum(len(text.encode()) for text in texts) / 1e6 / max(spent, 1e-9), results


def row(name: str, speed: float, alike: str = "") -> None:
    """One line of the table."""
    print(f"{name:<58} {speed:9.2f} {alike}", flush=True)


def seed_sets(texts: Sequence[str], folder: Path) -> Classifier:
    """A classifier of these texts against the same ones with their words in another order, for its speed alone."""
    good = list(dict.fromkeys(texts))[:200]
    train(good, [" ".join(reversed(text.split())) for text in good], folder)
    return Classifier(folder)


def ours(texts: Sequence[str], lid: Path | None) -> dict[str, list[bool]]:
    """Time each signal; returns what the rule sets keep."""
    speed, numbers = timed(statistics, texts)
    row("statistics (all four rule sets)", speed)
    row("  split and hash of words alone", timed(lambda text: Words(text).hashes, texts)[0])
    row("  words for MinHash and decontamination", timed(lambda text: Words(text).content, texts)[0])
    row("  the same by WordHasher", timed(WordHasher(), texts)[0])
    kept = {name: [verdict(found, limits=limits_for("prose", sets=(name,))).kept for found in numbers] for name in THEIRS}
    both = dict(zip(texts, numbers, strict=True))
    row(
        "verdict and kind of text, from the numbers",
        timed(lambda text: (kind_of_text(text, both[text]), verdict(both[text])), texts)[0],
    )
    signals: list[Callable[[str], Any]] = [lambda text: verdict(statistics(text))]
    if lid is not None or importlib.util.find_spec("py3langid"):
        model = Identifier(lid)
        row(f"language ({model.name})", timed(model.identify, texts)[0])
        signals.append(model.identify)
    else:
        print("language: neither --lid nor the package py3langid; left out")
    with tempfile.TemporaryDirectory() as folder:
        quality = seed_sets(texts, Path(folder))
        row("quality classifier", timed(quality.score, texts)[0])
        signals.append(quality.score)
        row("all of them", timed(lambda text: [signal(text) for signal in signals], texts)[0])
    return kept


#: Rule set -> datatrove's class.
THEIRS: dict[str, Any] = {
    "gopher_quality": GopherQualityFilter,
    "gopher_repetition": GopherRepetitionFilter,
    "c4": C4QualityFilter,
    "fineweb": FineWebQualityFilter,
}


def decision(rule: Any) -> Callable[[str], Any]:
    """A filter of datatrove as a function of the text; making its document costs nothing beside it."""
    return lambda text: rule.filter(Item(text=text, id="x"))


def theirs(texts: Sequence[str], kept: dict[str, list[bool]]) -> None:
    """Time datatrove's classes with this project's splitter and with their own."""
    blank: Any = {name: BlankWords(signs=name != "gopher_quality") for name in THEIRS}
    for splitter in ("blanks", "spaCy"):
        if splitter == "spaCy" and not importlib.util.find_spec("spacy"):
            print("datatrove's default splitter needs spaCy, which is not installed; left out")
            continue
        total = 0.0
        for name, kind in THEIRS.items():
            rule = kind(language=blank[name]) if splitter == "blanks" else kind()
            speed, found = timed(decision(rule), texts)
            alike = [(result is True) is mine for result, mine in zip(found, kept[name], strict=False)]
            row(
                f"datatrove {kind.__name__}, {splitter}",
                speed,
                f"{sum(alike) / len(alike):9.2%} alike, {sum(kept[name][: len(alike)])} kept",
            )
            total += 1 / speed
        row(f"  the four in a row, {splitter}", 1 / total)


_ENGLISH = {"the", "of", "to", "and", "is", "in", "for", "you", "that", "this", "be", "with", "or", "are", "if"}


def untranslated(code: str, text: str) -> bool:
    """Whether a page of another language is mostly English."""
    words = re.findall(r"[^\W\d_]+", text.lower())
    return code != "en" and sum(word in _ENGLISH for word in words) > 0.1 * len(words)


def language_accuracy(folder: Path, lid: Path | None) -> None:
    """Right answers on pages and on lines, by language where some are wrong."""
    model, draw = Identifier(lid), random.Random(0)
    files = sorted(path for path in folder.glob("*/*") if path.is_file())
    read = [(path.parent.name, path.read_text(encoding="utf-8", errors="replace")) for path in files]
    pages = [(code, text) for code, text in read if not untranslated(code, text)]
    lines = [(code, draw.choice(found)) for code, text in pages if (found := _good_lines(code, text))]
    print(
        f"{model.name}: {len(pages):,} pages in {len({code for code, _ in pages})} languages, {len(read) - len(pages)} not translated"
    )
    for name, items in (("pages", pages), ("lines", lines)):
        told = [(code, model.identify(text)[0]) for code, text in items]
        wrong = Counter(pair for pair in told if pair[0] != pair[1])
        print(f"{name}: {1 - wrong.total() / len(told):.2%} of {len(told):,} right; most frequent errors {wrong.most_common(8)}")


def _good_lines(code: str, text: str) -> list[str]:
    fewest = 10 if code in ("zh", "ja", "ko") else 25
    found = [part.strip() for part in re.split(r"(?<=[.!?])\s+|(?<=。)|\n\n", text)]
    return [part for part in found if fewest < len(part) < 160 and not untranslated(code, part)]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=float, default=8.0)
    parser.add_argument("--theirs", type=float, default=1.0, help="megabytes that datatrove's classes see")
    parser.add_argument("--piece", type=int, default=20_000, help="characters of a document, at most")
    parser.add_argument("--lid", type=Path, default=None, help="a fastText language model")
    parser.add_argument("--languages", type=Path, default=None, help="a folder of pages by language")
    parser.add_argument("--no-lid", action="store_true", help="use py3langid instead")
    args = parser.parse_args()
    lid = args.lid or (DATA / "lid176" / "lid.176.ftz")
    lid = lid if lid.exists() and not args.no_lid else None
    if args.languages:
        language_accuracy(args.languages, lid)
        return
    texts = documents(args.megabytes, args.piece)
    size = sum(len(text.encode()) for text in texts)
    print(f"{len(texts):,} documents, {size / 1e6:.1f} MB; MB of text per CPU second")
    kept = ours(texts, lid)
    theirs(texts[: max(1, round(len(texts) * args.theirs * 1e6 / size))], kept)


if __name__ == "__main__":
    main()
