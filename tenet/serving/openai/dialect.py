"""What OpenAI's two APIs have in common on the wire: errors, ids, server-sent events, usage, reasons, log-probabilities.

Source: the types of the package `openai`, which clients parse answers with.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from typing import Any

from tenet.serving.engines.scored import ScoredEnd, TokenScore
from tenet.serving.http.request import Call
from tenet.serving.protocol.chat_request import End
from tenet.serving.protocol.exceptions import ServiceError
from tenet.serving.protocol.json_bytes import dumps

SSE = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-store"}
_REQUEST, _SERVER = "invalid_request_error", "server_error"
#: Code of ours -> status, `error.type`, `error.code`; what is not here is the caller's mistake, status as everywhere.
_ERRORS: dict[str, tuple[int, str, str | None]] = {
    "MissingAuthenticationTokenException": (401, _REQUEST, "invalid_api_key"),
    "UnrecognizedClientException": (401, _REQUEST, "invalid_api_key"),
    "IncompleteSignatureException": (401, _REQUEST, "invalid_api_key"),
    "InvalidSignatureException": (401, _REQUEST, "invalid_api_key"),
    "ExpiredTokenException": (401, _REQUEST, "invalid_api_key"),
    "AccessDeniedException": (401, _REQUEST, "invalid_api_key"),
    "ResourceNotFoundException": (404, _REQUEST, "model_not_found"),
    "UnknownOperationException": (404, _REQUEST, "unknown_url"),
    "ThrottlingException": (429, "rate_limit_error", "rate_limit_exceeded"),
    "ModelNotReadyException": (503, _SERVER, "model_not_ready"),
    "ModelTimeoutException": (408, "timeout_error", "timeout"),
    "ModelErrorException": (500, _SERVER, "server_error"),
    "InternalServerException": (500, _SERVER, "server_error"),
    "ServiceUnavailableException": (503, _SERVER, "server_overloaded"),
}
#: Messages of ours begin with the path of the member that is wrong.
_PATH = re.compile(r"([A-Za-z_-]+(?:\.\w+)*): ")
_INDEX = re.compile(r"\.(\d+)")
#: `End.reason` -> `finish_reason`; the text of a call that could not be read is there to look at.
_FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "malformed_tool_use": "stop",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "guardrail_intervened": "content_filter",
}


class OpenAICall(Call):
    """A request by one of OpenAI's routes: its errors have their form, and its id stands where their clients look."""

    _failed: ServiceError | None = None

    async def error(self, error: ServiceError) -> None:
        """The same answer as everywhere, in another form."""
        self._failed = error
        await super().error(error)

    async def json(self, content: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        """Send a whole response of JSON."""
        if self._failed is not None:
            status, content = openai_error(self._failed)
        await super().json(content, status, {"x-request-id": self.id, **(headers or {})})


def openai_error(error: ServiceError) -> tuple[int, dict[str, Any]]:
    """Status and body of an error in OpenAI's form."""
    status, kind, code = _ERRORS.get(error.code, (error.status, _REQUEST, None))
    message, path = str(error), _PATH.match(str(error))
    if "prompt is too long" in message:
        code = "context_length_exceeded"  # what litellm and others look for
    if code == "model_not_found" and "model" not in message:
        code = "not_found"  # a guardrail
    param = _INDEX.sub(r"[\1]", path[1]) if path and error.code == "ValidationException" else None
    return status, {"error": {"message": message, "type": kind, "param": param, "code": code}}


def new_id(prefix: str) -> str:
    """One that no other answer has."""
    return prefix + secrets.token_hex(12)


def data(content: dict[str, Any]) -> bytes:
    """A server-sent event without a name."""
    return b"data: %s\n\n" % dumps(content)


def finish_reason(end: End) -> str:
    """Why an answer ended, in OpenAI's words."""
    return _FINISH.get(end.reason, "stop")


def usage(end: End) -> dict[str, Any]:
    """Counts of Chat Completions and Completions; what the prefix cache had and took is part of the prompt."""
    return {
        "prompt_tokens": end.input_tokens,
        "completion_tokens": end.output_tokens,
        "total_tokens": end.input_tokens + end.output_tokens,
        "prompt_tokens_details": {"cached_tokens": end.cached_tokens, "cache_write_tokens": end.written_tokens},
        "completion_tokens_details": {"reasoning_tokens": 0},
    }


def shown(tokens: Sequence[TokenScore]) -> list[dict[str, Any]]:
    """Tokens with their log-probabilities and candidates."""
    return [{**_one(token), "top_logprobs": [_one(other) for other in token.top]} for token in tokens]


def _one(token: TokenScore) -> dict[str, Any]:
    return {"token": token.text, "logprob": token.logprob, "bytes": list(token.piece)}


def ranked(end: End, most: int = 20) -> list[Any]:
    """The prompt's tokens by id, as vLLM has them: each with its candidates and their ranks; nothing predicts the
    first."""
    return [None, *(_place(token, most) for token in end.prompt)] if isinstance(end, ScoredEnd) else []


def _place(token: TokenScore, most: int) -> dict[str, Any]:
    ranks = {other.id: rank for rank, other in enumerate(token.top, 1)}
    return {
        str(one.id): {"logprob": one.logprob, "rank": ranks.get(one.id), "decoded_token": one.text}
        for one in (token, *token.top[:most])
    }
