"""What looks at one document at a time: reading, quality, repetition and contamination, as a datatrove pipeline.

The executor runs it in processes here, on Slurm or on Ray; every task leaves a completion marker, so a killed run does only
what is missing. The number of tasks is fixed: how many run at once must not change a byte of what comes out. What compares
documents with each other comes afterwards (`selection.py`). datatrove is imported in this file alone.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import multiprocess
from datatrove.data import Document, DocumentsPipeline
from datatrove.executor.local import LocalPipelineExecutor
from datatrove.pipeline.base import PipelineStep
from datatrove.pipeline.filters import GopherQualityFilter, GopherRepetitionFilter
from datatrove.pipeline.filters.base_filter import BaseFilter
from datatrove.pipeline.writers import JsonlWriter
from datatrove.utils.word_tokenizers import WordTokenizer

from tenet.corpus import sources
from tenet.corpus.ngrams import GramIndex, WordHasher
from tenet.errors import StageError
from tenet.files import read_jsonl
from tenet.runs.workspace import Workspace
from tenet.settings.corpus import CorpusConfig, SourceConfig

TASKS = 8
_STOP = "stop-requested"
_SENTENCE = re.compile(r"(?<=[.!?])\s+")


class BlankWords(WordTokenizer):
    """Words are what stands between blanks.

    datatrove's English default is spaCy: 10 times slower, and its punctuation tokens count as words, which makes Gopher's
    alphabetic rule drop one document in seven of plain fiction (measured on public-domain novels; one in 400 with this
    splitter).
    """

    def word_tokenize(self, text: str) -> list[str]:
        """Split at blanks."""
        return text.split()

    def sent_tokenize(self, text: str) -> list[str]:
        """Split behind a full stop, question mark or exclamation mark."""
        return _SENTENCE.split(text)

    def span_tokenize(self, text: str) -> list[tuple[int, int]]:
        """Begin and end of each sentence."""
        ends = [match.start() for match in _SENTENCE.finditer(text)]
        starts = [0, *(match.end() for match in _SENTENCE.finditer(text))]
        return list(zip(starts, [*ends, len(text)], strict=True))


class SourceReader(PipelineStep):
    """Documents of all sources, one share a task."""

    name = "sources"
    type = "reader"

    def __init__(self, wanted: Sequence[SourceConfig], stop: str) -> None:
        super().__init__()
        self.wanted, self.stop = tuple(wanted), stop

    def run(self, data: DocumentsPipeline = None, rank: int = 0, world_size: int = 1) -> DocumentsPipeline:
        """Yield the documents; give up when the file `stop` appears, so that SIGTERM ends a long task in seconds."""
        parent = os.getppid()
        for source in self.wanted:
            for number, item in enumerate(sources.read(source, rank, world_size)):
                if number % 64 == 0:
                    if _is_worker() and os.getppid() != parent:
                        os._exit(1)  # the run was killed: an orphan must not write beside the next one
                    if os.path.exists(self.stop):
                        raise StageError("corpus: asked to stop")
                self.stat_update("documents")
                yield Document(text=item["text"], id=item["id"], metadata=item["metadata"])


class ByKind(BaseFilter):
    """One filter for prose, another for reference pages.

    Gopher's limits (arXiv:2112.11446) were set on web pages. A page of an API reference is short (which also lets any four
    words be a sixth of its letters), its identifiers are long words and its sentences go without "the" and "of": by the web
    limits one page in four goes, most of them good.
    """

    def __init__(self, name: str, reference: BaseFilter, prose: BaseFilter, writer: JsonlWriter) -> None:
        super().__init__(writer)
        self.name, self.reference, self.prose = name, reference, prose

    def filter(self, doc: Document) -> bool | tuple[bool, str]:
        """Ask the filter for this kind of document."""
        verdict: bool | tuple[bool, str] = (self.reference if doc.metadata["kind"] == "reference" else self.prose).filter(doc)
        return verdict


class Decontaminate(BaseFilter):
    """Drop what shares n words in a row with an evaluation row (as GPT-3 and its successors did, with n = 13).

    Args:
        index: of the evaluation texts.
        tasks: the task of each indexed text.
        writer: where dropped documents go.
    """

    name = "contamination"

    def __init__(self, index: GramIndex, tasks: Sequence[str], writer: JsonlWriter) -> None:
        super().__init__(writer)
        self.index, self.tasks, self.words = index, list(tasks), WordHasher()

    def filter(self, doc: Document) -> bool | tuple[bool, str]:
        """Keep a document without a match; the reason names the task."""
        match = self.index.first_match(self.words(doc.text))
        return True if match is None else (False, f"contaminated_{self.tasks[match]}")


class QuietExecutor(LocalPipelineExecutor):
    """The local executor without its log on the screen (each task has a log file anyway), and with workers that survive signals.

    A worker that a signal kills takes its task with it, and the pool waits for it for ever. So Ctrl-C is the parent's
    business alone, and SIGTERM (Slurm sends it to every process) becomes an error that reaches the parent before the worker
    goes.
    """

    def _launch_run_for_rank(self, rank: int, ranks_q: Any, completed: Any = None, completed_lock: Any = None) -> Any:
        worker = _is_worker()
        if worker:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, _give_up)
        try:
            with contextlib.redirect_stderr(io.StringIO()):
                return super()._launch_run_for_rank(rank, ranks_q, completed, completed_lock)
        finally:
            if worker:  # idle workers must die of SIGTERM at once: that is how the pool ends
                signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _is_worker() -> bool:
    return multiprocess.parent_process() is not None


def _give_up(number: int, frame: object) -> None:
    timer = threading.Timer(2.0, os._exit, (1,))
    timer.daemon = True
    timer.start()
    raise StageError(f"corpus: a worker was stopped by signal {number}")


def _steps(config: CorpusConfig, folder: Path, evaluation: Sequence[tuple[str, str, str]]) -> list[PipelineStep]:
    blank: Any = BlankWords()

    def removed(name: str) -> JsonlWriter:
        return JsonlWriter(str(folder / "removed" / name), "${rank}.jsonl", compression=None)

    quality = ByKind(
        "quality",
        GopherQualityFilter(min_doc_words=12, max_avg_word_length=14, min_stop_words=0, language=blank),
        GopherQualityFilter(language=blank),
        removed("quality"),
    )
    repetition = ByKind(
        "repetition",
        GopherRepetitionFilter(top_n_grams=(), language=blank),
        GopherRepetitionFilter(language=blank),
        removed("repetition"),
    )
    index = GramIndex.of((text for _, _, text in evaluation), config.decontaminate)
    contamination = Decontaminate(index, [task for task, _, _ in evaluation], removed("contamination"))
    # Not gzipped: a gzip header holds the time, and an orphan of a killed run may still write the same file.
    kept = JsonlWriter(str(folder / "kept"), "${rank}.jsonl", compression=None)
    return [SourceReader(config.sources, str(folder / _STOP)), quality, repetition, contamination, kept]


def filter_documents(config: CorpusConfig, ws: Workspace, evaluation: Sequence[tuple[str, str, str]]) -> Path:
    """Run the pipeline to its end.

    Args:
        config: sources, executor and workers.
        ws: the stage; progress is told while tasks finish.
        evaluation: (task, row id, text) of what must not be in the corpus.

    Returns:
        the folder with `kept/` and `removed/FILTER/`.
    """
    folder, logs = ws.dir / "checkpoints" / "documents", ws.dir / "checkpoints" / "logs"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _STOP).unlink(missing_ok=True)
    _quiet(logs)
    executor = _executor(config, _steps(config, folder, evaluation), folder / "state")
    done = threading.Event()
    watch = threading.Thread(target=_watch, args=(ws, folder, done), daemon=True)
    watch.start()
    try:
        executor.run()
        while _finished(folder) < TASKS:  # Slurm only submits; the jobs take as long as they take
            ws.check()
            time.sleep(1)
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
        from datatrove.executor.slurm import SlurmPipelineExecutor

        return SlurmPipelineExecutor(
            pipeline=steps,
            tasks=TASKS,
            workers=config.workers,
            time="08:00:00",
            partition=os.environ.get("TENET_SLURM_PARTITION", "cpu"),
            job_name="tenet-corpus",
            logging_dir=str(state),
            venv_path=str(Path(sys.prefix) / "bin" / "activate"),
        )
    if config.executor == "ray":
        from datatrove.executor.ray import RayPipelineExecutor

        return RayPipelineExecutor(pipeline=steps, tasks=TASKS, workers=config.workers, logging_dir=str(state))
    return QuietExecutor(pipeline=steps, tasks=TASKS, workers=min(config.workers, TASKS), logging_dir=str(state))


def _quiet(logs: Path) -> None:
    """What datatrove logs in this process goes into a file, not on the screen."""
    from loguru import logger

    logs.mkdir(parents=True, exist_ok=True)
    logger.remove()
    logger.add(logs / "datatrove.log", level="INFO")


def _finished(folder: Path) -> int:
    return len(list((folder / "state" / "completions").glob("*")))


def _watch(ws: Workspace, folder: Path, done: threading.Event) -> None:
    """Tell how many tasks are finished, and pass a stop request on to the workers."""
    while not done.wait(0.25):
        finished = _finished(folder)
        ws.progress(5 + 35 * finished / TASKS, 100, f"reading and filtering: {finished} of {TASKS} parts")
        if ws.stop.is_set():
            (folder / _STOP).touch()


def kept_documents(folder: Path) -> Iterator[dict[str, Any]]:
    """What passed, in the order of the tasks."""
    for path in sorted((folder / "kept").glob("*.jsonl")):
        yield from read_jsonl(path)


def removed_documents(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(filter, document) of all that was dropped; the reason is in the document's metadata."""
    for name in ("quality", "repetition", "contamination"):
        for path in sorted((folder / "removed" / name).glob("*.jsonl")):
            yield from ((name, row) for row in read_jsonl(path))


def clear(folder: Path) -> None:
    """Delete the intermediate files: markers first, so that a kill in between means "do it again" and never "nothing there"."""
    shutil.rmtree(folder / "state", ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)
