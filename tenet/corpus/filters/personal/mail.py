"""E-mail addresses: as programs write them, and as people do who fear robots ("ann [at] uni-x [dot] de")."""

from __future__ import annotations

import re
from collections.abc import Iterator

import re2

from tenet.corpus.filters.personal import examples
from tenet.corpus.filters.personal.matching import Found, Text
from tenet.corpus.filters.urls import registrable_domain, top_level_domains

_PLAIN = re2.compile(r"[\p{L}\p{N}._%+'~-]*[\p{L}\p{N}_%+~-]@[\p{L}\p{N}-]+(?:\.[\p{L}\p{N}-]+)+")
_AT, _DOT = (
    r"(?:\s?[\[({<]\s?(?:at|@|AT|arobase|ät)\s?[\])}>]\s?)",
    r"(?:\s?[\[({<]\s?(?:dot|DOT|punkt|punto|point|\.)\s?[\])}>]\s?)",
)
_BRACKETS = re2.compile(rf"[\p{{L}}\p{{N}}._+-]+{_AT}[\p{{L}}\p{{N}}-]+(?:(?:\.|{_DOT}| (?:dot|DOT) )[\p{{L}}\p{{N}}-]+)+")
_SPACED = re2.compile(r"[\p{L}\p{N}._+-]+ (?:at|AT) [\p{L}\p{N}-]+(?: (?:dot|DOT) [\p{L}\p{N}-]+)+")
#: Without one of these no disguised address is there.
_DISGUISED = re2.compile(r"(?i)[\[({<]\s?(?:at|@|arobase|ät)\s?[\])}>]| dot ")
_AT_SIGN = re.compile(rf"{_AT}| at | AT |@")
_DOTS = re.compile(rf"{_DOT}| dot | DOT ")


def find(text: Text, all_of_them: bool) -> Iterator[Found]:
    """All addresses; documentation's too where `all_of_them`."""
    if b"@" in text.data:
        yield from _judged(text, _PLAIN, all_of_them)
    if _DISGUISED.search(text.data):
        for pattern in (_BRACKETS, _SPACED):
            yield from _judged(text, pattern, all_of_them)


def _judged(text: Text, pattern: object, all_of_them: bool) -> Iterator[Found]:
    for start, end in text.spans(pattern):
        value = text.text[start:end]
        lead = len(value) - len(value.lstrip(".'-"))  # quotes and dashes in front are not of it
        start, value = start + lead, value[lead:].rstrip("-")
        end = start + len(value)
        if text.text[end : end + 1] == "@" or (text.text[start - 1 : start] in ("/", "@") and start):
            continue
        address = _DOTS.sub(".", _AT_SIGN.sub("@", value, count=1))
        if value.endswith(".") or not _is_address(address, all_of_them):
            continue
        yield Found("email", start, end, value)


def _is_address(address: str, all_of_them: bool) -> bool:
    name, _, host = address.rpartition("@")
    host = host.lower()
    if not name or len(name) > 64 or ".." in name or host.startswith("-"):
        return False
    if all_of_them:
        return True
    if host.rsplit(".", 1)[-1] in examples.RESERVED_TLDS or name.lower() in examples.ROLE_NAMES:
        return False
    domain = registrable_domain(host, private=False) or host  # nhs.uk is a suffix and has addresses of its own
    return (
        domain.rsplit(".", 1)[-1] in top_level_domains()
        and domain.split(".")[0] not in examples.RESERVED_NAMES
        and domain not in examples.PLACEHOLDER_DOMAINS
    )
