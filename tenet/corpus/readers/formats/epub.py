"""Books as EPUB: the chapters of the spine in their order, each read as a page."""

from __future__ import annotations

import io
import posixpath
import zipfile
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from tenet.corpus.readers.decoding import NotRead, decode
from tenet.corpus.readers.formats.archives import BROKEN
from tenet.corpus.readers.formats.articles import parsed
from tenet.corpus.readers.formats.docx import part
from tenet.corpus.readers.formats.licence_files import licence_of_page
from tenet.corpus.readers.formats.mathml import local
from tenet.corpus.readers.web.page import page_text

_CONTAINER, _ENCRYPTION = "META-INF/container.xml", "META-INF/encryption.xml"


@dataclass(frozen=True)
class Book:
    """A book's text and what its package says of it."""

    text: str
    licence: str = ""
    lost: tuple[str, ...] = ()


def read_epub(data: bytes) -> Book:
    """The text of a book; chapters that cannot be read are named in `lost`.

    Raises:
        NotRead: it is no EPUB, is encrypted, or shows no text.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return _book(archive, set(archive.namelist()))
    except KeyError as error:
        raise NotRead(f"not a whole EPUB ({error})") from None
    except (RuntimeError, NotImplementedError, *BROKEN) as error:
        raise NotRead(f"not an EPUB ({error})") from None


def _book(archive: zipfile.ZipFile, names: set[str]) -> Book:
    if _CONTAINER not in names:
        raise NotRead("not an EPUB (no META-INF/container.xml)")
    root = parsed(part(archive, _CONTAINER))
    place = next((e.get("full-path") for e in root.iter() if local(e.tag) == "rootfile" and e.get("full-path")), "")
    package = parsed(part(archive, place))
    chapters = _spine(package, posixpath.dirname(place))
    locked = _encrypted(archive, names)
    if locked & set(chapters):
        raise NotRead("encrypted EPUB (rights management)")
    texts, lost = [], []
    for name in chapters:
        try:
            texts.append(page_text(decode(part(archive, name)).text, everything=True, title=False).strip())
        except (NotRead, KeyError) as error:
            if "without visible text" not in str(error):  # covers are pictures
                lost.append(f"{name}: {error if isinstance(error, NotRead) else 'is missing'}")
    text = "\n\n".join(text for text in texts if text)
    if not text:
        raise NotRead("EPUB without text" + (f" ({lost[0]})" if lost else ""))
    said = next(("".join(e.itertext()) for e in package.iter() if local(e.tag) == "rights"), "")
    return Book(text + "\n", licence_of_page(said), tuple(lost))


def _spine(package: Any, folder: str) -> list[str]:
    """Paths of the chapters in reading order, without the table of contents."""
    items: dict[str, str] = {}
    for element in package.iter():
        page = local(element.tag) == "item" and "html" in (element.get("media-type") or "")
        if page and "nav" not in (element.get("properties") or "").split():
            items[element.get("id") or ""] = posixpath.normpath(posixpath.join(folder, unquote(element.get("href") or "")))
    order = [e.get("idref") or "" for e in package.iter() if local(e.tag) == "itemref"]
    return list(dict.fromkeys(items[key] for key in order if key in items))


def _encrypted(archive: zipfile.ZipFile, names: set[str]) -> set[str]:
    if _ENCRYPTION not in names:
        return set()
    root = parsed(part(archive, _ENCRYPTION))
    return {unquote(e.get("URI") or "") for e in root.iter() if local(e.tag) == "CipherReference"}
