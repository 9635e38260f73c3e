"""Pairs, ledgers and a page's server for the tests here."""

from __future__ import annotations

import asyncio
import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tenet.feedback.answering import Answer
from tenet.feedback.judging.pair_judges import Pair
from tenet.feedback.ledger import Ledger
from tenet.feedback.web import PageServer, application, listen

TOKEN = "a-token-of-the-tests"


def prompt_row(number: int, **more: Any) -> dict[str, Any]:
    """A prompt row as the reader makes it."""
    origin = {"id": f"p{number}", "source": "made", "licence": "CC0-1.0", "group": ""}
    return {"prompt": [{"role": "user", "content": f"Question {number}?"}], "kind": "", **origin, **more}


def pair(number: int, a: str, b: str, **more: Any) -> Pair:
    return Pair(prompt_row(number, **more), Answer(a), Answer(b))


def ledger_of(folder: Path, items: int, overlap: float = 1.0) -> Ledger:
    """A ledger whose answers say which side they are of, which the page must not."""
    ledger = Ledger(folder, create=True)
    rows = [prompt_row(i) for i in range(items)]
    ledger.fill(rows, [(Answer(f"alpha {i}"), Answer(f"beta {i}")) for i in range(items)], overlap, seed=0)
    return ledger


def write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@contextmanager
def served(ledger: Ledger, guidelines: str = "Be fair.") -> Iterator[str]:
    """The address of the page, served by a thread."""
    listener = listen("127.0.0.1", 0)
    server = PageServer(application(ledger, TOKEN, guidelines))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])))
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)
        listener.close()


def ask(address: str, path: str, body: Any, token: str = TOKEN) -> tuple[int, Any]:
    """Status and JSON of a question to the API."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(f"{address}/api/{path}", content, {"authorization": f"Bearer {token}"})
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            return response.status, json.loads(response.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())
