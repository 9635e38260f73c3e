"""Personal data in a text: what there is, and the text with typed tokens in its place.

Contact data, accounts and keys are found by form and checked by rule (check digits, numbering plans, registries);
names of people are not looked for. What is documentation's own (`examples.py`) is kept. What happens to a document,
masking, dropping or nothing, is the caller's to decide, by source.
"""

from __future__ import annotations

from bisect import bisect
from collections import Counter
from collections.abc import Collection

import re2

from tenet.corpus.filters.personal import accounts, hosts, mail, secret_keys, telephone
from tenet.corpus.filters.personal.matching import Found, Text

#: Kinds in the order in which they win where two claim the same characters: the stricter check first.
KINDS = ("key", "email", "iban", "card", "ssn", "national_id", "ip", "phone")
#: Kind -> what stands in its place.
MASKS = {kind: f"<{kind.upper()}>" for kind in KINDS}
#: A finder and the kinds that it gives, and what a text must contain to be given to it.
_FINDERS = (
    (
        secret_keys.find,
        {"key"},
        re2.compile(
            r"-----BEGIN|AKIA|ASIA|ABIA|ACCA|gh[pousr]_|github_pat_|glpat-|xox[abeoprs]-|xapp-"
            r"|hooks\.slack|AIza|ya29\.|GOCSPX|[srp]k_(?:live|test)_|whsec_|sk-"
            r"|hf_|npm_|pypi-Ag|SG\.|dop_v1|shp(?:at|ca|pa|ss)_|eyJ"
            r"|://[^\s/@]*@|(?i:key|secret|token|passw|pwd|authorization)[\"']?\s{0,4}[:=]"
        ),
    ),
    (mail.find, {"email"}, re2.compile(r"(?i)@| dot |[\[({<]\s?(?:at|arobase|ät)\s?[\])}>]")),
    (
        accounts.find,
        {"iban", "card", "ssn", "national_id"},
        re2.compile(
            r"\b[0-9](?:[ \x{00a0}.-]{0,2}[0-9]){7}|\b[A-Z]{2}[0-9]{2} ?[A-Z0-9]{4} ?[A-Z0-9]{4}"
            r"|\b[A-Z]{6}[0-9]{2}[A-Z]|\b[XYZ]-?[0-9]{7}"
        ),
    ),
    (
        hosts.find,
        {"ip"},
        re2.compile(r"[0-9]\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]|[0-9A-Fa-f]{0,4}:[0-9A-Fa-f]{0,4}:[0-9A-Fa-f]{1,4}|[0-9A-Fa-f]::"),
    ),
    (
        telephone.find,
        {"phone"},
        re2.compile(r"(?:\b|[+(])[0-9](?:[ \x{00a0}\x{2009}\x{202f}().\-\x{2010}\x{2011}\x{2013}/]{0,3}[0-9]){6}"),
    ),
)


def find(text: str, kinds: Collection[str] = KINDS, examples: bool = False) -> list[Found]:
    """Personal data of a text, from left to right, without overlaps.

    Args:
        text: any text; line ends and scripts do not matter.
        kinds: which of `KINDS`.
        examples: also what belongs to nobody: documentation's addresses, test cards, private IP ranges, 555 numbers.

    Raises:
        ValueError: `kinds` has one that there is not.
    """
    if unknown := set(kinds) - set(KINDS):
        raise ValueError(f"personal data of kind {', '.join(sorted(unknown))}: there is {', '.join(KINDS)}")
    found: list[Found] = []
    searched = Text(text)
    for finder, gives, needs in _FINDERS:
        if not gives.isdisjoint(kinds) and needs.search(searched.data):
            found += [item for item in finder(searched, examples) if item.kind in kinds]
    return _without_overlaps(found)


def _without_overlaps(found: list[Found]) -> list[Found]:
    """Of two that share characters, the kind that stands first in `KINDS` stays, then the longer one."""
    if len(found) < 2:
        return found
    kept: list[Found] = []
    for item in sorted(found, key=lambda item: (KINDS.index(item.kind), item.start - item.end, item.start)):
        place = bisect(kept, item.start, key=lambda other: other.start)
        if (not place or kept[place - 1].end <= item.start) and (place == len(kept) or item.end <= kept[place].start):
            kept.insert(place, item)
    return kept


def mask(text: str, kinds: Collection[str] = KINDS, examples: bool = False) -> tuple[str, dict[str, int]]:
    """The text with `<EMAIL>`, `<PHONE>` ... in place of personal data, all else as it was; and how many of each kind.

    A text without any is returned as the same object. Masking twice gives what masking once does: it goes on until
    nothing is found, since a token may uncover what stood beside a longer string.

    Args:
        text, kinds, examples: as for `find`.

    Raises:
        ValueError: `kinds` has one that there is not.
    """
    counts: Counter[str] = Counter()
    while found := find(text, kinds, examples):
        parts, at = [], 0
        for item in found:
            parts += [text[at : item.start], MASKS[item.kind]]
            at = item.end
        text = "".join([*parts, text[at:]])
        counts.update(item.kind for item in found)
    return text, {kind: counts[kind] for kind in KINDS if counts[kind]}
