"""What every list of the control plane has in common: filters by name and time, an order, pages."""

from __future__ import annotations

import base64
import binascii
import datetime
from collections.abc import Sequence
from typing import Any

from tenet.serving.http.request import Call
from tenet.serving.protocol.exceptions import invalid
from tenet.serving.protocol.service_model import read_query

#: Entries of a page where the client does not say; the service model's own maximum.
_PAGE = 1000


def query_of(call: Call, operation: str) -> dict[str, Any]:
    """What a list is asked for.

    Raises:
        ServiceError: ValidationException that names the parameter.
    """
    return read_query(operation, call.scope["query_string"].decode("latin-1"))


def listed(items: Sequence[dict[str, Any]], query: dict[str, Any], under: str, name: str = "") -> dict[str, Any]:
    """The response of a list operation.

    Args:
        items: in the order of their creation, as the service model's summaries.
        query: of `query_of`.
        under: member of the response that holds the page.
        name: member of a summary that `nameContains` looks at.

    Raises:
        ServiceError: ValidationException, where `nextToken` is not one of this endpoint's.
    """
    found = [item for item in items if _asked(item, query, name)]
    if query.get("sortOrder") == "Descending":
        found.reverse()
    start, size = _offset(query.get("nextToken")), query.get("maxResults", _PAGE)
    more = {"nextToken": _token(start + size)} if start + size < len(found) else {}
    return {under: found[start : start + size], **more}


def iso_time(seconds: float) -> str:
    """Seconds since 1970 as the service model writes times."""
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _asked(item: dict[str, Any], query: dict[str, Any], name: str) -> bool:
    if query.get("nameContains", "") not in item.get(name, ""):
        return False
    if query.get("statusEquals") not in (None, item.get("status")):
        return False
    if not {"creationTimeAfter", "creationTimeBefore"} & set(query):
        return True
    made = datetime.datetime.fromisoformat(item["creationTime"]).timestamp()
    return bool(query.get("creationTimeAfter", 0.0) < made < query.get("creationTimeBefore", float("inf")))


def _token(offset: int) -> str:
    return base64.urlsafe_b64encode(f"from:{offset}".encode()).decode()


def _offset(token: str | None) -> int:
    if token is None:
        return 0
    try:
        word, _, offset = base64.b64decode(token, altchars=b"-_", validate=True).decode().partition(":")
        if word != "from" or not offset.isdigit():
            raise ValueError(token)
        return int(offset)
    except (ValueError, binascii.Error):
        raise invalid("nextToken", "is not one that this endpoint gave; leave it out to begin anew.") from None
