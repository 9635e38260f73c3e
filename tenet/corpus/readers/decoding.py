"""From bytes to the text that was written, or a reason why not: no byte becomes a question mark in silence."""

from __future__ import annotations

import re
from dataclasses import dataclass

#: Byte order marks, the longer ones first: UTF-32's begins with UTF-16's.
MARKS = (
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
#: Files of other programs by their first bytes.
MAGIC = (
    (b"%PDF", "PDF"),
    (b"PK\x03\x04", "ZIP (EPUB, DOCX, ODT, ...)"),
    (b"\x89PNG", "PNG image"),
    (b"\xff\xd8\xff", "JPEG image"),
    (b"GIF8", "GIF image"),
    (b"\x7fELF", "program"),
    (b"\xd0\xcf\x11\xe0", "old Office file"),
    (b"SQLite format 3", "SQLite data base"),
    (b"\x28\xb5\x2f\xfd", "zstd inside another file"),
    (b"7z\xbc\xaf", "7z (unpack it first)"),
    (b"WARC/", "WARC"),
    (b"{\\rtf", "RTF"),
)
#: Bytes looked at to tell text from something else.
HEAD = 65_536
_CONTROL = bytes([*range(9), 11, *range(14, 27), *range(28, 32), 127])
_WESTERN = re.compile(r"[A-Za-zÀ-ÖØ-öø-ÿŒœŠšŽžŸƒ]")
#: A sign inside a word ("Za¿ó³æ") is a letter that was read by the wrong table.
_SIGN_IN_WORD = re.compile(r"(?<=[^\W\d_])[^\w\s\x00-\x7f–—’‘“”…·\xad\xa0»«°](?=[^\W\d_])|(?<=[a-z])[¹²³](?=[a-z])")


class NotRead(Exception):
    """Why a file or a row is left out; the message is the reason that is counted."""


@dataclass(frozen=True)
class Decoded:
    """Text and where it was not UTF-8 by itself, the encoding that was guessed."""

    text: str
    guessed: str = ""


def refuse_binary(head: bytes) -> None:
    """Refuse what is no text, by its first bytes.

    Raises:
        NotRead: names the format.
    """
    for magic, name in MAGIC:
        if head.startswith(magic):
            raise NotRead(f"no reader for {name}")
    if mark_of(head) or _wide(head):
        return
    strange = len(head) - len(head.translate(None, _CONTROL))
    if strange > max(2, len(head) // 200):
        raise NotRead("binary")


def mark_of(head: bytes) -> str:
    """Encoding that a byte order mark names, or ""."""
    return next((name for mark, name in MARKS if head.startswith(mark)), "")


def _wide(head: bytes) -> str:
    """UTF-16 without a mark: every other byte of text in most scripts is zero, or nearly always the same."""
    even, odd = head[0:HEAD:2], head[1:HEAD:2]
    if len(odd) < 16 or 0 not in head:
        return ""
    zeros = even.count(0) / len(even), odd.count(0) / len(odd)
    if zeros[1] > 0.4 and zeros[0] < 0.05:
        return "utf-16-le"
    return "utf-16-be" if zeros[0] > 0.4 and zeros[1] < 0.05 else ""


def decode(data: bytes, encoding: str = "") -> Decoded:
    """The text of a file.

    Args:
        data: all of it.
        encoding: what the settings say; "" finds it out: a mark, UTF-8, UTF-16 without a mark, Windows-1252, then what
            charset-normalizer finds.

    Raises:
        NotRead: it is no text, or which encoding it has cannot be told.
    """
    known = encoding or mark_of(data[:4])
    if known:
        try:
            return Decoded(_plain(data.decode(known)))
        except (UnicodeDecodeError, LookupError) as error:
            raise NotRead(f"not valid {known}: {error}") from None
    refuse_binary(data[:HEAD])
    try:
        return Decoded(_plain(data.decode("utf-8")))
    except UnicodeDecodeError as error:
        if _broken_utf8(data):
            raise NotRead(f"broken UTF-8 at byte {error.start:,}; set the source's `encoding` if it is something else") from None
    guessed = _wide(data[:HEAD]) or _single_byte(data)
    if not guessed:
        raise NotRead("encoding not recognised; set the source's `encoding`")
    return Decoded(_plain(data.decode(guessed)), guessed)


#: What pages call an encoding -> the one that browsers read it with (the Encoding Standard's labels).
_LABELS = {
    **dict.fromkeys(("iso-8859-1", "latin1", "latin-1", "ascii", "us-ascii", "windows-1252", "iso8859-1"), "cp1252"),
    **dict.fromkeys(("gb2312", "gbk", "x-gbk", "gb_2312-80"), "gb18030"),
    **dict.fromkeys(("shift_jis", "shift-jis", "sjis", "x-sjis", "windows-31j"), "cp932"),
    **dict.fromkeys(("euc-kr", "ks_c_5601-1987", "ksc5601"), "cp949"),
    **{"iso-8859-9": "cp1254", "big5": "big5hkscs", "tis-620": "cp874", "iso-8859-11": "cp874", "utf8": "utf-8"},
}
_META = re.compile(
    rb"""<meta[^>]{0,200}?charset\s*=\s*["']?\s*([A-Za-z0-9_:.\-]{2,40})"""
    rb"""|<\?xml[^>]{0,100}?encoding\s*=\s*["']([A-Za-z0-9_:.\-]{2,40})""",
    re.IGNORECASE,
)
#: Browsers look for the label in the first kilobyte; pages with long comments above it are read too.
_LABEL_IN = 4096


def decode_page(data: bytes, charset: str = "", encoding: str = "") -> Decoded:
    """The text of a page: by the settings, a mark, as UTF-8 where it is that, by the label of the response or of its own
    `meta` tag, else as any file.

    UTF-8 goes first because labels are wrong more often than chance makes valid UTF-8 of another encoding.

    Args:
        data: the page.
        charset: what the response's Content-Type says.
        encoding: what the source's settings say.

    Raises:
        NotRead: it is no text, or which encoding it has cannot be told.
    """
    if encoding or mark_of(data[:4]):
        return decode(data, encoding)
    try:
        return Decoded(_plain(data.decode("utf-8")))
    except UnicodeDecodeError:
        pass
    found = _META.search(data[:_LABEL_IN])
    labels = [charset, (found[1] or found[2]).decode("ascii") if found else ""]
    for label in labels:
        name = _LABELS.get(label.strip().lower().strip("\"'"), label.strip().lower())
        if not name or name.startswith(("utf-8", "utf-16")):  # a `meta` tag that can be read is not UTF-16
            continue
        try:
            return Decoded(_plain(data.decode(name)))
        except (UnicodeDecodeError, LookupError, ValueError):
            continue
    return decode(data)


def _plain(text: str) -> str:
    """Lines end as they do everywhere else, and a mark is no letter."""
    return text.lstrip("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


def _broken_utf8(data: bytes) -> bool:
    """Mostly right UTF-8 with a few wrong bytes: any single-byte table would turn all of its letters into pairs of
    signs."""
    text = data.decode("utf-8", errors="replace")
    wrong = text.count("\ufffd")
    return sum(ord(c) > 127 for c in text) - wrong > wrong


def _single_byte(data: bytes) -> str:
    """Windows-1252 (which holds Latin-1's letters) where its words come out as words of Latin letters, else
    charset-normalizer's best."""
    try:
        text = data.decode("cp1252")
    except UnicodeDecodeError:
        text = ""
    letters = sum(c.isalpha() for c in text)
    foreign = sum(c.isalpha() and ord(c) > 127 for c in text)
    strange = sum(c.isalpha() and ord(c) > 127 and not _WESTERN.match(c) for c in text)
    if letters and foreign < 0.35 * letters and not strange and not _SIGN_IN_WORD.search(text):
        return "cp1252"
    from charset_normalizer import from_bytes

    best = from_bytes(data).best()
    return best.encoding if best is not None else ""
