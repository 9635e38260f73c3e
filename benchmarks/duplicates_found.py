"""Planted duplicates: how many are found, what else is thrown out, how fast, in how much memory.

    .venv/bin/python benchmarks/duplicates_found.py found          # recall and false positives, MB per CPU second
    .venv/bin/python benchmarks/duplicates_found.py rows           # rows of benchmarks, word for word and reworded
    .venv/bin/python benchmarks/duplicates_found.py memory 0.5     # GB of synthetic text, each search in its own process
    PEER/bin/python benchmarks/duplicates_found.py peer datasketch DOCUMENTS.jsonl    # another tool on what `found` wrote

`found` takes books, a textbook and papers of ../shared/data, or the documentation inside Python where that is missing;
it plants 200 exact copies (half of them in other case and spacing), 200 copies with 1 % and 200 with 5 % of the words
edited (a third each substituted, dropped, swapped with the next), and 20 paragraphs in other documents. The planter
was written before the rule that it tests.
"""

from __future__ import annotations

import gzip
import json
import random
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
COPIES, PARAGRAPHS, ROWS = 200, 20, 50
MEMORY = 256 << 20
Documents = list[tuple[str, str]]  # name, text


# --- documents -------------------------------------------------------------------------------------------------------


def documents() -> Documents:
    """Texts of 300 characters to a whole chapter, no two alike on purpose."""
    from tenet.corpus.documents import pieces

    def lines(path: str) -> Iterator[dict[str, Any]]:
        with gzip.open(DATA / path, "rt", encoding="utf-8") as rows:
            yield from map(json.loads, rows)

    found: Documents = []
    if (DATA / "manifest.json").is_file():
        for number, path in enumerate(sorted((DATA / "gutenberg").glob("*.gz"))):
            text = gzip.decompress(path.read_bytes()).decode()
            size = (20_000, 1_000, 4_000, 20_000)[number % 4]
            found += [(f"{path.name}#{i}", piece) for i, piece in enumerate(pieces(text, size))]
        for name in ("openstax/physics.cnxml.jsonl.gz", "papers/arxiv_unarxive.jsonl.gz", "papers/jats.jsonl.gz"):
            for i, row in enumerate(lines(name)):
                text = re.sub(r"[ \t]*<[^>]+>[ \t]*", " ", "\n\n".join(str(value) for value in row.values()))
                found.append((f"{name}#{i}", text))
    else:
        from pydoc_data.topics import topics

        found = [(f"{name}#{i}", piece) for name, text in topics.items() for i, piece in enumerate(pieces(text, 4_000))]
        for path in sorted(Path(json.__file__).parents[1].glob("*.py")):
            found += [(f"{path.name}#{i}", piece) for i, piece in enumerate(pieces(path.read_text("utf-8", "replace"), 4_000))]
    return [(name, text) for name, text in found if len(text) >= 300]


def edited(text: str, share: float, pick: random.Random, vocabulary: list[str]) -> str:
    """A share of the words substituted, dropped or swapped with the next one, a third each; layout stays."""
    parts = re.findall(r"\S+|\s+", text)
    words = [i for i, part in enumerate(parts) if not part.isspace()]
    for order in sorted(pick.sample(range(len(words)), max(1, round(share * len(words)))), reverse=True):
        at, how = words[order], pick.randrange(3)
        if how == 0:
            parts[at] = pick.choice(vocabulary)
        elif how == 1:
            parts[at] = ""
        elif order + 1 < len(words):
            parts[at], parts[words[order + 1]] = parts[words[order + 1]], parts[at]
    return "".join(parts)


def planted(base: Documents, seed: int = 0) -> tuple[Documents, dict[str, str], list[tuple[str, str]]]:
    """All documents in a shuffled order, what each copy is ("exact", "1 %", "5 %"), and (document, paragraph) of the
    copied paragraphs."""
    pick = random.Random(seed)
    vocabulary = " ".join(text for _, text in pick.sample(base, 200)).split()
    chosen = pick.sample(base, 3 * COPIES)
    kinds: dict[str, str] = {}
    copies: Documents = []
    for i, (name, text) in enumerate(chosen):
        kind = ("exact", "1 %", "5 %")[i // COPIES]
        copy = f"{kind} of {name}"
        kinds[copy] = kind
        if kind == "exact":
            copies.append((copy, text if i % 2 else re.sub(r"[ \n]+", "  ", text.upper())))
        else:
            copies.append((copy, edited(text, float(kind[0]) / 100, pick, vocabulary)))
    taken = {name for name, _ in chosen}
    long = [name for name, text in base if len(text) > 15_000 and name not in taken]
    pairs = pick.sample(long, 2 * PARAGRAPHS)
    texts = dict(base)
    inserted = []
    for source, target in zip(pairs[::2], pairs[1::2], strict=True):
        paragraphs = [p for p in re.split(r"\n\s*\n", texts[source]) if len(p.split()) >= 70] or [
            " ".join(texts[source].split()[100:250])
        ]
        paragraph = pick.choice(paragraphs)
        middle = texts[target].find("\n", len(texts[target]) // 2)
        texts[target] = f"{texts[target][:middle]}\n\n{paragraph}\n\n{texts[target][middle:]}"
        inserted.append((source, target))
    every = [*texts.items(), *copies]
    pick.shuffle(every)
    return every, kinds, inserted


# --- found -----------------------------------------------------------------------------------------------------------


def timed(name: str, size: int, work: Callable[[], Any]) -> Any:
    """Run, and print MB per CPU second."""
    begin = time.process_time()
    result = work()
    spent = time.process_time() - begin
    print(f"  {name:32} {size / 1e6 / spent:8.1f} MB per CPU second ({spent:.1f} s)")
    return result


def found() -> None:
    """Recall, false positives, speed."""
    from tenet.corpus.dedup.alike import Rule
    from tenet.corpus.dedup.exact import exact_duplicates
    from tenet.corpus.dedup.near import near_duplicates, plan
    from tenet.corpus.dedup.spans import RepeatedSpans
    from tenet.corpus.ngrams import WordHasher

    every, kinds, inserted = planted(documents())
    names, texts = zip(*every, strict=True)
    size = sum(len(text.encode()) for text in texts)
    with open(Path(tempfile.gettempdir()) / "planted.jsonl", "w", encoding="utf-8") as file:
        file.writelines(json.dumps({"id": name, "text": text}) + "\n" for name, text in every)
    print(f"{len(every):,} documents, {size / 1e6:.1f} MB;", plan(len(every), size, MEMORY).line())
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        exact = timed("exact", size, lambda: exact_duplicates(texts, folder / "e", MEMORY))
        words = timed("words", size, lambda: [*map(WordHasher(), texts)])
        results = {"exact": exact}
        for rule in (Rule(0.8, 0), Rule()):
            label = "near, with edited copies" if rule.edited else "near, Jaccard 0.8"
            results[label] = timed(label, size, partial(near_duplicates, words, folder / "n", rule, 0, MEMORY))

        def passages() -> Any:
            search = RepeatedSpans(folder / "s", MEMORY)
            for one in words:
                search.add(one)
            return search.spans()

        spans = timed("passages", size, passages)
    gone: set[int] = set()
    for label, twins in results.items():
        pairs = {i: int(j) for i, j in enumerate(twins) if j >= 0}
        gone |= set(pairs)
        _recall(label, names, pairs, kinds)
    _paragraphs(names, texts, spans, inserted, gone)


def _recall(label: str, names: tuple[str, ...], pairs: dict[int, int], kinds: dict[str, str]) -> None:
    """A copy counts as found when it or its original went for the other's sake."""
    met = {frozenset((names[i], names[j])) for i, j in pairs.items()}
    hits = {kind: 0 for kind in ("exact", "1 %", "5 %")}
    true = set()
    for copy, kind in kinds.items():
        pair = frozenset((copy, copy.split(" of ", 1)[1]))
        if pair in met:
            hits[kind] += 1
            true.add(pair)
    false = [pair for pair in met if pair not in true]
    print(f"{label}: " + ", ".join(f"{kind} {count}/{COPIES}" for kind, count in hits.items()) + f"; others {len(false)}")
    for pair in false[:8]:
        print("    ", " ~ ".join(sorted(pair)))


def _paragraphs(
    names: tuple[str, ...], texts: tuple[str, ...], spans: Any, inserted: list[tuple[str, str]], gone: set[int]
) -> None:
    from tenet.corpus.dedup.cutting import cut

    place = {name: i for i, name in enumerate(names)}
    hit, cuts, expected, others = 0, 0, set(), 0
    for source, target in inserted:
        later, first = sorted((place[source], place[target]), reverse=True)
        expected.add(later)
        held = [span for span in spans.get(later, []) if span.source == first]
        hit += bool(held)
        cuts += bool(cut(texts[later], held).removed)
    for number, held in spans.items():
        if number not in expected and number not in gone:
            others += 1
            if others <= 8:
                print("    also repeated:", names[number], [(s.end - s.begin, names[s.source]) for s in held][:3])
    print(f"passages: {hit}/{PARAGRAPHS} found, {cuts}/{PARAGRAPHS} cut; others in documents that stay: {others}")


# --- rows of benchmarks ----------------------------------------------------------------------------------------------

SYNONYMS = {
    "the": "this", "is": "remains", "are": "remain", "a": "one", "which": "what", "of": "from", "in": "within", "to": "towards",
    "person": "man",
    "large": "big", "small": "little", "most": "mostly", "many": "numerous", "called": "named", "used": "employed",
    "because": "since", "make": "create", "water": "liquid", "people": "folk", "following": "next", "different": "distinct",
    "with": "having", "by": "through", "cause": "produce", "causes": "produces", "help": "aid", "use": "employ", "when": "while",
    "get": "obtain", "put": "place", "best": "ideal",
}  # fmt: skip


def reworded(text: str, pick: random.Random, replaced: float = 0.0) -> str:
    """Common words by others of like meaning, another number, the clauses of one sentence turned round; and a share of
    the words of six letters and more by nothing in particular."""
    words = [SYNONYMS.get(word.lower(), word) if pick.random() < 0.8 else word for word in text.split()]
    words = ["something" if len(word) > 5 and pick.random() < replaced else word for word in words]
    words = [re.sub(r"\d+", lambda match: str(int(match.group()) + 3), word) for word in words]
    half = next((i for i, word in enumerate(words) if word.endswith((",", ".")) and 3 < i < len(words) - 3), len(words) // 2)
    return " ".join([*words[half + 1 :], *words[: half + 1]])


def rows() -> None:
    """Recall of 50 rows word for word and 50 reworded, and what else is hit, for several thresholds."""
    from tenet.corpus.contamination import Contamination, ContaminationConfig
    from tenet.evaluate.task_rows import evaluation_texts
    from tenet.evaluate.tasks import task_names

    every = list(evaluation_texts(task_names()))
    pick = random.Random(1)
    base = pick.sample(documents(), 3000)
    long = [i for i, row in enumerate(every) if len(row[2].split()) >= 15]
    ways = ("word for word", "reworded", "reworded, one long word in six replaced")
    chosen = pick.sample(long, len(ways) * ROWS)
    texts = [text for _, text in base]
    for n, number in enumerate(chosen):
        row = every[number][2] if n < ROWS else reworded(every[number][2], pick, 1 / 6 * (n >= 2 * ROWS))
        middle = texts[n].find(" ", len(texts[n]) // 2)
        texts[n] = f"{texts[n][:middle]} {row} {texts[n][middle:]}"
    for least in (0.0, 0.5, 0.6, 0.7, 0.8):
        looked_for = Contamination(every, ContaminationConfig(paraphrase=least))
        held = [{match.row for match in looked_for.matches(looked_for.words(text))} for text in texts]
        said = ", ".join(
            f"{way} {sum(chosen[n] in held[n] for n in range(i * ROWS, i * ROWS + ROWS))}/{ROWS}" for i, way in enumerate(ways)
        )
        others = sum(bool(one) for one in held[len(chosen) :])
        print(f"paraphrase {least}: {said}; other documents hit: {others} of {len(texts) - len(chosen)}")


# --- memory ----------------------------------------------------------------------------------------------------------


def synthetic(size: int, seed: int = 0) -> Iterator[tuple[list[str], Any]]:
    """Words of a made-up language by Zipf's law: about `size` bytes, in documents of 50 to 2,000 words, one in ten a copy of
    the one before with 3 % of the words changed. Each with its hashes; hashing text is measured by `found`."""
    import numpy as np

    from tenet.corpus.ngrams import WordHasher

    draw = np.random.default_rng(seed)
    letters = np.array(list("etaoinshrdlucmfw"))
    vocabulary = ["".join(draw.choice(letters, draw.integers(2, 10))) for _ in range(200_000)]
    hashes, lengths = WordHasher()(" ".join(vocabulary)), np.array([len(word) + 1 for word in vocabulary])
    pool = draw.zipf(1.3, 1 << 22) % len(vocabulary)
    numbers, made = pool[:0], 0
    while made < size:
        if len(numbers) and draw.random() < 0.1:
            numbers = numbers.copy()
            changed = draw.random(len(numbers)) < 0.03
            numbers[changed] = draw.integers(0, len(vocabulary), int(changed.sum()))
        else:  # every so many-th word of the pool: no two documents have the same run
            first, step, length = draw.integers(1 << 22), 2 * draw.integers(1 << 21) + 1, draw.integers(50, 2000)
            numbers = pool[(first + step * np.arange(length)) % len(pool)]
        made += int(lengths[numbers].sum())
        yield vocabulary, (numbers, hashes[numbers])


def memory(gigabytes: float) -> None:
    """Each search in a process of its own: what it holds at most, what it said, and its speed."""
    for part in ("nothing", "near", "passages", "exact"):
        subprocess.run([sys.executable, __file__, "one", part, str(gigabytes)], check=True)


def one(part: str, gigabytes: float) -> None:
    """One search over synthetic text."""
    from tenet.corpus.dedup import exact, near, spans
    from tenet.corpus.dedup.alike import Rule

    count, size, steps = 0, int(gigabytes * 1e9), {"exact": exact, "near": near, "passages": spans}
    with tempfile.TemporaryDirectory() as scratch:
        folder, begin = Path(scratch), time.process_time()
        searches: dict[str, Callable[[], Any]] = {
            "nothing": lambda: None,
            "exact": lambda: exact.ExactDuplicates(folder / "e", MEMORY),
            "near": lambda: near.NearDuplicates(folder / "n", Rule(), 0, MEMORY),
            "passages": lambda: spans.RepeatedSpans(folder / "s", MEMORY),
        }
        search = searches[part]()
        for vocabulary, (numbers, hashes) in synthetic(size):
            count += 1
            if part == "exact":
                search.add(exact.digest(" ".join([vocabulary[i] for i in numbers.tolist()])))
            elif part != "nothing":
                search.add(hashes)
        read = time.process_time() - begin
        result = {"nothing": lambda: 0, "passages": lambda: len(search.spans())}.get(
            part, lambda: int((search.twins() >= 0).sum())
        )()
        compared = time.process_time() - begin - read
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    said = steps[part].plan(count, size, MEMORY).line() if part in steps else "(the text alone)"  # type: ignore[attr-defined]
    print(
        f"{part:9} {gigabytes} GB: {count:,} documents, {result:,} found; {most / 1e6:.0f} MB at most; {read:.0f} s to read, "
        f"{compared:.0f} s to compare; said: {said}",
        flush=True,
    )


# --- other tools -----------------------------------------------------------------------------------------------------


def peer(tool: str, path: str) -> None:
    """Another tool at Jaccard 0.8 of word 5-grams on the same documents; prints its speed and writes the numbers of the
    documents that it would drop to PATH.TOOL."""
    texts = [json.loads(line)["text"] for line in Path(path).read_text("utf-8").splitlines()]
    size = sum(len(text.encode()) for text in texts)
    drop: list[int] = []

    def shingles(text: str) -> set[str]:
        words = re.findall(r"\w+", text.lower())
        return {" ".join(words[i : i + 5]) for i in range(max(1, len(words) - 4))}

    def work() -> None:
        if tool == "datasketch":
            from datasketch import MinHash, MinHashLSH

            lsh = MinHashLSH(threshold=0.8, num_perm=128)
            for i, text in enumerate(texts):
                minhash = MinHash(num_perm=128)
                minhash.update_batch([one.encode() for one in shingles(text)])
                if lsh.query(minhash):
                    drop.append(i)
                else:
                    lsh.insert(str(i), minhash)
        elif tool == "rensa":
            from rensa import RMinHash, RMinHashLSH

            index = RMinHashLSH(threshold=0.8, num_perm=125, num_bands=25)
            for i, text in enumerate(texts):
                signature = RMinHash(num_perm=125, seed=0)
                signature.update(list(shingles(text)))
                if index.query(signature):
                    drop.append(i)
                else:
                    index.insert(i, signature)
        else:
            raise SystemExit(f"{tool} is not one of datasketch, rensa")

    timed(tool, size, work)
    Path(f"{path}.{tool}").write_text(json.dumps(drop))
    print(f"{tool} drops {len(drop)} of {len(texts)}")


if __name__ == "__main__":
    arguments = sys.argv[1:] or ["found"]
    {
        "found": found,
        "rows": rows,
        "memory": lambda gb: memory(float(gb)),
        "one": lambda part, gb: one(part, float(gb)),
        "peer": peer,
    }[arguments[0]](*arguments[1:])  # type: ignore[operator]
