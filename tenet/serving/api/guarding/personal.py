"""Personal data that can be told by its form alone, for InvokeGuardrailChecks: patterns, and a check digit where the
number has one. Names, addresses and ages need a model and are not here."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import regex


def _luhn(text: str) -> bool:
    """ISO/IEC 7812-1, annex B."""
    digits = [int(one) for one in text if one.isdigit()]
    doubled = [sum(divmod(2 * one, 10)) for one in digits[-2::-2]]
    return 13 <= len(digits) <= 19 and (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def _iban(text: str) -> bool:
    """ISO 13616: the country and its check digits moved to the end, letters as 10 to 35, modulo 97 is 1."""
    plain = text.replace(" ", "")
    return 15 <= len(plain) <= 34 and int("".join(str(int(one, 36)) for one in plain[4:] + plain[:4])) % 97 == 1


def _address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


@dataclass(frozen=True)
class _Form:
    """A pattern with what its matches must fulfil, and how sure a match is."""

    pattern: Any
    sure: float
    holds: Callable[[str], bool] = bool


def _form(pattern: str, sure: float, holds: Callable[[str], bool] = bool) -> _Form:
    return _Form(regex.compile(rf"(?<![\w@.-])(?:{pattern})(?![\w@-])"), sure, holds)


_FORMS = {
    "EMAIL": _form(r"[\w.%+-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}", 0.99),
    "URL": _form(r"https?://[^\s<>\"']{1,2000}[^\s<>\"'.,;:!?)\]]", 0.99),
    "IP_ADDRESS": _form(r"\d{1,3}(?:\.\d{1,3}){3}|(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4}", 0.95, _address),
    "MAC_ADDRESS": _form(r"[0-9A-Fa-f]{2}(?:([:-])[0-9A-Fa-f]{2})(?:\1[0-9A-Fa-f]{2}){4}", 0.95),
    "AWS_ACCESS_KEY": _form(r"A(?:KIA|SIA)[A-Z2-7]{16}", 0.99),
    "CREDIT_DEBIT_CARD_NUMBER": _form(r"\d(?:[ -]?\d){12,18}", 0.95, _luhn),
    "INTERNATIONAL_BANK_ACCOUNT_NUMBER": _form(r"[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?", 0.99, _iban),
    "US_SOCIAL_SECURITY_NUMBER": _form(r"(?!000|666|9)\d{3}-(?!00)\d{2}-(?!0000)\d{4}", 0.9),
    "UK_NATIONAL_INSURANCE_NUMBER": _form(r"(?![DFIQUV])[A-Z](?![DFIOQUV])[A-Z] ?\d{2} ?\d{2} ?\d{2} ?[A-D]", 0.9),
}
#: What can be asked for, by the names of the service model.
KINDS = tuple(_FORMS)


def personal(text: str, kinds: Sequence[str]) -> list[dict[str, Any]]:
    """What was found in a text, in its order; offsets in characters, the end exclusive."""
    found = [
        {"type": kind, "confidenceScore": _FORMS[kind].sure, "beginOffset": match.start(), "endOffset": match.end()}
        for kind in dict.fromkeys(kinds)
        for match in _FORMS[kind].pattern.finditer(text)
        if _FORMS[kind].holds(match.group())
    ]
    return sorted(found, key=lambda one: (one["beginOffset"], one["endOffset"]))
