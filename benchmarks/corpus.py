"""The whole corpus stage on real text with plants in it: do the numbers add up, what is found, what goes wrongly.

    python -m benchmarks.corpus planted --megabytes 12      # recall of each kind of plant, and what else was removed
    python -m benchmarks.corpus speed --megabytes 3         # the chain beside datatrove's own, on the same documents
    python -m benchmarks.corpus size --megabytes 500 --folder /scratch   # synthetic text: memory of each process, CPU time
    python -m benchmarks.corpus files                       # ../shared/data as it lies there, broken files too: the card

Parts have benchmarks of their own: `corpus_filters` (signals, languages), `personal_data`, `duplicates_found` (with
memory), `html_extraction`. Text is that of ../shared/data, or Python's own documentation where that is missing.
"""

from __future__ import annotations

import argparse
import gzip
import importlib.util
import json
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

from datatrove.data import Document as Item

from benchmarks import corpus_size
from benchmarks.datatrove_rules import BlankWords
from benchmarks.duplicates_found import DATA, documents
from benchmarks.duplicates_found import planted as with_copies
from benchmarks.personal_data import planted as with_personal_data
from tenet.corpus.cards.inspection import documents as of_run
from tenet.corpus.rules import in_batches
from tenet.files import read_json, read_jsonl
from tenet.runs.execute import execute
from tenet.settings.corpus import CorpusConfig, FiltersConfig, SourceConfig

LID = DATA / "lid176" / "lid.176.ftz"
TASKS = ("arc_easy", "sciq", "openbookqa")
NAVIGATION = "Home | About | Contact | Log in | Sign up | Cookies | Terms | Privacy | Share | Next page | Previous page"


def some(megabytes: float) -> list[tuple[str, str]]:
    """Real documents, drawn evenly up to a size."""
    every = [(name, text.replace("\r\n", "\n")) for name, text in documents()]  # as the readers give them
    random.Random(1).shuffle(every)
    taken, size = [], 0
    for name, text in every:
        size += len(text.encode())
        if size > megabytes * 1e6:
            break
        taken.append((name, text))
    return taken


def run(sources: tuple[SourceConfig, ...], folder: Path, **changes: Any) -> Path:
    """The stage, on its own; the folder that it made."""
    from tenet.stages import corpus

    settings: dict[str, Any] = {"max_bytes": "all", "vocab_size": 2048, "workers": 1, "evaluation": TASKS}
    config = CorpusConfig(sources=sources, **{**settings, **changes})
    begin, spent = time.perf_counter(), os.times()
    execute(folder, "corpus", (), config, corpus.run, seed=0, foreign={"model.max_position_embeddings": 1024})
    now = os.times()
    cpu = sum(now[:4]) - sum(spent[:4])
    card = read_json(folder / "corpus" / "card.json")
    print(f"{card['bytes']['read'] / 1e6:.1f} MB in {time.perf_counter() - begin:.0f} s, {cpu:.0f} CPU s with workers and tokens")
    return folder / "corpus"


def adds_up(made: Path) -> None:
    """In = out + removed at every step, and every document is in one place."""
    card = read_json(made / "card.json")
    documents_in = card["documents"]["read"]
    for row in card["filters"]:
        removed = sum(row["reasons"].values())
        assert row["documents_in"] == documents_in == row["documents_out"] + removed, row
        documents_in = row["documents_out"]
        reasons = ", ".join(f"{count} {reason}" for reason, count in list(row["reasons"].items())[:6])
        print(f"  {row['filter']:18} {row['documents_in']:>8,} -> {row['documents_out']:>8,}  {reasons}")
    assert (
        documents_in
        == card["documents"]["kept"]
        == sum(card["tokens"] and card["documents"][s] for s in ("train", "valid", "test"))
    )
    assert Counter(place for place, _ in of_run(made)).total() == card["documents"]["read"]
    print("  the numbers add up: in = out + removed at every step, and every document is in one place")


# --- plants ----------------------------------------------------------------------------------------------------------


def foreign(folder: Path | None, count: int) -> list[str]:
    """Pages in other languages, as many of each; none without a folder."""
    if folder is None:
        print("other languages: no --languages FOLDER (a folder of text files for each code); none planted")
        return []
    found = []
    for path in sorted(folder.glob("*/*")):
        if path.parent.name != "en" and path.is_file() and len(text := path.read_text("utf-8", "replace")) > 600:
            found.append(text[:6_000])
    return random.Random(2).sample(found, min(count, len(found)))


def gibberish(pick: random.Random) -> str:
    """Letters without sense, in words of all lengths."""
    return " ".join("".join(pick.choices("bcdfghjklmnpqrstvwxz", k=pick.randint(2, 14))) for _ in range(200))


def boilerplate(pick: random.Random) -> str:
    """A page of links and notices."""
    parts = NAVIGATION.split(" | ")
    return "\n".join(f"{pick.choice(parts)} {pick.choice('»›·|')} {pick.choice(parts)}" for _ in range(80))


def rows_of_benchmarks(count: int, pick: random.Random) -> list[str]:
    """Evaluation rows of 16 words and more, each task's as they are trained against."""
    from tenet.evaluate.task_rows import evaluation_texts

    texts = [text for _, _, text in evaluation_texts(TASKS) if 16 <= len(text.split()) <= 60]
    return pick.sample(texts, count)


def planted(megabytes: float, languages: Path | None) -> None:
    """Plant, run, and look where each plant went."""
    pick = random.Random(0)
    every, kinds, paragraphs = with_copies(some(megabytes))
    base = [name for name, _ in every if name not in kinds and name not in {target for _, target in paragraphs}]
    texts = dict(every)
    sources_of_copies = {name.partition(" of ")[2] for name in kinds}
    free = [name for name in base if name not in sources_of_copies and len(texts[name]) > 1_000]
    pick.shuffle(free)
    personal = {free.pop(): item for item in with_personal_data(300, 1)}
    contaminated = {free.pop(): text for text in rows_of_benchmarks(50, pick)}
    for name, item in personal.items():
        texts[name] = _inside(texts[name], item.text)
    for name, text in contaminated.items():
        texts[name] = _inside(texts[name], text)
    others = {f"other language {i}": text for i, text in enumerate(foreign(languages, 100))}
    others |= {f"gibberish {i}": gibberish(pick) for i in range(100)} | {
        f"boilerplate {i}": boilerplate(pick) for i in range(100)
    }
    numbered = dict(enumerate({**texts, **others}.items()))
    rows = [{"id": f"d{number}", "text": text, "group": name} for number, (name, text) in numbered.items()]

    def own(made: str) -> str:
        return numbered[int(made.rpartition("/d")[2].partition("#")[0])][0]

    pick.shuffle(rows)
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "rows.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        filters = FiltersConfig(languages=("en",), language_model=str(LID) if LID.is_file() else "", language="en")
        source = SourceConfig("folder", str(file), licence="CC0-1.0")
        made = run((source,), Path(scratch) / "run", filters=filters, passages=50)
        adds_up(made)
        gone = {
            own(row["id"]): f"{row['filter']}: {row['reason'].split(' rows')[0]}" for row in read_jsonl(made / "removed.jsonl")
        }
        kept = {own(d["id"]): d["text"] for place, d in of_run(made) if place != "removed"}
    print("plants")
    for kind in ("exact", "1 %", "5 %"):  # of a copy and its original one must go
        pairs = [(name, name.partition(" of ")[2]) for name, what in kinds.items() if what == kind]
        found = sum(one in gone or other in gone for one, other in pairs)
        print(f"  {kind + ' copies':18} {found}/{len(pairs)}")
    for label, prefix in (("other language", "other"), ("gibberish", "gibb"), ("boilerplate", "boil")):
        names = [name for name in others if name.startswith(prefix)]
        print(f"  {label:18} {sum(name in gone for name in names)}/{len(names)}")
    hit = sum("contamination" in gone.get(name, "") for name in contaminated)
    left = sum(name in kept for name in contaminated)
    print(f"  benchmark rows     {hit}/{len(contaminated)} for this reason, {left} left in the corpus")
    there = {name: item for name, item in personal.items() if name in kept}
    masked = sum(item.text[item.start : item.end] not in kept[name] for name, item in there.items())
    print(f"  personal data      {masked}/{len(there)} (of 300; the others' documents went for other reasons)")
    both = [pair for pair in paragraphs if pair[0] in kept and pair[1] in kept]
    cut = sum(_once(kept[a], kept[b]) for a, b in both)
    print(f"  copied paragraphs  {cut}/{len(both)} (of {len(paragraphs)})")
    innocent = set(base) - set(contaminated) - sources_of_copies
    wrong = Counter(gone[name].partition(":")[0] for name in innocent if name in gone)
    print(f"  of {len(innocent):,} documents without a plant removed: {dict(wrong) or 'none'}")


def _inside(text: str, plant: str) -> str:
    at = text.find("\n", len(text) // 2)
    return f"{text[:at]}\n\n{plant}\n\n{text[at:]}"


def _once(one: str, other: str) -> bool:
    """No 60 words in a row stand in both."""
    words = one.split()
    inside = " ".join(other.split())
    return not any(" ".join(words[i : i + 60]) in inside for i in range(0, max(1, len(words) - 60), 10))


# --- speed -----------------------------------------------------------------------------------------------------------


def speed(megabytes: float) -> None:
    """Ours: repair, language, numbers and limits, personal data, decontamination, signatures for duplicates. Theirs: the same
    steps (but for decontamination, which they do not have offline) by datatrove's blocks with their default splitter.
    Tokens are made by the same package on both sides, and left out."""
    from datatrove.pipeline.dedup.minhash import MinhashConfig, MinhashDedupSignature
    from datatrove.pipeline.filters import C4QualityFilter, FineWebQualityFilter, GopherQualityFilter, GopherRepetitionFilter
    from datatrove.pipeline.formatters import FTFYFormatter, PIIFormatter
    from datatrove.utils.hashing import HashConfig

    from tenet.corpus.contamination import Contamination, ContaminationConfig
    from tenet.corpus.dedup.alike import Rule
    from tenet.corpus.dedup.hashing import BoundedHasher
    from tenet.corpus.dedup.signature import bands_of, signatures_of
    from tenet.corpus.filters.language import Identifier
    from tenet.corpus.filters.personal.masking import mask
    from tenet.corpus.filters.repair import repair
    from tenet.corpus.filters.statistics import statistics_of
    from tenet.corpus.filters.thresholds import SETS, limits_for, verdict
    from tenet.evaluate.task_rows import evaluation_texts

    texts = [text for _, text in some(megabytes)]
    rows, words = Contamination(evaluation_texts(TASKS), ContaminationConfig()), BoundedHasher()
    language = Identifier(LID if LID.is_file() else None)
    limits, bands = limits_for("prose", sets=SETS), bands_of(Rule())

    def ours(documents: Sequence[str]) -> list[bool]:
        documents = [repair(text)[0] for text in documents]
        english = [language.identify(text)[0] == "en" for text in documents]
        kept = [verdict(numbers, limits=limits).kept for numbers in statistics_of(documents)]
        hashed = [words.with_digest(mask(text)[0])[0] for text in documents]
        rows.first_of(hashed)
        signatures_of(hashed, bands, 0)
        return [a and b for a, b in zip(english, kept, strict=True)]

    blank, solid = BlankWords(), BlankWords(signs=False)
    chains: dict[str, list[Any]] = {
        "datatrove's blocks, words split at blanks": [
            GopherRepetitionFilter(language=blank), GopherQualityFilter(language=solid),
            C4QualityFilter(language=blank), FineWebQualityFilter(language=blank),
        ],
        "datatrove's blocks, their splitter (spaCy)": [],
    }  # fmt: skip
    if importlib.util.find_spec("spacy"):
        chains["datatrove's blocks, their splitter (spaCy)"] = [
            GopherRepetitionFilter(), GopherQualityFilter(), C4QualityFilter(), FineWebQualityFilter(),
        ]  # fmt: skip
    ftfy, personal, signature = (
        FTFYFormatter(),
        PIIFormatter(),
        MinhashDedupSignature(tempfile.mkdtemp(), MinhashConfig(hash_config=HashConfig(hash_fc="sha1")), language=blank),
    )

    def theirs(text: str, rules: list[Any]) -> bool:
        text = ftfy.format(text)
        code, _ = language.identify(text)
        good = code == "en" and all(rule.filter(Item(text=text, id="x")) is True for rule in rules)
        text = personal.format(text)
        signature.get_signature(signature.get_shingles(text))
        return good

    mine, kept = _timed("this project's chain, in batches as the pipeline has them", ours, batches(texts))
    few = texts[: max(1, len(texts) // 8)]
    for name, rules in chains.items():
        if not rules:
            print(f"  {name}: spaCy is not installed; left out")
            continue
        one_by_one = lambda some, rules=rules: [theirs(text, rules) for text in some]  # noqa: E731
        other, found = _timed(f"{name}, an eighth of the documents", one_by_one, [few])
        alike = sum(a == b for a, b in zip(kept, found, strict=False)) / len(few)
        print(f"    {mine / other:.1f} times as fast; {alike:.1%} of {len(few)} decisions alike, {sum(found)} kept by theirs")


def batches(texts: Sequence[str]) -> list[list[str]]:
    """Texts as the pipeline counts them together."""
    items = in_batches(Item(text=text, id="x") for text in texts)
    return [[item.text for item in batch] for batch in items]


def _timed(name: str, work: Callable[[Sequence[str]], list[bool]], parts: Sequence[Sequence[str]]) -> tuple[float, list[bool]]:
    work(parts[0][:1])  # models and tables are loaded once
    begin = time.process_time()
    found = [one for part in parts for one in work(part)]
    rate = sum(len(text.encode()) for part in parts for text in part) / 1e6 / (time.process_time() - begin)
    print(f"  {name:64} {rate:6.2f} MB per CPU second")
    return rate, found


# --- files -----------------------------------------------------------------------------------------------------------


def files() -> None:
    """Everything of ../shared/data that is text: the card."""
    if not (DATA / "manifest.json").is_file():
        sys.exit("../shared/data is missing: there are no files to read")
    wanted = [
        ("gutenberg", "text", {}),
        ("gutenberg_raw", "text", {}),
        ("warc_samples", "text", {}),
        ("tinyshakespeare", "text", {}),
    ]
    wanted += [("openstax/physics.cnxml.jsonl.gz", "cnxml", {}), ("papers/jats.jsonl.gz", "xml", {})]
    sources = []
    for name, column, more in wanted:
        found = DATA / name
        if found.suffix == ".gz":
            with gzip.open(found, "rt", encoding="utf-8") as lines:
                row = json.loads(next(lines))
            column = column if column in row else max(row, key=lambda key: len(str(row[key])))
        sources.append(SourceConfig("folder", str(found), column=column, licence="unknown", **more))
    with tempfile.TemporaryDirectory() as scratch:
        filters = FiltersConfig(language_model=str(LID))
        made = run(tuple(sources), Path(scratch) / "run", filters=filters, workers=2, most_refused=1.0)
        adds_up(made)
        card = read_json(made / "card.json")
        print("files", json.dumps(card["files"], indent=1)[:3000])
        print("languages", {code: row["documents"] for code, row in card["languages"]["languages"].items()})
        print("masked", card["personal_data"], "repaired", card["repaired"])
        hits = {task: entry["documents_hit"] for task, entry in card["contamination"].items()}
        print("contaminated documents by task", hits)


def main() -> None:
    """Choose a part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("planted", "speed", "size", "files"))
    parser.add_argument("--megabytes", type=float, nargs="+", default=[12.0])
    parser.add_argument("--languages", type=Path, default=None, help="with planted: folders of pages by language code")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], help="with size")
    parser.add_argument(
        "--folder", type=Path, default=Path(tempfile.gettempdir()), help="with size: room for seven times the text"
    )
    chosen = parser.parse_args()
    if chosen.part == "size":
        corpus_size.size(chosen.megabytes, chosen.workers, chosen.folder / "corpus-size")
    elif chosen.part == "files":
        files()
    elif chosen.part == "speed":
        speed(chosen.megabytes[0])
    else:
        planted(chosen.megabytes[0], chosen.languages)


if __name__ == "__main__":
    main()
