"""Web archives: the pages of WARC files and the texts of WET files, with address and time; what else lies in them is
counted by its reason."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

from tenet.corpus.readers.deadline import is_panic, within
from tenet.corpus.readers.decoding import NotRead, decode, decode_page
from tenet.corpus.readers.filenotes import Tally
from tenet.corpus.readers.formats.archives import LARGEST
from tenet.corpus.readers.formats.pdf import pdf_text
from tenet.corpus.readers.web.optout import OPTED_OUT, host_of, reserved
from tenet.corpus.readers.web.page import page_text

#: Most bytes of one response: longer ones are dumps, not pages.
LARGEST_PAGE = min(LARGEST, 50_000_000)
_PAGES = ("text/html", "application/xhtml+xml")


@dataclass(frozen=True)
class Record:
    """One page that is used."""

    number: int
    text: str
    url: str
    time: str


def warc_records(file: IO[bytes], tally: Tally) -> Iterator[Record]:
    """The pages and texts of a WARC or WET file, in its order.

    Args:
        file: plain, or as it is packed with gzip or zstd: fastwarc unpacks record by record.
        tally: counts what is not used.

    A record that cannot be read is refused by its number. Where the file itself breaks off, that is refused as the
    record that would have come; what stands before it is good.

    Raises:
        NotRead: it is no WARC from its first byte on.
    """
    from fastwarc.warc import ArchiveIterator

    number = 0
    records = ArchiveIterator(file, parse_http=False)
    while True:
        try:
            record = next(records, None)
        except BaseException as error:  # fastwarc's own and those of the stream below it
            if not isinstance(error, Exception) and not is_panic(error):
                raise
            if not number:
                raise NotRead(f"not valid WARC ({_first(error)})") from None
            tally.rows += 1
            tally.refuse(number + 1, f"the file is broken from here on ({_first(error)})")
            return
        if record is None:
            if not number:
                raise NotRead("WARC without records")
            return
        number += 1
        tally.rows += 1
        try:
            text = within(record.content_length, _text, record)
        except _Unused as unused:
            tally.leave(unused.reason)
            if unused.reason == OPTED_OUT:
                tally.opt_out(host_of(_address(record)))
        except NotRead as error:
            tally.refuse(number, str(error))
        else:
            yield Record(number, text, _address(record), record.headers.get("WARC-Date") or "")


class _Unused(NotRead):
    """Why a record is left out that has no fault."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def _text(record: Any) -> str:
    """What a record says.

    Raises:
        _Unused: it is no page.
        NotRead: it is one that cannot be read.
    """
    kind = str(record.record_type).rpartition(".")[2]
    if kind in ("unknown", "no_type"):
        raise NotRead("record of no known type (cut off or broken)")
    if kind not in ("response", "resource", "conversion"):
        raise _Unused(f"{kind} record")
    if record.content_length > LARGEST_PAGE:
        raise _Unused(f"larger than {LARGEST_PAGE:,} bytes")
    block = record.reader.read()
    if len(block) < record.content_length:  # fastwarc gives what is there
        raise NotRead(f"cut off: {len(block):,} of {record.content_length:,} bytes are there")
    if kind == "conversion":
        return _shown(decode(block).text)
    if kind == "response":
        record.set_bytes_content(block)
        record.parse_http(auto_decode="all")
    headers = record.http_headers
    if headers is None:
        content, charset = (record.headers.get("Content-Type") or "").partition(";")[0].strip().lower(), ""
        if kind == "response" or not content:
            raise _Unused(f"{kind} record that is not of HTTP" if kind == "response" else "resource of no kind")
        if not _address(record).startswith(("http:", "https:")):
            raise _Unused("resource that is not of the web")
    else:
        if headers.status_code != 200:
            raise _Unused(f"status {headers.status_code}")
        content, charset = (record.http_content_type or "").lower(), record.http_charset or ""
        if any(reserved(name, value) for name, value in headers.items()):
            raise _Unused(OPTED_OUT)
    data = record.reader.read(LARGEST_PAGE + 1) if headers is not None else block
    if len(data) > LARGEST_PAGE:
        raise _Unused(f"larger than {LARGEST_PAGE:,} bytes")
    return _content(data, content or "no content type", charset)


def _content(data: bytes, content: str, charset: str) -> str:
    if not data.strip():
        raise _Unused("empty response")
    if content in _PAGES:
        try:
            return page_text(decode_page(data, charset).text)
        except NotRead as error:
            if str(error) == OPTED_OUT or "without visible text" in str(error):
                raise _Unused(str(error)) from None
            raise
    if content == "application/pdf":
        return pdf_text(data)
    if content == "text/plain":
        return _shown(decode_page(data, charset).text)
    raise _Unused(content)


def _shown(text: str) -> str:
    if not text.strip():
        raise _Unused("empty response")
    return text


def _address(record: Any) -> str:
    return (record.headers.get("WARC-Target-URI") or "").strip().strip("<>")


def _first(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:120]
