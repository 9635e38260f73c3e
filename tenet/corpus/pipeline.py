"""What looks at one document at a time: reading, quality, repetition and contamination, as a datatrove pipeline.

The executor runs it in processes here, on Slurm or on Ray; every task leaves a completion marker, so a killed run does
only what is missing. The number of tasks is fixed: how many run at once must not change a byte of what comes out. What
compares documents with each other comes afterwards (`selection.py`). datatrove is imported here and in `rules.py`
alone.
"""

from __future__ import annotations

import contextlib
import gc
import io
import os
import shutil
import signal
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dill
import multiprocess
from datatrove.data import Document, DocumentsPipeline
from datatrove.executor.local import LocalPipelineExecutor
from datatrove.pipeline.base import PipelineStep
from datatrove.pipeline.filters.base_filter import BaseFilter
from datatrove.pipeline.writers import JsonlWriter

from tenet.corpus.contamination import Contamination, ContaminationConfig
from tenet.corpus.dedup.hashing import BoundedHasher
from tenet.corpus.document_filters import Languages, Learned, Licences, Personal, Repair, Toxic, Urls
from tenet.corpus.documents import HASHES, NUMBERS
from tenet.corpus.filters.thresholds import numbers_asked
from tenet.corpus.readers.local_files import FileNote
from tenet.corpus.rules import Measure, Quality, Repetition, WebRules, in_batches
from tenet.corpus.sources import Opened
from tenet.corpus.storage.stored import REASON, Writer
from tenet.errors import StageError
from tenet.files import read_json, write_bytes, write_json
from tenet.runs.workspace import Workspace
from tenet.settings.corpus import CorpusConfig

TASKS = 8
#: Filters in their order.
FILTERS = (
    "licence",
    "address",
    "language",
    "quality",
    "repetition",
    "c4",
    "fineweb",
    "classifier",
    "personal data",
    "contamination",
)
#: Share of the stage's time, in percent, that reading and filtering take (measured on books and on the demo).
READING = 70
_STOP = "stop-requested"
#: Seconds between two words on how far a task is.
TELL = 0.25
#: The executor as its workers read it.
PICKLE = "executor.pkl"


class SourceReader(PipelineStep):
    """Documents of all sources, one share a task; notes on files and the number of documents read go beside them."""

    name = "sources"
    type = "reader"

    def __init__(self, wanted: Sequence[Opened], folder: Path) -> None:
        super().__init__()
        self.wanted, self.folder = tuple(wanted), folder

    def run(self, data: DocumentsPipeline = None, rank: int = 0, world_size: int = 1) -> DocumentsPipeline:
        """Yield the documents; give up when the stop file appears, so that SIGTERM ends a long task in seconds."""
        parent, notes, number, done, told = os.getppid(), [], 0, 0, 0.0
        counter = self.folder / "read" / str(rank)
        counter.parent.mkdir(parents=True, exist_ok=True)
        for place, source in enumerate(self.wanted):
            for item in source.items(rank, world_size):
                if isinstance(item, FileNote):
                    notes.append({**item.as_dict(), "source": place})
                    done += item.bytes
                    continue
                if number % 64 == 0:
                    if _is_worker() and os.getppid() != parent:
                        os._exit(1)  # the run was killed: an orphan must not write beside the next one
                    if (self.folder / _STOP).exists():
                        raise StageError("corpus: asked to stop")
                    if (now := time.monotonic()) > told + TELL:
                        counter.write_text(f"{number} {done}")
                        told = now
                number += 1
                self.stat_update("documents")
                yield Document(text=item["text"], id=item["id"], metadata={**item["metadata"], "_source": place})
        counter.write_text(f"{number} {done}")
        write_json(self.folder / "notes" / f"{rank:05}.json", notes)


class Decontaminate(BaseFilter):
    """Drop what shares n words in a row with an evaluation row (as GPT-3 and its successors did, with n = 13).

    Documents are looked through many at a time. The word hashes of those that stay go on with them, for everything that
    compares documents later.

    Args:
        rows: of the evaluation tasks, ready to be looked for.
        writer: where dropped documents go.
    """

    name = "contamination"

    def __init__(self, rows: Contamination, writer: JsonlWriter) -> None:
        super().__init__(writer)
        self.rows, self.words = rows, BoundedHasher()

    def run(self, data: DocumentsPipeline, rank: int = 0, world_size: int = 1) -> DocumentsPipeline:
        """The reason names the task."""
        with self.exclusion_writer as writer:
            for batch in in_batches(data):
                hashed = [self.words.with_digest(doc.text) for doc in batch]
                found = self.rows.first_of([words for words, _ in hashed])
                for doc, match, known in zip(batch, found, hashed, strict=True):
                    if match is None:
                        doc.metadata[HASHES] = known
                        self.stat_update("forwarded")
                        yield doc
                    else:
                        task, how = match
                        doc.metadata[REASON] = f"contaminated_{task}" + ("" if how == "exact" else f" ({how})")
                        self.stat_update("dropped")
                        writer.write(doc, rank)

    def filter(self, doc: Document) -> bool:
        """Whether one document stays."""
        return self.rows.first(self.words(doc.text)) is None


class Keep(PipelineStep):
    """Writes what passed: the documents, and their word hashes beside them."""

    name, type = "kept", "writer"

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def run(self, data: DocumentsPipeline, rank: int = 0, world_size: int = 1) -> DocumentsPipeline:
        """Nothing comes after this."""
        with contextlib.closing(Writer(self.folder, rank)) as writer:
            for doc in data:
                words, digest = doc.metadata.pop(HASHES)
                row = _row(None, doc)
                writer.add(row["text"], row["id"], row["metadata"], words, digest)
                self.stat_update("total")
                yield doc


class QuietExecutor(LocalPipelineExecutor):
    """The local executor without its log on the screen (each task has a log file anyway), and with workers that survive
    signals.

    A worker that a signal kills takes its task with it, and the pool waits for it for ever. So Ctrl-C is the parent's
    business alone, and SIGTERM (Slurm sends it to every process) becomes an error that reaches the parent before the
    worker goes.

    A task is sent to its worker as the place of a file that holds the executor. With everything that it filters by (the
    n-grams of whole benchmarks) a task is larger than a pipe, and a pool whose workers have ended then waits for ever
    to send the next one.
    """

    def run(self) -> Any:
        """Write the executor down once, for the workers, and run."""
        file = Path(self.logging_dir.path) / PICKLE
        file.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(file, dill.dumps(self.__dict__))
        self.file = file
        return super().run()

    def __reduce__(self) -> Any:
        return (_read_executor, (str(self.file),))

    def _launch_run_for_rank(self, rank: int, ranks_q: Any, completed: Any = None, completed_lock: Any = None) -> Any:
        worker = _is_worker()
        gc.collect()
        gc.freeze()  # n-grams and tables are there to stay: searching them for cycles takes a twentieth of the time
        if worker:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, _give_up)
        try:
            with contextlib.redirect_stderr(io.StringIO()):
                return super()._launch_run_for_rank(rank, ranks_q, completed, completed_lock)
        finally:
            if worker:  # idle workers must die of SIGTERM at once: that is how the pool ends
                signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _read_executor(file: str) -> QuietExecutor:
    executor = QuietExecutor.__new__(QuietExecutor)
    executor.__dict__.update(dill.loads(Path(file).read_bytes()))
    executor.file = Path(file)
    return executor


def _is_worker() -> bool:
    return multiprocess.parent_process() is not None


def _give_up(number: int, frame: object) -> None:
    timer = threading.Timer(2.0, os._exit, (1,))
    timer.daemon = True
    timer.start()
    raise StageError(f"corpus: a worker was stopped by signal {number}")


def _row(writer: JsonlWriter | None, doc: Document) -> dict[str, Any]:
    """A document as it is written: datatrove's own way copies all of it first. Numbers go as a list of those that
    limits ask for: their names would be longer than many a page."""
    numbers = doc.metadata.get(NUMBERS)
    if isinstance(numbers, dict):
        doc.metadata[NUMBERS] = [_short(numbers.get(name)) for name in numbers_asked()]
    return {"text": doc.text, "id": doc.id, "metadata": doc.metadata}


def _short(number: float | None) -> float | None:
    """Six digits are enough to judge by, and shorter to write."""
    return None if number is None else float(f"{number:.6g}")


def _steps(
    config: CorpusConfig, folder: Path, wanted: Sequence[Opened], evaluation: Sequence[tuple[str, str, str]]
) -> list[PipelineStep]:
    def removed(name: str) -> JsonlWriter:
        return JsonlWriter(str(folder / "removed" / name), "${rank}.jsonl", compression=None, adapter=_row)

    filters = config.filters
    steps: list[PipelineStep] = [SourceReader(wanted, folder)]
    if filters.repair:
        steps.append(Repair())
    if filters.refuse_licences:
        steps.append(Licences(filters.refuse_licences, removed("licence")))
    if filters.block_urls:
        steps.append(Urls(filters, removed("address")))
    if filters.languages or filters.language_model:
        steps.append(Languages(filters, removed("language")))
    steps += [Measure(filters), Quality(filters, removed("quality")), Repetition(filters, removed("repetition"))]
    if filters.toxicity_model:
        steps.append(Toxic(filters.toxicity_model))
    steps += [WebRules(name, filters, removed(name)) for name in filters.web_rules]
    if filters.quality_model:
        steps.append(Learned(filters, removed("classifier")))
    if any(source.personal != "keep" for source in config.sources):
        steps.append(Personal(config.sources, removed("personal data")))
    what = ContaminationConfig(config.decontaminate, paraphrase=config.paraphrase)
    contamination = Decontaminate(Contamination(evaluation, what), removed("contamination"))
    return [*steps, contamination, Keep(folder)]


def active(config: CorpusConfig) -> list[str]:
    """The filters that these settings run, in their order."""
    filters = config.filters
    optional = {
        "licence": bool(filters.refuse_licences),
        "address": bool(filters.block_urls),
        "language": bool(filters.languages),
        "c4": "c4" in filters.web_rules,
        "fineweb": "fineweb" in filters.web_rules,
        "classifier": bool(filters.quality_model),
        "personal data": any(source.personal == "drop" for source in config.sources),
    }
    return [name for name in FILTERS if optional.get(name, True)]


def filter_documents(
    config: CorpusConfig, ws: Workspace, wanted: Sequence[Opened], evaluation: Sequence[tuple[str, str, str]]
) -> Path:
    """Run the pipeline to its end.

    Args:
        config: filters, executor and workers.
        ws: the stage; progress is told while tasks finish.
        wanted: the sources.
        evaluation: (task, row id, text) of what must not be in the corpus.

    Returns:
        the folder with `kept/` and `removed/FILTER/`.
    """
    folder, logs = ws.dir / "checkpoints" / "documents", ws.dir / "checkpoints" / "logs"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _STOP).unlink(missing_ok=True)
    _quiet(logs)
    executor = _executor(config, _steps(config, folder, wanted, evaluation), folder / "state")
    done = threading.Event()
    total = sum(source.bytes() for source in wanted) if all(source.bytes() for source in wanted) else 0
    watch = threading.Thread(target=_watch, args=(ws, folder, done, total), daemon=True)
    watch.start()
    try:
        executor.run()
        if config.executor == "slurm":
            executor.wait(ws.check)
    except Exception:
        ws.check()  # a task that gave up because we asked it to is an interruption, everything else is an error
        raise
    finally:
        done.set()
        watch.join()
    ws.check()
    return folder


def _executor(config: CorpusConfig, steps: list[PipelineStep], state: Path) -> Any:
    if config.executor == "slurm":
        from tenet.corpus.executors.slurm_executor import SlurmExecutor

        return SlurmExecutor(pipeline=steps, tasks=TASKS, workers=config.workers, logging_dir=str(state))
    if config.executor == "ray":
        from tenet.corpus.executors.ray_executor import RayExecutor

        return RayExecutor(pipeline=steps, tasks=TASKS, workers=config.workers, logging_dir=str(state))
    return QuietExecutor(pipeline=steps, tasks=TASKS, workers=min(config.workers, TASKS), logging_dir=str(state))


def _quiet(logs: Path) -> None:
    """What datatrove logs in this process goes into a file, not on the screen."""
    from loguru import logger

    logs.mkdir(parents=True, exist_ok=True)
    logger.remove()
    logger.add(logs / "datatrove.log", level="INFO")


def _finished(folder: Path) -> int:
    return len(list((folder / "state" / "completions").glob("*")))


def _watch(ws: Workspace, folder: Path, done: threading.Event, total: int) -> None:
    """Tell how far the tasks are, and pass a stop request on to the workers.

    Where it is known how many bytes there are to read (folders), that is the measure; of streams only finished tasks
    are known.
    """
    while not done.wait(0.25):
        finished = _finished(folder)
        counts = [path.read_text().split() for path in (folder / "read").glob("[0-9]*")]
        documents, read = (sum(int(count[i]) for count in counts if len(count) == 2) for i in (0, 1))
        share = min(read / total, 1.0) if total else finished / TASKS
        ws.progress(READING * share, 100, f"reading and filtering: {documents:,} documents, {finished} of {TASKS} parts done")
        if ws.stop.is_set():
            (folder / _STOP).touch()


def file_notes(folder: Path) -> list[dict[str, Any]]:
    """What became of each file: notes of all tasks by source and file."""
    notes = [note for path in sorted((folder / "notes").glob("*.json")) for note in read_json(path)]
    return sorted(notes, key=lambda note: (note["source"], note["file"]))


def clear(folder: Path) -> None:
    """Delete the intermediate files: markers first, so that a kill in between means "do it again" and never "nothing
    there"."""
    shutil.rmtree(folder / "state", ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)
