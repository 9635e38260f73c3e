"""How the corpus stage grows: memory of every process, CPU and wall time, by size of the input and number of workers.

    python -m benchmarks.corpus size --megabytes 500 1000 2000 --workers 1 2 --folder /scratch

Text is synthetic, from a seed: words of a vocabulary with Zipf's frequencies, sentences, paragraphs, documents of lengths
as web pages have them (log-normal, 4.5 kB in the mean), of which one in a hundred is an exact copy and one in a hundred
an edited one. Memory is the kernel's own peak of each process (VmHWM), asked for five times a second.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections import deque
from pathlib import Path

import numpy as np

from tenet.files import read_json

FILES = 32
FUNCTION_WORDS = [
    "the", "of", "and", "to", "in", "that", "it", "is", "was", "for", "with", "as", "be", "on", "have", "not", "this", "but",
]  # fmt: skip
VOCABULARY, DOCUMENT_WORDS, SPREAD = 200_000, 480, 0.9
#: Last documents that a copy may be of.
RECENT = 2_000


def vocabulary(pick: np.random.Generator) -> np.ndarray:
    """Words, the most frequent first: English function words, then made-up ones that grow longer as words do."""
    letters = np.array(list("etaoinshrdlcumwfgypbvk"))
    odds = 1 / np.arange(2, len(letters) + 2)
    lengths = np.clip(pick.poisson(np.linspace(3, 7, VOCABULARY)) + 1, 2, 14)
    drawn = pick.choice(letters, size=int(lengths.sum()), p=odds / odds.sum())
    ends = np.cumsum(lengths)
    made = ["".join(drawn[end - length : end]) for end, length in zip(ends, lengths, strict=True)]
    return np.array([*FUNCTION_WORDS, *made[len(FUNCTION_WORDS) :]])


def text_of(words: list[str], pick: np.random.Generator) -> str:
    """Words with capitals, full stops and paragraphs."""
    lengths = np.cumsum(pick.integers(6, 24, size=len(words) // 6 + 1))
    breaks = (pick.random(len(lengths)) < 0.15).tolist()
    parts, at = [], 0
    for end, paragraph in zip(lengths.tolist(), breaks, strict=True):
        if at >= len(words):
            break
        parts.append(" ".join(words[at:end]).capitalize() + (".\n\n" if paragraph else ". "))
        at = end
    return "".join(parts).strip() + "\n"


def write(folder: Path, megabytes: float, seed: int = 0) -> int:
    """Files of rows with so much text; the number of documents."""
    pick = np.random.default_rng(seed)
    known = vocabulary(pick)
    odds = np.cumsum(1 / np.arange(2, len(known) + 2) ** 1.05)
    odds /= odds[-1]
    recent: deque[np.ndarray] = deque(maxlen=RECENT)
    written = count = 0
    folder.mkdir(parents=True)
    files = [open(folder / f"part-{number:02}.jsonl", "w", encoding="utf-8") for number in range(FILES)]  # noqa: SIM115
    while written < megabytes * 1e6:
        kind = pick.random()
        if kind < 0.02 and len(recent) == RECENT:
            words = recent[int(pick.integers(RECENT))].copy()
            if kind < 0.01:
                at = pick.random(len(words)) < 0.01
                words[at] = pick.integers(len(known), size=int(at.sum()))
        else:
            length = int(np.clip(pick.lognormal(np.log(DOCUMENT_WORDS), SPREAD), 60, 20_000))
            words = odds.searchsorted(pick.random(length))
            recent.append(words)
        text = text_of(known[words].tolist(), pick)
        files[count % FILES].write(json.dumps({"id": str(count), "text": text}) + "\n")
        written, count = written + len(text), count + 1
    for file in files:
        file.close()
    return count


def tree(root: int) -> set[int]:
    """A process and all that it started."""
    parents: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError, IndexError):
            continue
    found = {root}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def peak(pid: int) -> int:
    """Most bytes that a process has held; 0 when it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0)


def measured(command: list[str]) -> tuple[dict[int, int], float, float, int]:
    """Peak of each process, CPU and wall seconds of all together, and the exit status."""
    begin, spent = time.perf_counter(), os.times()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    peaks: dict[int, int] = {}
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.2):
            for pid in tree(process.pid):
                peaks[pid] = max(peaks.get(pid, 0), peak(pid))

    watching = threading.Thread(target=watch, daemon=True)
    watching.start()
    _, errors = process.communicate()
    done.set()
    watching.join()
    if process.returncode:
        print(errors[-3000:])
    now = os.times()
    cpu = now.children_user + now.children_system - spent.children_user - spent.children_system
    main = peaks.pop(process.pid, 0)
    return {process.pid: main, **peaks}, cpu, time.perf_counter() - begin, process.returncode


def size(megabytes: list[float], workers: list[int], folder: Path) -> None:
    """Print the table."""
    names = ("MB", "documents", "workers", "main, MB", "worker, MB", "CPU s", "wall s", "MB/CPU s", "kept")
    print("".join(f"{name:>12}" for name in names))
    for much in megabytes:
        data = folder / f"text-{much:g}"
        shutil.rmtree(data, ignore_errors=True)
        count = write(data, much)
        for number in workers:
            made = folder / "run"
            shutil.rmtree(made, ignore_errors=True)
            code = f"from benchmarks.corpus_size import one; one({str(data)!r}, {str(made)!r}, {number})"
            peaks, cpu, wall, status = measured([sys.executable, "-c", code])
            if status:
                sys.exit(f"the stage ended with {status}")
            main, *others = (one / 1e6 for one in peaks.values())
            kept = read_json(made / "corpus" / "card.json")["documents"]["kept"]
            row = (much, count, number, main, max(others, default=0.0), cpu, wall, much / cpu, kept)
            print(
                "".join(
                    f"{one:>12,.2f}" if name == "MB/CPU s" else f"{one:>12,.0f}" for name, one in zip(names, row, strict=True)
                ),
                flush=True,
            )
            shutil.rmtree(made)
        shutil.rmtree(data)


def one(data: str, made: str, workers: int) -> None:
    """The stage on a folder, as it is run: a small vocabulary, so that the tokenizer is not what is measured."""
    from tenet.runs.execute import execute
    from tenet.settings.corpus import CorpusConfig, SourceConfig
    from tenet.stages import corpus

    config = CorpusConfig(
        sources=(SourceConfig("folder", data, licence="CC0-1.0"),), max_bytes="all", vocab_size=2048, workers=workers
    )
    execute(Path(made), "corpus", (), config, corpus.run, seed=0, foreign={"model.max_position_embeddings": 1024})
