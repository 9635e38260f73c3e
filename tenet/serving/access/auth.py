"""Signature Version 4 and API keys, checked against the project's own credentials.

Two steps: `identify` reads the headers, so that strangers cannot make the server read a body; `verify` needs the body,
because its hash is part of the signature. The path is signed as it came over the wire, percent-encoded once more; where
a proxy decoded some of it, as botocore had sent it.
"""

from __future__ import annotations

import datetime
import functools
import hashlib
import hmac
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import quote, unquote

from starlette.datastructures import Headers

from tenet.serving.access import short_term
from tenet.serving.access.credentials import Credentials
from tenet.serving.protocol.exceptions import ServiceError

SKEW_SECONDS = 300
#: The second is what clients of Anthropic's own route sign for.
SERVICES = ("bedrock", "bedrock-mantle")
_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256\s+Credential=(?P<key>[^/,\s]+)/(?P<date>\d{8})/(?P<region>[A-Za-z0-9-]+)/(?P<service>[a-z0-9-]+)/aws4_request\s*,"
    r"\s*SignedHeaders=(?P<signed>[^,\s]+)\s*,\s*Signature=(?P<signature>[0-9a-f]{64})\Z"
)
_TIMESTAMP = re.compile(r"\d{8}T\d{6}Z\Z", re.ASCII)


@dataclass(frozen=True)
class Caller:
    """Who says to be calling; for a signature that is proven only by `verify`."""

    name: str
    signature: re.Match[str] | None = None
    timestamp: str = ""
    secret: str = field(default="", repr=False)


@dataclass(frozen=True)
class SignedRequest:
    """What a signature covers, as it came over the wire."""

    method: str
    raw_path: str
    query: str
    headers: Headers
    body: bytes


class Authenticator:
    """Checks requests.

    Args:
        credentials: accepted keys; may be replaced as a whole while requests run.
        clock: seconds since 1970; replaced in tests.
    """

    def __init__(self, credentials: Credentials, clock: Callable[[], float]) -> None:
        self.credentials, self._clock = credentials, clock

    def identify(self, headers: Headers, signed: bool = True, private: bool = True) -> Caller:
        """Everything that the headers alone can prove wrong.

        Args:
            headers: of the request; Anthropic's clients send an API key as `x-api-key`.
            signed: a signature is as good as an API key; False where no `verify` follows.
            private: nobody could read the request on its way; an API key is taken only then.

        Raises:
            ServiceError: 403, by its code.
        """
        header = headers.get("authorization", "")
        if not header and (key := headers.get("x-api-key")):
            header = f"Bearer {key}"
        bearer = header[:7].strip().lower() == "bearer"
        if not header or (not signed and not bearer):
            raise ServiceError("MissingAuthenticationTokenException", "Missing Authentication Token")
        if bearer:
            return Caller(self._api_key(header[7:].strip(), private))
        match = _AUTHORIZATION.match(header.strip())
        if match is None:
            raise ServiceError(
                "IncompleteSignatureException", "The Authorization header is not a complete AWS4-HMAC-SHA256 signature."
            )
        secret = self.credentials.access_keys.get(match["key"])
        if secret is None:
            raise ServiceError("UnrecognizedClientException", "The security token included in the request is invalid.")
        if "x-amz-security-token" in headers:
            raise ServiceError(
                "UnrecognizedClientException",
                "The security token included in the request is invalid: keys of this endpoint have none; unset AWS_SESSION_TOKEN.",
            )
        return Caller(match["key"], match, self._timestamp(headers, match), secret)

    def _api_key(self, key: str, private: bool) -> str:
        """The name of its owner; a short-term key is its pair's."""
        if not private:
            raise ServiceError(
                "AccessDeniedException",
                "An API key came over plain http, where others can read it: ask by https, or sign requests; and replace this key.",
            )
        if key.startswith(short_term.PREFIX):
            return short_term.pair_of(key, self.credentials, self._clock(), _signing_key, _seconds)
        name = self.credentials.api_key_name(key)
        if name is None:
            raise ServiceError("AccessDeniedException", "Authentication failed: Please make sure your API Key is valid.")
        return f"api:{name}"

    def _timestamp(self, headers: Headers, match: re.Match[str]) -> str:
        """The time of signing, if it is near enough and the signature can cover what it must."""
        timestamp = headers.get("x-amz-date", "")
        try:
            signed_at = _seconds(timestamp)
        except ValueError:
            raise ServiceError("IncompleteSignatureException", "The X-Amz-Date header must look like 20260131T120000Z.") from None
        if match["service"] not in SERVICES or match["date"] != timestamp[:8]:
            raise ServiceError(
                "InvalidSignatureException", "Credential should be scoped to the day of X-Amz-Date and to service bedrock."
            )
        # A client of HTTP/2 signs `:authority`, which stands as Host here, whether a front has put it there or we have.
        names = set(match["signed"].split(";"))
        if not names & {"host", ":authority"} or "x-amz-date" not in names:
            raise ServiceError("IncompleteSignatureException", "SignedHeaders must hold host and x-amz-date.")
        if abs(self._clock() - signed_at) > SKEW_SECONDS:
            raise ServiceError(
                "InvalidSignatureException",
                f"Signature expired: {timestamp} is more than 5 minutes away from the server's clock.",
            )
        return timestamp

    def verify(self, caller: Caller, request: SignedRequest) -> None:
        """The signature fits the request, body included.

        Raises:
            ServiceError: InvalidSignatureException.
        """
        if caller.signature is None:
            return
        match = caller.signature
        claimed = request.headers.get("x-amz-content-sha256")
        body_hash = hashlib.sha256(request.body).hexdigest()
        same_body = claimed is None or hmac.compare_digest(claimed.encode(), body_hash.encode())
        paths = dict.fromkeys((_path(request.raw_path), _path(_once_encoded(request.raw_path))))
        fits = any(
            hmac.compare_digest(signature(caller.secret, match, caller.timestamp, request, body_hash, path), match["signature"])
            for path in paths
        )
        if not fits or not same_body:
            raise ServiceError(
                "InvalidSignatureException",
                "The signature does not match the request: check the secret key; a proxy must not change path, Host or body.",
            )


def signature(secret: str, match: re.Match[str], timestamp: str, request: SignedRequest, body_hash: str, path: str) -> str:
    """The signature that the holder of `secret` would have made, in hex; `path` is the request's as it was signed."""
    names = match["signed"].split(";")
    values: dict[str, list[str]] = {name: [] for name in names}
    for name, value in request.headers.items():
        if name in values:
            values[name].append(" ".join(value.split()))
        if name == "host" and ":authority" in values:
            values[":authority"].append(" ".join(value.split()))
    lines = [f"{name}:{','.join(values[name])}" for name in names]
    canonical = "\n".join(
        [
            request.method,
            path,
            "&".join(sorted(request.query.split("&"))),
            *lines,
            "",
            match["signed"],
            body_hash,
        ]
    )
    scope = f"{match['date']}/{match['region']}/{match['service']}/aws4_request"
    to_sign = "\n".join(["AWS4-HMAC-SHA256", timestamp, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    return hmac.digest(_signing_key(secret, scope), to_sign.encode(), "sha256").hex()


def short_term_key(pair: str, secret: str, now: float) -> str:
    """An API key that a key pair makes for twelve hours."""
    return short_term.made_by(pair, secret, now, _signing_key)


def _seconds(timestamp: str) -> float:
    """Since 1970; a request would wait longer for `strptime` than for its signature."""
    if not _TIMESTAMP.match(timestamp):
        raise ValueError(timestamp)
    return datetime.datetime.fromisoformat(timestamp).timestamp()


@functools.lru_cache(maxsize=64)
def _path(raw: str) -> str:
    """As it is signed; the paths of an endpoint are few."""
    return quote(raw, safe="/-_.~")


@functools.lru_cache(maxsize=64)
def _once_encoded(raw: str) -> str:
    """The path as botocore would have sent it, before a proxy decoded some of it: the same resource, spelt in one way."""
    return "/".join(quote(unquote(piece), safe="-_.~") for piece in raw.split("/"))


@functools.lru_cache(maxsize=256)
def _signing_key(secret: str, scope: str) -> bytes:
    """The same for all requests of a key on one day."""
    key = f"AWS4{secret}".encode()
    for piece in scope.split("/"):
        key = hmac.digest(key, piece.encode(), "sha256")
    return key
