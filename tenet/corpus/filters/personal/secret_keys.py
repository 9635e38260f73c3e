"""Keys, tokens and passwords: those whose form their issuer publishes, and values that are assigned to a name that says
so and are as random as a key.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator

import re2

from tenet.corpus.filters.personal import examples
from tenet.corpus.filters.personal.matching import Found, Text

#: Published beginnings and lengths.
_KNOWN = (
    r"(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}",  # access keys of a cloud
    r"gh[pousr]_[A-Za-z0-9]{36,255}",  # GitHub
    r"github_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59}",
    r"glpat-[A-Za-z0-9_-]{20,}",  # GitLab
    r"xox[abeoprs]-(?:[0-9A-Za-z]+-){1,4}[0-9A-Za-z]{10,}",  # Slack
    r"xapp-[0-9]-[A-Z0-9]+-[0-9]+-[0-9a-f]{32,}",
    r"hooks\.slack\.com/services/T[A-Z0-9]{6,}/B[A-Z0-9]{6,}/[A-Za-z0-9]{20,}",
    r"AIza[A-Za-z0-9_-]{35}",  # Google
    r"ya29\.[A-Za-z0-9_-]{30,}",
    r"GOCSPX-[A-Za-z0-9_-]{28}",
    r"(?:sk|rk|pk)_(?:live|test)_[A-Za-z0-9]{16,}",  # Stripe
    r"whsec_[A-Za-z0-9+/]{32,}=*",
    r"sk-(?:proj-|ant-|svcacct-|or-)?(?:[A-Za-z0-9]+-)?[A-Za-z0-9_]{32,}(?:-[A-Za-z0-9_-]+)?",  # model services
    r"hf_[A-Za-z0-9]{30,}",  # Hugging Face
    r"npm_[A-Za-z0-9]{36}",
    r"pypi-AgEIcHlwaS5vcmc[A-Za-z0-9_-]{50,}",
    r"SG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}",  # SendGrid
    r"dop_v1_[0-9a-f]{64}",  # DigitalOcean
    r"shp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}",  # Shopify
    r"eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{4,}\.[A-Za-z0-9_-]{10,}",  # JSON web token (RFC 7519)
)
_TOKEN = re2.compile(f"(?:{'|'.join(_KNOWN)})")
_BLOCK = re2.compile(
    r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----(?s:.{40,}?)-----END [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----"
)
_NAME = (
    r"(?:api[_-]?key|apikey|(?:secret|access|private|encryption|signing|auth|account)[_-]?(?:access[_-]?)?key|client[_-]?secret"
    r"|app[_-]?secret|secret|(?:access|auth|refresh|bearer|api|id)[_-]?token|token|passw(?:or)?d|passwd|pwd)"
)
_ASSIGNED = re2.compile(rf"""(?i){_NAME}["']?\s{{0,4}}(?::=|=>|[:=])\s{{0,4}}(?:["'`]|bearer )?([A-Za-z0-9+/_.~=-]{{16,200}})""")
_BEARER = re2.compile(r"(?i)authorization[\"']?\s?[:=]\s?[\"']?(?:bearer|basic|token)\s+([A-Za-z0-9+/_.~=-]{16,})")
_IN_URL = re2.compile(r"[a-z][a-z0-9+]+://[A-Za-z0-9_.%-]*:([^\s:/@<>{}$\"'*]{6,})@[A-Za-z0-9.-]+")
#: Bits a character from which a value is random rather than a name: words and paths have 2.5 to 3.3, 24 drawn letters 4.
RANDOM = 3.4
#: A key has a part of at least so many characters between hyphens, dots and underscores.
LONGEST_WORD = 12


def find(text: Text, all_of_them: bool) -> Iterator[Found]:
    """All keys; those that manuals print too where `all_of_them`."""
    if b"-----BEGIN" in text.data:
        for start, end in text.spans(_BLOCK):
            yield Found("key", start, end, text.text[start:end])
    for start, end in text.spans(_TOKEN):
        value = text.text[start:end]
        left, right = text.text[start - 1 : start] if start else "", text.text[end : end + 1]
        if not (left.isalnum() or right.isalnum() or left == "_") and (all_of_them or not _is_example(value)):
            yield Found("key", start, end, value)
    for pattern in (_ASSIGNED, _BEARER, _IN_URL):
        for start, end in text.spans(pattern, 1):
            value = text.text[start:end].rstrip(".")
            if (is_random(value) if pattern is not _IN_URL else not value.isalpha()) and (all_of_them or not _is_example(value)):
                yield Found("key", start, start + len(value), value)


def is_random(value: str) -> bool:
    """Has a value letters and digits in the disorder of a key, and not the shape of a name, path or version?"""
    if re.search(r"[a-z]{10}|[A-Z]{10}|\.[a-z]{2,5}$|^[./~]", value):
        return False
    letters, numbers = sum(sign.isalpha() for sign in value), sum(sign.isdigit() for sign in value)
    # get_access_token_v12: a name has short parts.
    if letters < 4 or numbers < 2 or max(map(len, re.split(r"[_.-]", value))) < LONGEST_WORD:
        return False
    return entropy(value) >= RANDOM


def entropy(value: str) -> float:
    """Shannon's entropy of the signs of a value, in bits a sign."""
    counts = Counter(value).values()
    return -sum(count / len(value) * math.log2(count / len(value)) for count in counts)


def _is_example(value: str) -> bool:
    low = value.lower()
    if any(part in low for part in examples.PLACEHOLDER_KEYS) or any(part in value for part in examples.EXAMPLE_TOKENS):
        return True
    return len(set(low)) < 6
