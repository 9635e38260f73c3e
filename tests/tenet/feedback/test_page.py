"""The page's server: who may ask, what it tells, and that it tells nothing else."""

from __future__ import annotations

import json
import re
import threading
import urllib.request
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from tenet.errors import ConfigError
from tenet.feedback.answering import Answer
from tenet.feedback.handout import Shown
from tenet.feedback.ledger import Item
from tenet.feedback.web import FILES, LARGEST_BODY, link, listen, visible
from tests.tenet.feedback.made import TOKEN, ask, ledger_of, prompt_row, served


def test_the_files_load_nothing_from_elsewhere(tmp_path: Path) -> None:
    with served(ledger_of(tmp_path, 1)) as address:
        for path, (name, kind) in FILES.items():
            with urllib.request.urlopen(address + path) as response:
                content = response.read()
                assert response.headers["content-type"] == kind
                policy = response.headers["content-security-policy"]
                assert "default-src 'none'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
            assert content == resources.files("tenet.feedback").joinpath("page", name).read_bytes()
            text = content.decode().replace("http://www.w3.org/2000/svg", "")
            assert not re.search(
                r"https?://|innerHTML|outerHTML|insertAdjacent|document\.write|eval\(|<script>| on\w+=|style=", text
            )


@pytest.mark.parametrize("token", ["", "wrong", TOKEN + "x", TOKEN.upper(), "ä"])
def test_nothing_without_the_token(tmp_path: Path, token: str) -> None:
    with served(ledger_of(tmp_path, 1)) as address:
        for path in ("next", "judgement", "undo"):
            status, body = ask(address, path, {"annotator": "ann"}, token.encode("utf-8").decode("latin-1"))
            assert status == 401 and set(body) == {"message"}
        assert ask(address, "next", {"annotator": "ann"})[0] == 200


def test_a_verdict_goes_in_and_the_next_item_comes_back(tmp_path: Path) -> None:
    ledger = ledger_of(tmp_path, 2)
    with served(ledger, "Read both.") as address:
        _, first = ask(address, "next", {"annotator": "  ann  lee "})
        assert first["guidelines"] == "Read both." and first["progress"] == {"judged": 0, "skipped": 0, "left": 2}
        item = first["item"]
        body = {"annotator": "ann lee", "item": item["id"], "verdict": "first", "reason": " clear ", "seconds": 0.01}
        _, second = ask(address, "judgement", body)
        assert second["progress"] == {"judged": 1, "skipped": 0, "left": 1} and second["item"]["id"] != item["id"]
        (made,) = ledger.judgements()
        assert (made.annotator, made.reason, made.first) == ("ann lee", "clear", True)
        assert item["answers"][0].startswith("alpha" if made.verdict == "a" else "beta")
        _, back = ask(address, "undo", {"annotator": "ann lee"})
        assert back["item"] == item and back["progress"]["judged"] == 0
        assert ask(address, "undo", {"annotator": "ann lee"})[0] == 409


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b"[" * 5000, 400),
        ([], 400),
        ({}, 400),
        ({"annotator": "x" * 41}, 400),
        ({"annotator": "a\u202eb"}, 400),
        ({"annotator": "ann", "item": "1", "verdict": "tie"}, 400),
        ({"annotator": "ann", "item": True, "verdict": "tie"}, 400),
        ({"annotator": "ann", "item": 99, "verdict": "tie"}, 409),
        ({"annotator": "ann", "item": 1, "verdict": "tie", "reason": "x" * 2001}, 409),
        (b" " * (LARGEST_BODY + 1), 413),
    ],
)
def test_what_cannot_be_is_refused_in_words(tmp_path: Path, body: Any, status: int) -> None:
    ledger = ledger_of(tmp_path, 1)
    with served(ledger) as address:
        ask(address, "next", {"annotator": "ann"})
        found, said = ask(address, "judgement", body)
        assert found == status and said["message"]
    assert not ledger.judgements()


def test_blind(tmp_path: Path) -> None:
    """Swap the models behind two answers: the page gets the same bytes, whatever else differs between the sides."""
    row = prompt_row(1, verifier={"kind": "exact", "answer": "x"}, answer="x")
    one, other = Answer("Yes.", (), "stop"), Answer("No.", ({"name": "f", "arguments": {}},), "length", "cut")
    shown = visible(Shown(Item(7, row, one, other, True), a_left=True))
    swapped = visible(Shown(Item(7, row, other, one, False), a_left=False))
    assert json.dumps(shown) == json.dumps(swapped)
    assert set(shown) == {"id", "prompt", "answers"} and "length" not in json.dumps(shown) and "exact" not in json.dumps(shown)


def test_blind_over_the_wire(tmp_path: Path) -> None:
    """The names of the models are in the ledger and in no answer of the server."""
    ledger = ledger_of(tmp_path, 12)
    ledger.same("settings", {"a": "runs/secret-one", "b": "runs/secret-two"})
    told, places = [], set()
    with served(ledger) as address:
        _, found = ask(address, "next", {"annotator": "ann"})
        while found["item"]:
            told.append(json.dumps(found))
            places.add(found["item"]["answers"][0].split()[0])
            _, found = ask(
                address, "judgement", {"annotator": "ann", "item": found["item"]["id"], "verdict": "tie", "seconds": 0}
            )
    assert len(told) == 12 and "secret" not in "".join(told) and places == {"alpha", "beta"}


def test_two_annotators_at_once(tmp_path: Path) -> None:
    ledger = ledger_of(tmp_path, 20)

    def work(address: str, name: str) -> None:
        _, found = ask(address, "next", {"annotator": name})
        while found["item"]:
            body = {"annotator": name, "item": found["item"]["id"], "verdict": "second", "seconds": 0.1}
            _, found = ask(address, "judgement", body)

    with served(ledger) as address:
        threads = [threading.Thread(target=work, args=(address, name)) for name in ("ann", "ben")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(ledger.judgements()) == 40
    assert {one.item for one in ledger.judgements() if one.annotator == "ben"} == set(range(1, 21))


def test_the_link_and_a_port_that_is_taken() -> None:
    with listen("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        assert link(first, "t", "Ann Lee") == f"http://127.0.0.1:{port}/#token=t&annotator=Ann%20Lee"
        with pytest.raises(ConfigError, match=f"--port {port}: Address already in use"):
            listen("127.0.0.1", port)


def test_a_disk_that_cannot_be_written_is_said_and_not_called_saved(tmp_path: Path) -> None:
    ledger = ledger_of(tmp_path, 1)
    with served(ledger) as address:
        _, found = ask(address, "next", {"annotator": "ann"})
        ledger._connection.execute("PRAGMA query_only = ON")
        body = {"annotator": "ann", "item": found["item"]["id"], "verdict": "tie", "seconds": 0}
        status, said = ask(address, "judgement", body)
        ledger._connection.execute("PRAGMA query_only = OFF")
        assert status == 503 and said["message"].startswith("not saved: ") and not ledger.judgements()
        assert ask(address, "judgement", body)[0] == 200
    assert len(ledger.judgements()) == 1
