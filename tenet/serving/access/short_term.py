"""Short-term API keys, as Amazon's own token generators make them: a presigned request that was never sent, in base64.

    bedrock-api-key- + base64("bedrock.amazonaws.com/?Action=CallWithBearerToken&X-Amz-Algorithm=...&X-Amz-Credential=...
        &X-Amz-Date=...&X-Amz-Expires=43200&X-Amz-SignedHeaders=host&X-Amz-Signature=...&Version=1")

Made with a key pair of this endpoint, one is checked here without asking anybody. It is worth what the pair is worth,
until it expires. (aws-bedrock-token-generator 1.1.0; the query form of Signature Version 4.)
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import Callable
from urllib.parse import parse_qsl, quote

from tenet.serving.access.credentials import Credentials
from tenet.serving.protocol.exceptions import ServiceError

PREFIX = "bedrock-api-key-"
_HOST, _ACTION = "bedrock.amazonaws.com", "CallWithBearerToken"
#: Longest life that the generators give, and longest text that is looked at.
_MOST_SECONDS, _MOST_CHARACTERS = 43_200, 4_096
_SKEW_SECONDS = 300
_NO_BODY = hashlib.sha256(b"").hexdigest()

SigningKey = Callable[[str, str], bytes]
Seconds = Callable[[str], float]


def pair_of(key: str, credentials: Credentials, now: float, signing_key: SigningKey, seconds: Seconds) -> str:
    """The access key id of the pair that made a short-term key.

    Args:
        key: with its prefix.
        now: seconds since 1970.
        signing_key: secret and scope to the day's key.
        seconds: a time like 20260131T120000Z since 1970; raises ValueError.

    Raises:
        ServiceError: AccessDeniedException.
    """
    fields = _fields(key)
    pair, _, scope = fields.get("X-Amz-Credential", "").partition("/")
    secret = credentials.access_keys.get(pair)
    date, life = fields.get("X-Amz-Date", ""), fields.get("X-Amz-Expires", "")
    try:
        made = seconds(date)
    except ValueError:
        raise _refused() from None
    day, region, *rest = [*scope.split("/"), ""]
    if secret is None or rest[:-1] != ["bedrock", "aws4_request"] or day != date[:8] or not region:
        raise _refused()
    if "X-Amz-Security-Token" in fields or fields.get("X-Amz-SignedHeaders") != "host" or fields.get("Action") != _ACTION:
        raise _refused()
    if not hmac.compare_digest(
        _signature(fields, scope, date, signing_key(secret, scope)), fields.get("X-Amz-Signature", "").encode()
    ):
        raise _refused()
    if not (life.isascii() and life.isdigit() and 0 < int(life) <= _MOST_SECONDS) or made > now + _SKEW_SECONDS:
        raise _refused()
    if now >= made + int(life):
        raise ServiceError("AccessDeniedException", "Authentication failed: Bearer Token has expired; make a new one.")
    return pair


def made_by(pair: str, secret: str, now: float, signing_key: SigningKey) -> str:
    """A key that lives as long as one may; the endpoint's own chat link carries it.

    Args:
        pair, secret: of the key pair.
        now: seconds since 1970.
        signing_key: see `pair_of`.
    """
    date = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    scope = f"{date[:8]}/us-east-1/bedrock/aws4_request"
    fields = {
        "Action": _ACTION,
        "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
        "X-Amz-Credential": f"{pair}/{scope}",
        "X-Amz-Date": date,
        "X-Amz-Expires": str(_MOST_SECONDS),
        "X-Amz-SignedHeaders": "host",
    }
    fields["X-Amz-Signature"] = _signature(fields, scope, date, signing_key(secret, scope)).decode()
    query = "&".join(f"{name}={_quoted(value)}" for name, value in (fields | {"Version": "1"}).items())
    return PREFIX + base64.b64encode(f"{_HOST}/?{query}".encode()).decode()


def _fields(key: str) -> dict[str, str]:
    """The query of the presigned request; each name once."""
    encoded = key.removeprefix(PREFIX)
    if len(encoded) > _MOST_CHARACTERS:
        raise _refused()
    try:
        url = base64.b64decode(encoded, validate=True).decode()
        pairs = parse_qsl(url.removeprefix(f"{_HOST}/?"), keep_blank_values=True, strict_parsing=True)
    except ValueError:  # binascii.Error and UnicodeDecodeError are such
        raise _refused() from None
    if not url.startswith(f"{_HOST}/?") or len(dict(pairs)) < len(pairs):
        raise _refused()
    return dict(pairs)


def _signature(fields: dict[str, str], scope: str, date: str, key: bytes) -> bytes:
    """In hex. The version is put behind after signing."""
    signed = sorted(
        (_quoted(name), _quoted(value)) for name, value in fields.items() if name not in ("X-Amz-Signature", "Version")
    )
    query = "&".join(f"{name}={value}" for name, value in signed)
    canonical = "\n".join(["POST", "/", query, f"host:{_HOST}", "", "host", _NO_BODY])
    to_sign = "\n".join(["AWS4-HMAC-SHA256", date, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    return hmac.digest(key, to_sign.encode(), "sha256").hex().encode()


def _quoted(text: str) -> str:
    return quote(text, safe="-_.~")


def _refused() -> ServiceError:
    return ServiceError("AccessDeniedException", "Authentication failed: Please make sure your API Key is valid.")
