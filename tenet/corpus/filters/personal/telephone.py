"""Telephone numbers: international ones, national ones of the common forms, and any that a word announces.

Digits with blanks between them are mostly no telephone: years ("1914-1918"), pages, ISBNs, tables, sums. So a candidate
is believed by how much speaks for it: a plus sign and a number that its country gives out; a written form that only
telephones have there; or a word in front ("Tel."), and then the numbers of all countries of `REGIONS` count. Whether a
number can exist is Google's libphonenumber's to say (package phonenumbers); it takes 0.1 ms, so forms come first.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import re2

from tenet.corpus.filters.personal import examples
from tenet.corpus.filters.personal.matching import Found, Text, digits, words

#: Countries that a number without a country code is tried with, when a word announces it.
REGIONS = (
    "US",
    "GB",
    "DE",
    "FR",
    "ES",
    "IT",
    "NL",
    "CH",
    "AT",
    "BE",
    "SE",
    "PL",
    "IN",
    "AU",
    "BR",
    "JP",
    "CN",
    "RU",
    "PT",
    "DK",
    "NO",
    "MX",
    "ZA",
    "KR",
    "TR",
    "IE",
    "CZ",
)
FEWEST, MOST = 7, 15
_CANDIDATE = re2.compile(
    r"(?:\(?\+ ?\(?|\(|\b)[0-9](?:[ \x{00a0}\x{2009}\x{202f}().\-\x{2010}\x{2011}\x{2013}/]{0,3}[0-9]){6,16}\b"
)
_CUE = words(
    r"(?:tele)?phones?", r"tel(?:ephone)?\.?(?: ?no| ?nr)?", r"mobiles?", "cell(?:ular|phone)?",
    "call", "called", "calls", "ring", "dial", "fax", "text me", "sms", "whatsapp",
    r"telefon\w*", "handy", "mobil", "durchwahl", r"t[ée]l[ée]phone", r"t[ée]l", "portable",
    r"tel[ée]fonos?", r"m[óo]vil", "telefono", "cellulare", "celular", r"telem[óo]vel", "telefoon", "mobiel",
    "komórka", "kom", "hotline", "helpline", "toll[ -]free", "contact", "电话", "手机", "電話", "携帯", "전화", "телефон", "тел", "моб",
)  # fmt: skip
#: A cue with a few words between it and the number, of which a bracket that stays open is none.
_NEAR_CUE = re.compile(rf"{_CUE.pattern}(?:[^();\n]|\([^()]*\)){{0,22}}\(?$", re.IGNORECASE)
#: A sum and not a number: "+4954285000 \\cos(x)", "} +27840645120".
_SUM_AFTER = re.compile(r"\s?[\\*^}=]")
#: Eleven digits that are a Chinese mobile number where there is Chinese around them, and any count elsewhere.
_MOBILE_CN = re.compile(r"1[3-9]\d{9}")
_YEAR = r"(?:1[5-9]|20)\d\d"
_DECIMAL = re.compile(r"\+?\d+\.\d+")
_FICTION = re.compile(rf"(?:\+?1[ .-]?)?(?:\(?[2-9]\d\d\)?[ .-]?)?{examples.FICTION_EXCHANGE}[ .-]?\d{{4}}")
_CHINESE = re.compile(r"[\u4e00-\u9fff]")
_CUE_SIGN = re.compile(r"[☎☏✆📞📱]|电话|手机|電話|携帯|전화")
_CUE_AFTER = re.compile(r"\s*[(\[]\s?(?:mobile|cell|home|office|work|fax|tel|phone|mob|handy|privat)", re.I)
#: What says that the digits are something else.
_OTHER = re.compile(
    r"(?<![^\W_])(?:isbns?(?:-1[03])?|issn|doi|arxiv|pmid|pmc|oclc|lccn|asin|ean"
    r"|upc|patent|pat|rfc|iso|invoice|order|ref|case|docket|ticket|serial|version|ver|id|ids|page|pages|pp?|vol|"
    r"no|nos|nr|sku|part|model|grant|award|contract|account|acct"
    r"|build|date|issue|eq|fig|table|bug|commit|pin|code|zip|plz|steuernummer|ust|vat)\b[\s.:#=()\"'-]*$",
    re.I,
)  # fmt: skip
_ONE = r"[ \u00a0.\-\u2010\u2011\u2013]"
#: Written form that speaks for itself -> the countries whose form it is.
_FORMS = tuple(
    (re.compile(form), regions.split())
    for form, regions in (
        (rf"(?:1{_ONE})?\([2-9]\d\d\) ?[2-9]\d\d{_ONE}\d{{4}}", "US"),
        (r"(?:1([-.]))?[2-9]\d\d([-.])[2-9]\d\d\2\d{4}", "US"),
        (r"1[ -][2-9]\d\d[ -][2-9]\d\d[ -]\d{4}", "US"),
        (r"[2-9]\d\d [2-9]\d\d-\d{4}", "US"),
        (r"0[1-9](?:([ .\-\u00a0])\d\d)(?:\1\d\d){3}", "FR BE"),
        (r"0[67]\d{8}", "FR"),
        (r"07\d{9}", "GB"),
        (r"\(0\d{1,4}\) ?\d{2,4}(?:[ -]?\d{2,5}){1,3}", "GB AU JP DE IT NL"),
        (r"0\d{2,4} \d{3,4}(?: \d{3,4})?", "GB AU"),
        (r"0\d{1,4}[ -]\d{5,8}", "GB DE AT NL IN IT"),
        (r"0\d{1,4} ?/ ?\d{2,8}(?:[ .-]?\d{2,4}){0,3}", "DE AT BE CH"),
        (r"0\d{1,2} \d{3} \d{2} \d{2}", "CH BE SE"),
        (r"0\d{1,3}-\d{3,4}-\d{4}", "JP KR CN"),
        (r"0\d{1,3}-\d{2,3} ?\d{2,3} ?\d{2}", "SE"),
        (r"0\d{1,3}-\d{6,8}", "NL DE CN IN SE"),
        (r"0\d-?[1-9](?: ?\d\d){3,4}", "NL"),
        (r"04\d\d \d\d \d\d \d\d", "BE"),
        (r"\(0?\d\d\) ?9?\d{4}-\d{4}", "BR"),
        (r"\d\d 9\d{4}-\d{4}", "BR"),
        (r"1[3-9]\d[ -]\d{4}[ -]\d{4}", "CN"),
        (r"8 ?\(\d{3}\) ?\d{3}-\d\d-\d\d|8-\d{3}-\d{3}-\d\d-\d\d", "RU"),
        (r"[6-9]\d{4}[ -]\d{5}", "IN"),
        (r"9[0-9]-[1-9]\d\d-\d\d-\d\d|9[0-9]-\d{3}-\d{2}-\d{2}", "ES"),
        (r"[5-8]\d\d-\d{3}-\d{3}", "PL"),
        (r"3\d\d[/ -]\d{7}", "IT"),
        (r"3\d\d[ .]\d{3}[ .]\d{4}", "IT"),
        (r"6\d\d \d{3} \d{3}", "ES PL"),
        (r"[1-9]\d \d{3} \d\d \d\d", "ES PL"),
    )
)


def find(text: Text, all_of_them: bool) -> Iterator[Found]:
    """All numbers; those of fiction and documentation too where `all_of_them`."""
    for start, end in text.spans(_CANDIDATE):
        start, end = _trimmed(text.text, start, end)
        if not FEWEST <= len(digits(text.text[start:end])) <= MOST or not _alone(text, start, end):
            continue
        if _is_number(text, start, end, all_of_them):
            yield Found("phone", start, end, text.text[start:end])


def _trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    """Without an opening bracket that is not of the number."""
    value = text[start:end]
    while value[:1] == "(" and value.count("(") > value.count(")"):
        value = value[1:]
    return end - len(value), end


def _alone(text: Text, start: int, end: int) -> bool:
    left, right = text.text[max(0, start - 2) : start], text.text[end : end + 2]
    if left and (left[-1].isalnum() or left[-1] in "_#%$€£&=@\\^"):
        return left[-1] == "=" and left[:1].isalpha()  # tel=...
    if left[-1:] in (".", "-", ",", "/", "+", "–") and (left[:1].isalnum() or left[-1:] in "/-+"):
        return False
    return not (
        right[:1].isalnum()
        or right[:1] in ("_", "%", "=")
        or (right[:1] in (".", "-", ",", "/", "–", ":") and right[1:2].isalnum())
    )


def _is_number(text: Text, start: int, end: int, all_of_them: bool) -> bool:
    value, before = text.text[start:end], text.before(start)
    line = before.rsplit("\n", 1)[-1]
    announced = bool(_NEAR_CUE.search(line) or _CUE_SIGN.search(line[-6:]) or _CUE_AFTER.match(text.after(end)))
    if _OTHER.search(before) and not announced:
        return False
    if not all_of_them and _FICTION.fullmatch(value):
        return False
    if value.count("(") != value.count(")") or (_DECIMAL.fullmatch(value) and not announced):
        return False
    number = value.replace("(0)", "") if value[0] in "(+0" else value
    value = value.lstrip("(") if value.startswith("(+") else value
    if value.startswith(("+", "00")):
        plus = f"+{number[2:]}" if number.startswith("00") else number
        in_a_sum = re.fullmatch(r"\+[\d ]+", value) and (_SUM_AFTER.match(text.after(end)) or re.search(r"[)}\]]\s?$", before))
        if not in_a_sum and _exists(plus, "ZZ"):
            return True
        if value[0] == "+":
            return False
    for form, regions in _FORMS:
        if form.fullmatch(value) and any(_exists(number, region) for region in regions):
            return True
    if _MOBILE_CN.fullmatch(value) and _CHINESE.search(before + text.after(end)):
        return _exists(number, "CN")
    return announced and not _is_dates(value) and any(_exists(number, region) for region in REGIONS)


def _is_dates(value: str) -> bool:
    """1914-1918, 2019-03-12, 12.03.2019 10: what a word about telephones may have in front by chance."""
    return bool(re.match(rf"{_YEAR}[-–/. ](?:{_YEAR}|[01]?\d[-–/. ])|\d{{1,2}}[./-]\d{{1,2}}[./-]{_YEAR}", value))


def _exists(number: str, region: str) -> bool:
    """Is it a number that a country gives out?"""
    import phonenumbers

    try:
        parsed = phonenumbers.parse(number, None if region == "ZZ" else region)
    except phonenumbers.NumberParseException:
        return False
    return phonenumbers.is_valid_number(parsed)
