"""Numbers with a check digit: payment cards, IBANs, social security and other national numbers.

A number is masked because it is one: the issuer's range and Luhn's sum for a card, length and mod 97 for an IBAN, the
national check where there is one. The US number has none, so its written form or a word in front must speak for it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import re2

from tenet.corpus.filters.personal import examples
from tenet.corpus.filters.personal.matching import Found, Text, digits, words

_CARD = re2.compile(
    r"\b(?:[2-6][0-9]{3}[ \x{00a0}-]?[0-9]{4}[ \x{00a0}-]?[0-9]{4}[ \x{00a0}-]?[0-9]{1,4}(?:[ \x{00a0}-]?[0-9]{1,3})?"
    r"|3[0-9]{3}[ \x{00a0}-][0-9]{6}[ \x{00a0}-][0-9]{4,5})\b"
)
#: Digits of each group as cards are embossed: four fours, American Express, Diners; and none.
_EMBOSSED = {(4, 4, 4, 4), (4, 6, 5), (4, 6, 4), (4, 4, 4, 4, 3), (13,), (14,), (15,), (16,), (19,)}
#: Issuer: first and last beginning of its numbers, and their lengths (ISO/IEC 7812 ranges as the issuers publish them).
_ISSUERS = (
    ("4", "4", (13, 16, 19)),
    ("51", "55", (16,)),
    ("2221", "2720", (16,)),
    ("34", "34", (15,)),
    ("37", "37", (15,)),
    ("6011", "6011", (16, 19)),
    ("644", "659", (16, 19)),
    ("3528", "3589", (16, 19)),
    ("300", "305", (14,)),
    ("36", "36", (14,)),
    ("38", "39", (14,)),
    ("62", "62", (16, 17, 18, 19)),
    ("50", "50", (16,)),
    ("56", "69", (16,)),
)
_CARD_CUE = words(
    "cards?",
    "visa",
    "master ?card",
    "amex",
    "american express",
    "discover",
    "diners",
    "jcb",
    "unionpay",
    "cc",
    "kreditkarte",
    "carte",
    "tarjeta",
    "carta",
    "pan",
    "paid",
)

_IBAN = re2.compile(r"\b[A-Z]{2}[0-9]{2}(?:[ \x{00a0}-]?[A-Z0-9]{4}){2,7}(?:[ \x{00a0}-]?[A-Z0-9]{1,3})?")
#: Length by country (the IBAN registry of ISO 13616).
_IBAN_LENGTHS = {
    name[:2]: int(name[2:])
    for name in [
        "AD24",
        "AE23",
        "AL28",
        "AT20",
        "AZ28",
        "BA20",
        "BE16",
        "BG22",
        "BH22",
        "BR29",
        "BY28",
        "CH21",
        "CR22",
        "CY28",
        "CZ24",
        "DE22",
        "DK18",
        "DO28",
        "EE20",
        "EG29",
        "ES24",
        "FI18",
        "FO18",
        "FR27",
        "GB22",
        "GE22",
        "GI23",
        "GL18",
        "GR27",
        "GT28",
        "HR21",
        "HU28",
        "IE22",
        "IL23",
        "IQ23",
        "IS26",
        "IT27",
        "JO30",
        "KW30",
        "KZ20",
        "LB28",
        "LC32",
        "LI21",
        "LT20",
        "LU20",
        "LV21",
        "LY25",
        "MC27",
        "MD24",
        "ME22",
        "MK19",
        "MR27",
        "MT31",
        "MU30",
        "NL18",
        "NO15",
        "PK24",
        "PL28",
        "PS29",
        "PT25",
        "QA29",
        "RO24",
        "RS22",
        "SA24",
        "SC31",
        "SE24",
        "SI19",
        "SK24",
        "SM27",
        "ST25",
        "SV28",
        "TL23",
        "TN24",
        "TR26",
        "UA29",
        "VA22",
        "VG24",
        "XK20",
    ]
}

_SSN = re2.compile(r"\b[0-9]{3}[- ]?[0-9]{2}[- ]?[0-9]{4}\b")
_SSN_CUE = words("ssns?", r"ss ?#", r"social[ -]security", r"soc\.? sec\.?", "social insurance", "tin", "itin")

#: Number -> its written form and the module of python-stdnum that checks it, where the form is rare enough.
_NATIONAL = (
    (re2.compile(r"\b[0-9]{3}\.[0-9]{3}\.[0-9]{3}-[0-9]{2}\b"), "br.cpf"),
    (re2.compile(r"\b756\.[0-9]{4}\.[0-9]{4}\.[0-9]{2}\b"), "ch.ssn"),
    (re2.compile(r"\b[A-Z]{6}[0-9]{2}[A-EHLMPRST][0-9]{2}[A-Z][0-9]{3}[A-Z]\b"), "it.codicefiscale"),
    (re2.compile(r"\b[12] [0-9]{2} [01][0-9] [0-9]{2} [0-9]{3} [0-9]{3} ?[0-9]{2}\b"), "fr.nir"),
)
#: Those that only a word in front tells from any number: word, form, module.
_ANNOUNCED = (
    (words("dni", "nif"), re2.compile(r"\b[0-9]{8}-?[A-Z]\b"), "es.dni"),
    (words("nie"), re2.compile(r"\b[XYZ]-?[0-9]{7}-?[A-Z]\b"), "es.nie"),
    (words(r"steuer-?id\w*", "idnr"), re2.compile(r"\b[0-9]{2} ?[0-9]{3} ?[0-9]{3} ?[0-9]{3}\b"), "de.idnr"),
    (words("aadhaar", "aadhar"), re2.compile(r"\b[2-9][0-9]{3} ?[0-9]{4} ?[0-9]{4}\b"), "in_.aadhaar"),
    (words("pesel"), re2.compile(r"\b[0-9]{11}\b"), "pl.pesel"),
    (words("bsn", "burgerservicenummer"), re2.compile(r"\b[0-9]{9}\b"), "nl.bsn"),
    (words("sécu(?:rité sociale)?", "nir"), re2.compile(r"\b[12][0-9]{14}\b"), "fr.nir"),
)
_ANY_WORD = re2.compile(r"(?i)\b(?:dni|nif|nie|steuer-?id|idnr|aadhaa?r|pesel|bsn|burgerservice|s.cu|nir)")


def find(text: Text, all_of_them: bool) -> Iterator[Found]:
    """Cards, IBANs, US and other national numbers; test numbers too where `all_of_them`."""
    for start, end in text.spans(_CARD):
        if _alone(text, start, end) and _is_card(text, start, end, all_of_them):
            yield Found("card", start, end, text.text[start:end])
    for start, end in text.spans(_IBAN):
        length = _iban_length(text.text[start:end], all_of_them) if _alone(text, start, end, letters_only=True) else 0
        if length and not text.text[start + length : start + length + 1].isalnum():
            yield Found("iban", start, start + length, text.text[start : start + length])
    for start, end in text.spans(_SSN):
        if _alone(text, start, end) and _is_ssn(text, start, end, all_of_them):
            yield Found("ssn", start, end, text.text[start:end])
    for pattern, module in _NATIONAL:
        yield from _national(text, pattern, module, None)
    if _ANY_WORD.search(text.data):
        for cue, pattern, module in _ANNOUNCED:
            yield from _national(text, pattern, module, cue)


def _national(text: Text, pattern: Any, module: str, cue: re.Pattern[str] | None) -> Iterator[Found]:
    for start, end in text.spans(pattern):
        value = text.text[start:end]
        believed = _alone(text, start, end) and (cue is None or cue.search(text.before(start)))
        if believed and import_module(f"stdnum.{module}").is_valid(value):
            yield Found("national_id", start, end, value)


def _alone(text: Text, start: int, end: int, letters_only: bool = False) -> bool:
    """No letter or digit touches it, and no sign that would make it a part of a longer number, name or path."""
    left, right = text.text[max(0, start - 2) : start], text.text[end : end + 2]
    if (left and (left[-1].isalnum() or left[-1] in "_")) or (
        not letters_only and right and (right[0].isalnum() or right[0] == "_")
    ):
        return False
    if letters_only:
        return True
    joined_left = left[-1:] in (".", "-", ",", "/", "+", "=", "%", "$") and (left[:1].isalnum() or left[-1:] in "./-$%")
    return not joined_left and not (right[:1] in (".", "-", ",", "/", "%") and right[1:2].isalnum())


def _is_card(text: Text, start: int, end: int, all_of_them: bool) -> bool:
    value = text.text[start:end]
    groups = tuple(len(group) for group in re.split(r"[ \u00a0-]", value))
    separators = set(re.sub(r"\d", "", value))
    number = digits(value)
    if groups not in _EMBOSSED or len(separators) > 1 or not _issued(number) or not luhn(number):
        return False
    if all_of_them:
        return True
    if number in examples.TEST_CARDS or len(set(number)) < 4:
        return False
    # Ten whole numbers of this length in a hundred pass Luhn; only the usual lengths are believed without a word.
    return len(groups) > 1 or len(number) in (15, 16) or bool(_CARD_CUE.search(text.before(start)))


def _issued(number: str) -> bool:
    return any(low <= number[: len(low)] <= high and len(number) in lengths for low, high, lengths in _ISSUERS)


def luhn(number: str) -> bool:
    """Does the last digit agree with Luhn's sum (ISO/IEC 7812-1, annex B)?"""
    total = 0
    for i, digit in enumerate(reversed(number)):
        value = int(digit) * (1 + i % 2)
        total += value - 9 * (value > 9)
    return total % 10 == 0


def _iban_length(value: str, all_of_them: bool) -> int:
    """Characters of the IBAN that `value` begins with (a word in capitals may follow it), or 0."""
    wanted = _IBAN_LENGTHS.get(value[:2], 0)
    ends = [i + 1 for i, sign in enumerate(value) if sign.isalnum()]
    if not wanted or len(ends) < wanted:
        return 0
    length = ends[wanted - 1]
    whole = re.sub(r"[ \u00a0-]", "", value[:length])
    if int("".join(str(int(sign, 36)) for sign in whole[4:] + whole[:4])) % 97 != 1:
        return 0
    return 0 if whole in examples.EXAMPLE_IBANS and not all_of_them else length


def _is_ssn(text: Text, start: int, end: int, all_of_them: bool) -> bool:
    from stdnum.us import ssn

    value = text.text[start:end]
    number = digits(value)
    hyphens = value.count("-")
    if hyphens == 1 or value.count(" ") == 1:
        return False
    if not ssn.is_valid(number) and not all_of_them:  # areas never given out, and the numbers of advertisements
        return False
    if hyphens == 2 or _SSN_CUE.search(text.before(start)):
        return True
    # With blanks it may be three cells of a table: then there are more of them.
    return value.count(" ") == 2 and not re.search(r"\d", text.before(start, 12) + text.after(end, 12))
