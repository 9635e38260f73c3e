"""One engine behind its own thread, so that the event loop never waits for a matrix.

The engine computes in that thread or, with `process=True`, in a process of its own; either is made again when it fails.
Commands go in by a queue and are read between two steps: a client that went away costs at most the step that is
running. Tokens come out by a `_Post`: waking an event loop costs more than anything else that is done for a token, so
the loop is woken once for all that lies there when it comes.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import threading
import traceback
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lightning_modules.generation.protocol import Engine, Refused, Sampling, Token
from tenet.serving.protocol.chat_request import TextLayer
from tenet.serving.protocol.exceptions import ServiceError

log = logging.getLogger("tenet.serving")
#: How often an idle engine is asked whether it still lives, in seconds.
CHECK_SECONDS = 0.5
#: Steps whose tokens may lie unread before the engine waits for the event loop: one that steps faster than clients can
#: be written to would fill the memory, and in this process keep the loop from running at all.
_UNREAD = 16
#: How long it waits at most, in seconds; a loop that stands still for longer must not stop the other requests' engine.
_UNREAD_SECONDS = 0.1
#: Tokens of one answer handed on at once; a client that reads slowly makes them pile up.
_AT_ONCE = 256


@dataclass(frozen=True)
class Backend:
    """What answers: an engine and the text layer that belongs to its weights."""

    engine: Engine
    text: TextLayer


def load(name: str, folder: Path, max_slots: int, threads: int = 0, dtype: str = "fp32", process: bool = False) -> Backend:
    """An engine on a Hugging Face folder, with its text layer; see `backends.make_engine`."""
    from lightning_modules.data.chat import ChatTokenizer
    from tenet.serving.engines.echo import ByteText
    from tenet.serving.engines.factory import make_engine

    text = ByteText() if name == "echo" else ChatTokenizer.from_folder(folder)
    if isinstance(text, ChatTokenizer) and not text.knows_tools:
        log.warning("%s: the chat template knows no tools; they are written into the conversation in the Hermes form", folder)
    return Backend(make_engine(name, folder, dtype, max_slots, threads, process), text)


@dataclass(eq=False)
class _Job:
    """A request in the engine. Beside `number`, which is the engine thread's, all of it belongs to the event loop."""

    prompt: Sequence[int]
    sampling: Sampling
    post: _Post
    number: int = -1
    tokens: list[Token] = field(default_factory=list)
    error: ServiceError | None = None
    waiter: asyncio.Future[None] | None = None

    def put(self, token: Token | ServiceError) -> None:
        """One more token, or why there will be no more. What comes after an error is dropped."""
        if self.error is None:
            if isinstance(token, ServiceError):
                self.error = token
            else:
                self.tokens.append(token)
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)

    async def take(self) -> list[Token]:
        """All tokens that are there, at least one.

        Raises:
            ServiceError: there will be no more.
        """
        while not self.tokens:
            if self.error is not None:
                raise self.error
            self.waiter = self.post.loop.create_future()
            await self.waiter
        taken, self.tokens = self.tokens[:_AT_ONCE], self.tokens[_AT_ONCE:]
        return taken


class _Post:
    """From the engine's thread to one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._letters: deque[Sequence[tuple[_Job, Token | ServiceError]]] = deque()
        self._rung = False
        self._read = threading.Event()

    def send(self, letters: Sequence[tuple[_Job, Token | ServiceError]]) -> None:
        """In the engine's thread. Wakes the loop unless that has been done and it has not come yet."""
        self._letters.append(letters)
        if not self._rung:
            self._rung = True
            try:
                self.loop.call_soon_threadsafe(self._open)
            except RuntimeError:  # the loop has been closed: nobody is left to read
                self._rung = False
                self._letters.clear()
        elif len(self._letters) > _UNREAD:
            self._read.clear()
            if len(self._letters) > _UNREAD:
                self._read.wait(_UNREAD_SECONDS)

    def _open(self) -> None:
        """In the loop. First the bell, then the letters: one that comes in between rings again."""
        self._rung = False
        for _ in range(len(self._letters)):
            for job, token in self._letters.popleft():
                job.put(token)
        self._read.set()


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
        self._post: _Post | None = None
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
        self._command("close", None)
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

    async def tokens(self, prompt: Sequence[int], sampling: Sampling, seconds: float) -> AsyncGenerator[list[Token], None]:
        """Tokens as they are made, those together that are there together. Leaving early cancels the request before the
        next step.

        Args:
            prompt: token ids; must leave room for an answer.
            sampling: how to draw.
            seconds: deadline of the whole answer.

        Raises:
            ServiceError: the deadline passed, the engine failed or the endpoint is going down.
        """
        loop = asyncio.get_running_loop()
        if self._post is None or self._post.loop is not loop:
            self._post = _Post(loop)
        job = _Job(prompt, sampling, self._post)
        self._submit(job)
        # One timer for the answer: one a token would cost more than the token.
        late = ServiceError("ModelTimeoutException", f"The model did not finish within {seconds:g} seconds.")
        timer = loop.call_later(seconds, job.put, late)
        finished = False
        try:
            while not finished:
                tokens = await job.take()
                finished = tokens[-1].finish is not None
                yield tokens
        finally:
            timer.cancel()
            if not finished:
                self._command("cancel", job)

    def _submit(self, job: _Job) -> None:
        if self._closed:
            raise ServiceError("ServiceUnavailableException", "The endpoint is shutting down.")
        self._command("submit", job)

    def _command(self, kind: str, job: _Job | None) -> None:
        """Read by the thread before the next step; an engine that waits in a step for another process can be woken."""
        self._commands.put((kind, job))
        backend = self.backend
        if backend is not None and (wake := getattr(backend.engine, "wake", None)):
            wake()

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
            if not idle and self._commands.empty():
                return True
            try:
                kind, job = self._commands.get(block=idle, timeout=CHECK_SECONDS)
            except queue.Empty:  # only after the wait of an idle engine: nobody else takes commands out
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
                    job.post.send([(job, ServiceError("ValidationException", str(error)))])
                    continue
                self._jobs[number] = self._jobs.pop(job.number)
                job.number = number
            elif self._jobs.get(job.number) is job:  # an engine that was loaded again counts from one again
                del self._jobs[job.number]
                engine.cancel(job.number)

    def _deliver(self, tokens: list[Token]) -> None:
        """Hand over the tokens of one step."""
        batches: dict[_Post, list[tuple[_Job, Token | ServiceError]]] = {}
        for token in tokens:
            job = self._jobs.pop(token.request, None) if token.finish else self._jobs.get(token.request)
            if job is not None:
                batches.setdefault(job.post, []).append((job, _error_of(token) if token.finish == "failed" else token))
        for post, batch in batches.items():
            post.send(batch)

    def _fail_all(self, code: str, message: str) -> None:
        jobs = list(self._jobs.values())
        self._jobs.clear()
        for job in jobs:
            job.post.send([(job, ServiceError(code, message))])


def _error_of(token: Token) -> ServiceError:
    """What the client of a request that failed is told."""
    if token.error:
        return ServiceError("ValidationException", token.error)
    return ServiceError("ModelErrorException", "The model could not finish this answer; the request can be sent again.")
