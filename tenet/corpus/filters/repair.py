"""Text as its author wrote it: wrong decoding undone, invisible characters that mean nothing removed, accents composed.

What means something stays: curly quotes, ligatures and full-width letters, joiners in emoji and in the scripts that
write with them, direction marks beside letters that run from right to left. Wrong decoding is ftfy's to judge (its
heuristics ask whether a line is likelier as UTF-8), but only lines that its first question is answered with yes for
are shown to it. Most texts need nothing and come back as the same object.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable

import ftfy
import ftfy.badness
import re2

#: Line ends that are not "\n"; VT, FF, the separators of ASCII and of Unicode included.
_LINE_END = re.compile("\r\n|[\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029]")
_TERMINAL = re.compile("\x1b\\[[0-9;?]{0,20}[A-Za-z]")
_CONTROL = re.compile("[\x00-\x08\x0e-\x1b\x1f\x7f-\x84\x86-\x9f\ufdd0-\ufdef\ufff9-\ufffb\ufffe\uffff]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_JOINERS = re.compile("[\u200b-\u200d\u2060-\u2064\u180e]")
_MARKS = re.compile("[\u200e\u200f\u061c]")
_EMBEDDINGS = re.compile("[\u202a-\u202e\u2066-\u2069]")
_TAGS = re.compile("(\U0001f3f4[\U000e0061-\U000e007a]+\U000e007f)|[\U000e0000-\U000e007f]")
_SOFT = re.compile("\u00ad")
_BOM = re.compile("\ufeff")
#: Anything that the patterns above look for, for RE2 on UTF-8.
_SUSPECT = re2.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x{9f}\x{ad}\x{61c}\x{180e}\x{200b}-\x{200f}\x{2028}-\x{202e}\x{2060}-\x{2064}"
    r"\x{2066}-\x{2069}\x{feff}"
    r"\x{fdd0}-\x{fdef}\x{fff9}-\x{fffb}\x{fffe}\x{ffff}\x{e0000}-\x{e007f}]"
)
#: Right to left: Hebrew, Arabic, Syriac, Thaana, N'Ko and their later blocks.
_RIGHT_TO_LEFT = re.compile("[\u0590-\u08ff\ufb1d-\ufdcf\ufdf0-\ufdff\ufe70-\ufefc\U00010800-\U00010fff\U0001e800-\U0001efff]")
#: Scripts in which a joiner or non-joiner chooses the form of a letter, and those that part words with a zero-width space.
_JOINING = re.compile(
    "[\u0600-\u08ff\u0900-\u0dff\u0f00-\u109f\u1780-\u18af\u1900-\u1aff"
    "\ua840-\ua87f\ua8e0-\ua8ff\ufb50-\ufdcf\ufe70-\ufefc\U00011000-\U00011fff]"
)
_SPACELESS = re.compile("[\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u1950-\u1aaf\uaa00-\uaadf]")
#: Emoji's modifiers and the sign that asks for the coloured form.
_EMOJI_TAIL = re.compile("[\ufe0f\u20e3\U0001f3fb-\U0001f3ff]")
_HYPHEN = re.compile(r"(?<![^\W\d_])([^\W\d_]{2,})-\n[ \t]*([^\W\d_]{2,})([^\s\w]*)[ \t]?")


def _without_layout(pattern: str) -> str:
    """A verbose pattern without its blanks and remarks, which RE2 does not know."""
    parts = re.findall(r"\\.|\[(?:\\.|[^\]])*\]|#[^\n]*|\s+|.", pattern, re.DOTALL)
    bare = "".join(part for part in parts if part[0] != "#" and not part.isspace())
    # RE2's \w and \s are ASCII; ftfy's stand outside of classes.
    return bare.replace(r"\w", r"[\p{L}\p{N}_]").replace(r"\s", r"[\s\x{85}\p{Z}]")


#: ftfy's own question whether a text can be wrongly decoded at all, asked of RE2: 300 MB a second instead of 6.
_BAD = re2.compile(_without_layout(ftfy.badness.BADNESS_RE.pattern))
_FTFY = ftfy.TextFixerConfig(unescape_html=False, normalization=None, explain=False)


def repair(text: str, mojibake: bool = True, hyphens: bool = False) -> tuple[str, dict[str, int]]:
    """The text repaired, and how often what was done; a text that needs nothing is returned as the same object.

    Repairing twice gives what repairing once does. Counts are characters, except `mojibake` and `nfc` (lines) and
    `hyphenation` (words).

    Args:
        text: any string, lone surrogates included.
        mojibake: undo wrong decoding ("Ã©" for "é"); off for sources whose subject is encodings.
        hyphens: join words that were divided at the end of a line, as in text out of PDF files.
    """
    counts: Counter[str] = Counter()
    while (changed := _once(text, counts, mojibake)) is not text:
        text = changed
    if hyphens and "-\n" in text:
        text = _joined(text, counts)
    return text, dict(sorted(counts.items()))


def _once(text: str, counts: Counter[str], mojibake: bool) -> str:
    """One pass; the same object when there was nothing to do."""
    try:
        data = text.encode()
    except UnicodeEncodeError:
        text = _whole(text, counts)
        data = text.encode()
    plain = text.isascii()
    before = text
    if mojibake and not plain and _BAD.search(data):
        text = _decoded(text, counts)
    if text is not before or _SUSPECT.search(data):
        text = _visible(text, counts)
    if not plain and not unicodedata.is_normalized("NFC", text):
        composed = unicodedata.normalize("NFC", text)
        counts["nfc"] += sum(not unicodedata.is_normalized("NFC", line) for line in text.split("\n")) or 1
        text = composed
    return text


def _whole(text: str, counts: Counter[str]) -> str:
    """Pairs of surrogates become their character (JSON writes them apart), one without its partner U+FFFD."""
    counts["surrogate"] += len(_SURROGATE.findall(text))
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _decoded(text: str, counts: Counter[str]) -> str:
    lines = text.split("\n")
    changed = False
    for i, line in enumerate(lines):
        if line.isascii() or not _BAD.search(line.encode("utf-8", "surrogatepass")):
            continue
        fixed = ftfy.fix_encoding(line, _FTFY)
        if fixed != line:
            lines[i], changed = fixed, True
            counts["mojibake"] += 1
    return "\n".join(lines) if changed else text


def _visible(text: str, counts: Counter[str]) -> str:
    """Without characters that nobody sees and nothing needs."""
    before = text
    for name, pattern, by in (
        ("line_end", _LINE_END, "\n"),
        ("terminal", _TERMINAL, ""),
        ("control", _CONTROL, ""),
        ("soft_hyphen", _SOFT, ""),
        ("bom", _BOM, ""),
        ("bidi", _EMBEDDINGS, ""),
    ):
        text, count = pattern.subn(by, text)
        _count(counts, name, count)
    text = _where(text, _TAGS, lambda found: bool(found[1]), "tag", counts)
    text = _where(text, _MARKS, _is_beside_right_to_left, "bidi", counts)
    text = _where(text, _JOINERS, _is_joining, "zero_width", counts)
    return before if text == before else text


def _count(counts: Counter[str], name: str, count: int) -> None:
    if count:
        counts[name] += count


def _where(text: str, pattern: re.Pattern[str], keep: Callable[[re.Match[str]], bool], name: str, counts: Counter[str]) -> str:
    """The text without the matches that `keep` does not want."""
    gone = 0

    def replaced(found: re.Match[str]) -> str:
        nonlocal gone
        if keep(found):
            return found[0]
        gone += 1
        return ""

    text = pattern.sub(replaced, text)
    _count(counts, name, gone)
    return text


def _is_beside_right_to_left(found: re.Match[str]) -> bool:
    """Is there a letter from right to left on the line, which the mark may order?"""
    text, at = found.string, found.start()
    start, end = text.rfind("\n", 0, at) + 1, text.find("\n", at)
    return bool(_RIGHT_TO_LEFT.search(text, max(start, at - 200), min(end if end >= 0 else len(text), at + 200)))


def _is_joining(found: re.Match[str]) -> bool:
    text, start, end = found.string, found.start(), found.end()
    left, right, sign = text[start - 1 : start] if start else "", text[end : end + 1], found[0]
    if sign == "\u200b":
        return bool(_SPACELESS.match(left) or _SPACELESS.match(right))
    if sign in "\u200c\u200d" and (_JOINING.match(left) or _JOINING.match(right)):
        return True
    pictures = [side and (unicodedata.category(side) == "So" or bool(_EMOJI_TAIL.match(side))) for side in (left, right)]
    return sign == "\u200d" and all(pictures)


def _joined(text: str, counts: Counter[str]) -> str:
    """Divided words in one piece, the line ending behind them; with their hyphen where the text has it elsewhere."""

    def whole(found: re.Match[str]) -> str:
        first, second, signs = found[1], found[2], found[3]
        if not second[0].islower():
            return found[0]
        counts["hyphenation"] += 1
        joint = "-" if f"{first}-{second}" in text else ""
        return f"{first}{joint}{second}{signs}\n"

    return _HYPHEN.sub(whole, text)
