"""Under which licence source code stands: what the file says, else what the nearest licence file says."""

from __future__ import annotations

import re
from collections.abc import Callable

#: Names of licence files, in lower case and without their suffix.
NAMES = ("license", "licence", "copying", "unlicense", "license-mit", "license-apache")
_SUFFIXES = ("", ".txt", ".md", ".rst")
#: Characters of a file that are looked at.
HEAD = 4_000
_SPDX = re.compile(r"SPDX-License-Identifier:\s*([A-Za-z0-9.+()\- ]+?)\s*(?:\*/|-->|\n|$)")
#: SPDX name -> words of the text's beginning, spaces made single; the more particular ones first.
_TEXTS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (name, re.compile(words, re.IGNORECASE))
    for name, words in (
        ("AGPL-3.0", r"gnu affero general public license version 3"),
        ("LGPL-3.0", r"gnu lesser general public license version 3"),
        ("LGPL-2.1", r"gnu lesser general public license version 2\.1"),
        ("LGPL-2.0", r"gnu library general public license version 2"),
        ("GPL-3.0", r"gnu general public license version 3"),
        ("GPL-2.0", r"gnu general public license version 2"),
        ("Apache-2.0", r"apache license,? version 2\.0"),
        ("MPL-2.0", r"mozilla public license,? version 2\.0"),
        ("EPL-2.0", r"eclipse public license - v 2\.0"),
        ("CC0-1.0", r"cc0 1\.0 universal"),
        ("CC-BY-SA-4.0", r"attribution-sharealike 4\.0 international"),
        ("CC-BY-NC-4.0", r"attribution-noncommercial 4\.0 international"),
        ("CC-BY-4.0", r"attribution 4\.0 international"),
        ("Unlicense", r"this is free and unencumbered software released into the public domain"),
        ("BSL-1.0", r"boost software license - version 1\.0"),
        ("PSF-2.0", r"python software foundation license version 2"),
        ("Zlib", r"provided 'as-is', without any express or implied warranty.{0,120} in no event will the authors be held"),
        ("ISC", r"permission to use, copy, modify, and(?:/or)? distribute this software for any purpose with or without fee"),
        ("MIT", r"permission is hereby granted, free of charge, to any person obtaining a copy"),
        ("BSD-3-Clause", r"redistribution and use in source and binary forms.{0,1200}(?:neither the name|the names? of)"),
        ("BSD-2-Clause", r"redistribution and use in source and binary forms"),
    )
)
_PAGE = re.compile(r"creativecommons\.org/(?:licenses/(by(?:-nc)?(?:-nd|-sa)?)|publicdomain/(zero|mark))/(\d\.\d)")


def is_licence_file(name: str) -> bool:
    """Whether a file's name (without its folder) is that of a licence."""
    lower = name.lower()
    stem, dot, suffix = lower.partition(".")
    return stem in NAMES and f"{dot}{suffix}" in _SUFFIXES


def spdx_said(text: str) -> str:
    """The SPDX expression that a file's head names, or ""."""
    found = _SPDX.search(text[:HEAD])
    return found[1].strip() if found else ""


def licence_of_text(text: str) -> str:
    """The SPDX name of a licence's text, or ""."""
    plain = re.sub(r"[\s*#/;]+", " ", text[:HEAD])
    return spdx_said(text) or next((name for name, words in _TEXTS if words.search(plain)), "")


def licence_of_page(address: str) -> str:
    """The SPDX name of a Creative Commons licence by its page's address, or ""."""
    found = _PAGE.search(address.lower())
    if not found:
        return ""
    if found[2]:
        return "CC0-1.0" if found[2] == "zero" else "CC-PDM-1.0"
    return f"CC-{found[1].upper()}-{found[3]}"


class Licences:
    """Licence files of one tree, looked up once a folder.

    Args:
        texts: folder below the root ("" is the root) -> text of the licence file there, or "".
    """

    def __init__(self, texts: Callable[[str], str]) -> None:
        self.texts = texts
        self.known: dict[str, str] = {}

    def nearest(self, folder: str) -> str:
        """SPDX name by the licence file of the folder or of the nearest one above, "" where there is none or its text is
        not known."""
        if folder not in self.known:
            text = self.texts(folder)
            above = self.nearest(folder.rpartition("/")[0]) if folder else ""
            self.known[folder] = licence_of_text(text) if text else above
        return self.known[folder]
