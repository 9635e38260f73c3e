"""Everything a client can be told went wrong: one table of codes, one exception, one place that turns it into HTTP.

Clients decide by code and status and read a few key words of the message (litellm, strands: "Input is too long";
botocore: the header `x-amzn-ErrorType`), so both stand here and nowhere else.
"""

from __future__ import annotations

import math
from typing import Any

#: Code -> HTTP status, as in the Bedrock Runtime service model; the last group is what AWS sends before a service is
#: reached.
STATUS: dict[str, int] = {
    "ValidationException": 400,
    "ConflictException": 400,
    "ServiceQuotaExceededException": 400,
    "AccessDeniedException": 403,
    "ResourceNotFoundException": 404,
    "ModelTimeoutException": 408,
    "ModelErrorException": 424,
    "ModelStreamErrorException": 424,
    "ThrottlingException": 429,
    "ModelNotReadyException": 429,
    "InternalServerException": 500,
    "ServiceUnavailableException": 503,
    "MissingAuthenticationTokenException": 403,
    "IncompleteSignatureException": 403,
    "InvalidSignatureException": 403,
    "UnrecognizedClientException": 403,
    "UnknownOperationException": 404,
}

#: What a client may try again by itself, and after how many milliseconds when nothing better is known.
RETRY_MS: dict[str, int] = {"ThrottlingException": 1000, "ModelNotReadyException": 2000, "ServiceUnavailableException": 2000}


class ServiceError(Exception):
    """An answer that is an error.

    Args:
        code: a key of `STATUS`.
        message: for the client; it may quote what the client sent, so it is never logged.
        retry_ms: when to try again; taken from `RETRY_MS` when left out.
    """

    def __init__(self, code: str, message: str, retry_ms: int | None = None) -> None:
        super().__init__(message)
        self.code, self.status = code, STATUS[code]
        self.retry_ms = retry_ms if retry_ms is not None else RETRY_MS.get(code)

    @property
    def event_name(self) -> str:
        """Name of the same error inside an event stream: first letter small."""
        return self.code[0].lower() + self.code[1:]


def invalid(path: str, problem: str) -> ServiceError:
    """A `ValidationException` that says which member of the request is wrong."""
    return ServiceError("ValidationException", f"{path}: {problem}" if path else problem)


def too_long(tokens: int, limit: int) -> ServiceError:
    """The prompt does not fit. litellm and strands look for these very words and raise their context-window errors."""
    return ServiceError(
        "ValidationException", f"Input is too long for requested model. prompt is too long: {tokens} tokens > {limit} maximum"
    )


#: Code -> `error.type` of Anthropic's own API, for its route; codes that are not here are the client's mistakes.
_ANTHROPIC_TYPE = {
    "AccessDeniedException": "authentication_error",
    "MissingAuthenticationTokenException": "authentication_error",
    "IncompleteSignatureException": "authentication_error",
    "InvalidSignatureException": "authentication_error",
    "UnrecognizedClientException": "authentication_error",
    "ResourceNotFoundException": "not_found_error",
    "UnknownOperationException": "not_found_error",
    "ThrottlingException": "rate_limit_error",
    "ModelNotReadyException": "rate_limit_error",
    "ModelTimeoutException": "timeout_error",
    "ModelErrorException": "api_error",
    "InternalServerException": "api_error",
    "ServiceUnavailableException": "overloaded_error",
}


def error_headers(error: ServiceError) -> dict[str, str]:
    """Headers that clients decide by: the code, and when to try again."""
    headers = {"x-amzn-ErrorType": error.code}
    if error.retry_ms is not None:
        # botocore reads the first (milliseconds), the anthropic client the other three.
        headers |= {
            "x-amz-retry-after": str(error.retry_ms),
            "retry-after-ms": str(error.retry_ms),
            "retry-after": str(math.ceil(error.retry_ms / 1000)),
            "x-should-retry": "true",
        }
    return headers


def error_body(error: ServiceError) -> dict[str, Any]:
    """As botocore and litellm expect it; an error of the model carries the two members of its shape."""
    extra = {"originalStatusCode": 500, "resourceName": "model"} if error.code == "ModelErrorException" else {}
    return {"message": str(error), **extra}


def anthropic_error(error: ServiceError, request_id: str) -> tuple[int, dict[str, Any]]:
    """Status and body of the same error on Anthropic's own route, where a wrong key is 401."""
    kind = _ANTHROPIC_TYPE.get(error.code, "invalid_request_error")
    status = 401 if kind == "authentication_error" else error.status
    return status, {"type": "error", "error": {"type": kind, "message": str(error)}, "request_id": request_id}
