"""The page's server: four files and three questions. Nothing that it sends says which model wrote which answer.

Who may ask has the token, which stands behind the # of the link: browsers send that part to nobody, so it is in no log
and no referrer. Starlette and uvicorn are what the endpoint is served with, too.
"""

from __future__ import annotations

import asyncio
import functools
import hmac
import json
import socket
from collections.abc import Awaitable, Callable
from importlib import resources
from typing import Any
from urllib.parse import quote

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tenet.errors import ConfigError, StageError
from tenet.feedback.handout import Conflict, Shown, judge, next_item, progress, undo
from tenet.feedback.ledger import Ledger
from tenet.rows import Row
from tenet.serving.server.signals import EndingServer

#: Path -> file of tenet/feedback/page and its content type.
FILES = {
    "/": ("feedback.html", "text/html; charset=utf-8"),
    "/feedback.js": ("feedback.js", "text/javascript; charset=utf-8"),
    "/feedback.css": ("feedback.css", "text/css; charset=utf-8"),
    "/feedback.svg": ("feedback.svg", "image/svg+xml"),
}
#: Its own files and its own server, nothing from elsewhere and nothing inline.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
LARGEST_BODY = 1 << 16
LONGEST_NAME = 40


class Refused(Exception):
    """A request that is not answered, with its status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def application(ledger: Ledger, token: str, guidelines: str) -> Starlette:
    """The page and its questions: `/api/next`, `/api/judgement`, `/api/undo`, each a POST of JSON with `annotator`.

    Args:
        token: what the page must show as `Authorization: Bearer ...`.
        guidelines: shown in a box of the page, as text.
    """

    def answer(annotator: str, shown: Shown | None) -> Row:
        done = progress(ledger, annotator)
        state = {"judged": done.judged, "skipped": done.skipped, "left": done.left}
        return {"item": shown and visible(shown), "progress": state}

    def following(body: Row, annotator: str) -> Row:
        return {"guidelines": guidelines, **answer(annotator, next_item(ledger, annotator))}

    def judged(body: Row, annotator: str) -> Row:
        item, seconds = body.get("item"), body.get("seconds", 0.0)
        pick, reason = body.get("verdict"), body.get("reason", "")
        if type(item) is not int or type(seconds) not in (int, float) or not isinstance(pick, str) or not isinstance(reason, str):
            raise Refused(400, "item is a whole number, seconds a number, verdict and reason are texts")
        judge(ledger, annotator, item, pick, reason, seconds)
        return answer(annotator, next_item(ledger, annotator))

    def undone(body: Row, annotator: str) -> Row:
        shown = undo(ledger, annotator)
        if shown is None:
            raise Refused(409, "there is nothing to undo")
        return answer(annotator, shown)

    def asked(work: Callable[[Row, str], Row]) -> Callable[[Request], Awaitable[Response]]:
        async def handle(request: Request) -> Response:
            try:
                check_token(request, token)
                body = await read_body(request)
                found = await run_in_threadpool(work, body, name_of(body.get("annotator")))
            except Refused as error:
                return JSONResponse({"message": str(error)}, error.status, HEADERS)
            except Conflict as error:
                return JSONResponse({"message": str(error)}, 409, HEADERS)
            except StageError as error:  # the disk is full, say: nothing was written, and whoever judges must know
                return JSONResponse({"message": f"not saved: {error}"}, 503, HEADERS)
            return JSONResponse(found, headers=HEADERS)

        return handle

    api = {"/api/next": following, "/api/judgement": judged, "/api/undo": undone}
    return Starlette(
        routes=[
            *(Route(path, page_file, methods=["GET"]) for path in FILES),
            *(Route(path, asked(work), methods=["POST"]) for path, work in api.items()),
        ]
    )


def visible(shown: Shown) -> Row:
    """An item as the page gets it: words alone, no side's name, length of tokens or reason of an end."""
    turns = [{"role": turn["role"], "text": _turn_text(turn)} for turn in shown.item.prompt["prompt"]]
    return {"id": shown.item.id, "prompt": turns, "answers": list(shown.texts)}


def _turn_text(turn: Row) -> str:
    calls = [json.dumps(call.get("function", call), ensure_ascii=False) for call in turn.get("tool_calls") or ()]
    return "\n".join([*([turn["content"]] if turn.get("content") else []), *calls])


async def page_file(request: Request) -> Response:
    """One of the page's files; nothing in them is secret."""
    name, kind = FILES[request.url.path]
    return Response(_content(name), headers={**HEADERS, "content-type": kind})


@functools.cache
def _content(name: str) -> bytes:
    return resources.files("tenet.feedback").joinpath("page", name).read_bytes()


def check_token(request: Request, token: str) -> None:
    """Refuse who does not know the token."""
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not hmac.compare_digest(given.encode(), token.encode()):
        raise Refused(401, "the link is not complete: open it as `tenet feedback` printed it, with all that stands behind #")


async def read_body(request: Request) -> Row:
    """The JSON object of a request."""
    content = b""
    async for piece in request.stream():
        content += piece
        if len(content) > LARGEST_BODY:
            raise Refused(413, f"a request has at most {LARGEST_BODY} bytes")
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise Refused(400, "the request is not a JSON object")
    return body


def name_of(value: Any) -> str:
    """An annotator's name, without blanks around it."""
    name = " ".join(value.split()) if isinstance(value, str) else ""
    if not name or len(name) > LONGEST_NAME or not name.isprintable():
        raise Refused(400, f"say who judges: a name of 1 to {LONGEST_NAME} printable characters")
    return name


def listen(host: str, port: int) -> socket.socket:
    """The socket of the page; port 0 takes a free one.

    Raises:
        ConfigError: the address cannot be had.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise ConfigError(
            f"--host {host} --port {port}: {error.strerror or error}; another --port, or 0 for a free one"
        ) from None


def link(listener: socket.socket, token: str, annotator: str = "") -> str:
    """What to open; everything behind # stays in the browser."""
    host, port = listener.getsockname()[:2]
    name = f"&annotator={quote(annotator)}" if annotator else ""
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/#token={token}{name}"


class PageServer(EndingServer):
    """uvicorn around the page."""

    def __init__(self, app: Starlette) -> None:
        quiet: dict[str, Any] = {"log_config": None, "access_log": False, "server_header": False, "proxy_headers": False}
        super().__init__(uvicorn.Config(app, lifespan="off", ws="none", timeout_graceful_shutdown=5, **quiet))


def serve(app: Starlette, listener: socket.socket) -> None:
    """Serve until SIGINT or SIGTERM; what is being written then is written to its end."""
    asyncio.run(PageServer(app).serve(sockets=[listener]))
