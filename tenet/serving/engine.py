"""One engine behind its own thread, so that the event loop never waits for a matrix.

The engine computes in that thread or, with `process=True`, in a process of its own; either is made again when it fails. Commands go in by a queue and are read between two steps: a client that went away costs at most the step that is running. The
tokens of a step come out together, in one call into the event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import threading
import time
import traceback
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lightning_modules.generation.protocol import Engine, Refused, Sampling, Token
from tenet.serving.ask import TextLayer
from tenet.serving.errors import ServiceError

log = logging.getLogger("tenet.serving")
#: How often an idle engine is asked whether it still lives, in seconds.
CHECK_SECONDS = 0.5


@dataclass(frozen=True)
class Backend:
    """What answers: an engine and the text layer that belongs to its weights."""

    engine: Engine
    text: TextLayer


def load(name: str, folder: Path, max_slots: int, threads: int = 0, dtype: str = "fp32", process: bool = False) -> Backend:
    """An engine on a Hugging Face folder, with its text layer; see `backends.make_engine`."""
    from lightning_modules.data.chat import ChatTokenizer
    from tenet.serving.backends import make_engine
    from tenet.serving.echo import ByteText

    text = ByteText() if name == "echo" else ChatTokenizer.from_folder(folder)
    return Backend(make_engine(name, folder, dtype, max_slots, threads, process), text)


@dataclass(eq=False)
class _Job:
    prompt: Sequence[int]
    sampling: Sampling
    loop: asyncio.AbstractEventLoop
    tokens: asyncio.Queue[Token | ServiceError] = field(default_factory=asyncio.Queue)
    number: int = -1


class Runner:
    """Owns the engine's thread.

    Args:
        load: makes the backend; called in the thread, and again after the engine failed.
        max_open: requests running and waiting together; one more is refused.
    """

    def __init__(self, load: Callable[[], Backend], max_open: int) -> None:
        self._load, self.max_open = load, max_open
        self.backend: Backend | None = None
        self.failure = ""
        self.open = 0
        self._commands: queue.SimpleQueue[tuple[str, _Job | None]] = queue.SimpleQueue()
        self._jobs: dict[int, _Job] = {}
        self._settled = threading.Event()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="tenet-engine", daemon=True)

    def start(self) -> None:
        """Begin to load; `ready` says when it is done."""
        self._thread.start()

    def wait(self, timeout: float) -> None:
        """Block until the weights are loaded.

        Raises:
            ServiceError: they could not be, or not in time.
        """
        self._settled.wait(timeout)
        self.need()

    def close(self) -> None:
        """Stop the thread; open requests end with an error."""
        self._commands.put(("close", None))
        if self._thread.is_alive():
            self._thread.join()

    def need(self) -> Backend:
        """The backend, or the error that says why there is none."""
        if self.failure:
            raise ServiceError("ServiceUnavailableException", "The model could not be loaded.")
        if self.backend is None:
            raise ServiceError("ModelNotReadyException", "The model is being loaded; try again in a moment.")
        return self.backend

    @contextlib.contextmanager
    def place(self) -> Iterator[None]:
        """A place among the open requests, held for as long as the block runs.

        Raises:
            ServiceError: ThrottlingException when all are taken.
        """
        if self.open >= self.max_open:
            raise ServiceError("ThrottlingException", "Too many requests, please wait before trying again.")
        self.open += 1
        try:
            yield
        finally:
            self.open -= 1

    async def tokens(self, prompt: Sequence[int], sampling: Sampling, seconds: float) -> AsyncGenerator[Token, None]:
        """Tokens as they are made. Leaving early cancels the request before the engine's next step.

        Args:
            prompt: token ids; must leave room for an answer.
            sampling: how to draw.
            seconds: deadline of the whole answer.

        Raises:
            ServiceError: the deadline passed, the engine failed or the endpoint is going down.
        """
        job = _Job(prompt, sampling, asyncio.get_running_loop())
        deadline = time.monotonic() + seconds
        self._submit(job)
        finished = False
        try:
            while not finished:
                try:
                    async with asyncio.timeout(deadline - time.monotonic()):
                        token = await job.tokens.get()
                except TimeoutError:
                    raise ServiceError("ModelTimeoutException", f"The model did not finish within {seconds:g} seconds.") from None
                if isinstance(token, ServiceError):
                    finished = True
                    raise token
                finished = token.finish is not None
                yield token
        finally:
            if not finished:
                self._commands.put(("cancel", job))

    def _submit(self, job: _Job) -> None:
        if self._closed:
            raise ServiceError("ServiceUnavailableException", "The endpoint is shutting down.")
        self._commands.put(("submit", job))

    # --- in the thread -----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while self._start_engine() and self._serve():
            pass
        self._closed = True
        with contextlib.suppress(queue.Empty):
            while True:
                _, job = self._commands.get_nowait()
                if job is not None and job.number < 0:
                    self._jobs[-1 - len(self._jobs)] = job  # never reached an engine: any free key will do
        self._fail_all("ServiceUnavailableException", "The endpoint is shutting down.")

    def _start_engine(self) -> bool:
        try:
            self.backend = self._load()
        except Exception as error:  # whatever the loader raises must reach /readyz, not only a dead thread
            self.failure = f"{type(error).__name__}: {error}"
            log.error("engine: weights could not be loaded: %s", self.failure)
        self._settled.set()
        return self.backend is not None

    def _serve(self) -> bool:
        """Step until told to close (False) or the engine fails (True: load it again)."""
        assert self.backend is not None
        engine = self.backend.engine
        try:
            while self._take_commands(engine):
                if not engine.idle:
                    self._deliver(engine.step())
            engine.close()
            return False
        except Exception as error:  # an engine that failed once is not trusted with the other requests either
            # Places in the code only: a message could quote a prompt.
            where = " < ".join(f"{f.filename}:{f.lineno}" for f in reversed(traceback.extract_tb(error.__traceback__)))
            log.error("engine: %s at %s; loading it again", type(error).__name__, where)
            self.backend = None
            with contextlib.suppress(Exception):
                engine.close()
            self._fail_all("ModelErrorException", "The model failed while it answered; the request can be sent again.")
            return True

    def _take_commands(self, engine: Engine) -> bool:
        """Everything that was asked since the last step; waits when there is nothing to do. False: close."""
        while True:
            idle = engine.idle
            try:
                kind, job = self._commands.get(block=idle, timeout=CHECK_SECONDS)
            except queue.Empty:
                if not idle:
                    return True
                engine.check()
                continue
            if job is None:
                return False
            if kind == "submit":
                # Known under its own number before the engine sees it, so that a failing submit tells this client too.
                self._jobs[job.number] = job
                try:
                    number = engine.submit(job.prompt, job.sampling)
                except Refused as error:
                    del self._jobs[job.number]
                    _call(job.loop, [(job, ServiceError("ValidationException", str(error)))])
                    continue
                self._jobs[number] = self._jobs.pop(job.number)
                job.number = number
            elif self._jobs.get(job.number) is job:  # an engine that was loaded again counts from one again
                del self._jobs[job.number]
                engine.cancel(job.number)

    def _deliver(self, tokens: list[Token]) -> None:
        """Hand over the tokens of one step, one call for each event loop."""
        batches: dict[asyncio.AbstractEventLoop, list[tuple[_Job, Token | ServiceError]]] = {}
        for token in tokens:
            job = self._jobs.pop(token.request, None) if token.finish else self._jobs.get(token.request)
            if job is not None:
                batches.setdefault(job.loop, []).append((job, _error_of(token) or token))
        for loop, batch in batches.items():
            _call(loop, batch)

    def _fail_all(self, code: str, message: str) -> None:
        jobs = list(self._jobs.values())
        self._jobs.clear()
        for job in jobs:
            _call(job.loop, [(job, ServiceError(code, message))])


def _error_of(token: Token) -> ServiceError | None:
    """What the client of a request that failed is told."""
    if token.finish != "failed":
        return None
    if token.error:
        return ServiceError("ValidationException", token.error)
    return ServiceError("ModelErrorException", "The model could not finish this answer; the request can be sent again.")


def _call(loop: asyncio.AbstractEventLoop, batch: list[tuple[_Job, Token | ServiceError]]) -> None:
    def put() -> None:
        for job, token in batch:
            job.tokens.put_nowait(token)

    with contextlib.suppress(RuntimeError):  # the loop has been closed: nobody is left to read
        loop.call_soon_threadsafe(put)
