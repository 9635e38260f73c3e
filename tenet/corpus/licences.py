"""What a licence lets one do, in six classes, so that settings can say which of them may be trained on.

Names are SPDX's, alone or in an expression (`MIT OR GPL-3.0-only`), read by license-expression, whose table of licences
(ScanCode's) also has their categories. A name that is in no table is `unknown`: never guessed from how it sounds.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from typing import Any

#: The classes, the freest first; `OR` takes the first of its parts' classes, `AND` the last.
CLASSES = ("public_domain", "permissive", "copyleft", "noncommercial", "proprietary", "unknown")
_OF_CATEGORY = {
    "Public Domain": "public_domain",
    "Permissive": "permissive",
    "Copyleft": "copyleft",
    "Copyleft Limited": "copyleft",
    "Source-available": "noncommercial",
    "Free Restricted": "noncommercial",
    "Proprietary Free": "proprietary",
    "Commercial": "proprietary",
}
#: What people write in a column and no table has.
_WRITTEN = {"public-domain": "public_domain", "public domain": "public_domain", "publicdomain": "public_domain"}


@cache
def licence_class(name: str) -> str:
    """The class of a licence.

    Args:
        name: an SPDX name or expression; others are looked up as people write them ("Apache 2.0", "cc-by-4.0").

    Returns:
        one of `CLASSES`.
    """
    plain = " ".join(name.split())
    if found := _single(plain):
        return found
    from license_expression import ExpressionError, get_spdx_licensing

    try:
        tree = get_spdx_licensing().parse(plain)
    except ExpressionError:
        return "unknown"
    return "unknown" if tree is None else _of_tree(tree)


def _single(name: str) -> str:
    """The class of one name; "" when the table does not have it."""
    lower = name.lower()
    if lower in _WRITTEN:
        return _WRITTEN[lower]
    table = _table()
    for form in (lower, lower.replace(" ", "-"), lower.removesuffix(" license").replace(" ", "-")):
        if form in table:
            # A table of software licences files Creative Commons' NC under "source available" and so do we; this only
            # makes sure of those whose category changes.
            return "noncommercial" if "-nc-" in f"{form}-" else table[form]
    return ""


def _of_tree(tree: Any) -> str:
    """Worst of `AND`, best of `OR`; an exception (`WITH`) only widens its licence."""
    if getattr(tree, "license_symbol", None) is not None:
        return _single(tree.license_symbol.key) or "unknown"
    if getattr(tree, "key", None):
        return _single(tree.key) or "unknown"
    found = [CLASSES.index(_of_tree(part)) for part in tree.args]
    return CLASSES[min(found) if tree.operator.strip().upper() == "OR" else max(found)]


@cache
def _table() -> dict[str, str]:
    """SPDX and ScanCode names in lower case -> class."""
    rows = json.loads(files("license_expression").joinpath("data/scancode-licensedb-index.json").read_text())
    found: dict[str, str] = {}
    for row in rows:
        for key in (row["license_key"], row["spdx_license_key"], *row["other_spdx_license_keys"]):
            if key and not row["is_exception"]:
                found[key.lower()] = _OF_CATEGORY.get(row["category"], "unknown")
    return found


def refused(licences: Iterable[str], allowed: Iterable[str]) -> dict[str, str]:
    """Licence -> its class, for those whose class is not among the allowed ones."""
    may = set(allowed)
    return {name: kind for name in licences if (kind := licence_class(name)) not in may}
