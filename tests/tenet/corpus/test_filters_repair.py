"""What is broken is mended and counted, what means something stays, and a clean text comes back as the same object."""

from __future__ import annotations

import time
import unicodedata

import ftfy.badness
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tenet.corpus.filters.repair import _BAD, repair

#: Script -> a sentence of it in NFC, with what must stay: joiners, marks, quotes, zero-width spaces between words.
SCRIPTS = {
    "latin": "“Ça va?” – Złoty, Þórr, Đorđe, ﬁn, Ｆｕｌｌ, İstanbul, naïve façade… L’été — à Noël",
    "vietnamese": "Tiếng Việt có nhiều dấu: ề, ữ, ặ, ơ.",
    "greek": "Το γρήγορο «καφέ» αλεπού — ΐ, ᾷ.",
    "russian": "Съешь же ещё этих мягких «булок» — да выпей чаю, №5.",
    "ukrainian": "Київ — її «ґанок»; під’їзд є.",
    "serbian": "Љубазни фењерџија чађавог лица.",
    "hebrew": "שלום עולם, זה \u200fABC\u200f טקסט.",
    "arabic": "السلام عليكم، كيف حالك؟ \u200eHTML\u200e هو لغة.",
    "persian": "می\u200cخواهم کتاب\u200cها را بخوانم.",
    "urdu": "یہ ایک جملہ ہے۔",
    "hindi": "क्\u200dष और क्ष, हिन्दी में लिखा है।",
    "bengali": "র\u200d্যাব একটি বাহিনী।",
    "tamil": "தமிழ் மொழி இனிது.",
    "malayalam": "മലയാളം എഴുത്ത്.",
    "sinhala": "ශ්\u200dරී ලංකාව.",
    "thai": "ภาษา\u200bไทย ไม่มีช่องว่าง",
    "khmer": "ភាសា\u200bខ្មែរ",
    "burmese": "မြန်မာ\u200bစာ",
    "georgian": "ქართული ენა.",
    "armenian": "Հայոց լեզու։",
    "chinese": "院子里的“梨树”开花了，ＡＢＣ１２３。",
    "japanese": "メロスは激怒した。「ｶﾀｶﾅ」",
    "korean": "한국어 문장입니다.",
    "amharic": "አማርኛ ቋንቋ።",
    "emoji": "👩\u200d🚀 👨\u200d👩\u200d👧 ❤\ufe0f\u200d🔥 🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f 👍🏽",
    "mathematics": "∀x∈ℝ: ⌈x⌉ = −⌊−x⌋, 𝔸 ⊂ 𝔹, x̄ ≤ ∑ aᵢ",
}


@pytest.mark.parametrize("script", sorted(SCRIPTS))
def test_clean_text_is_the_same_object(script: str) -> None:
    text = f"{SCRIPTS[script]}\n\tIndented.\n" * 3
    assert unicodedata.is_normalized("NFC", text)
    assert repair(text)[0] is text and repair(text)[1] == {}


@pytest.mark.parametrize(
    ("text", "mended", "counts"),
    [
        ("cafÃ© â€œhiâ€\x9d\nclean\nvÃ¶llig", "café “hi”\nclean\nvöllig", {"mojibake": 2}),
        ("Ð¿Ñ€Ð¸Ð²ÐµÑ‚", "привет", {"mojibake": 1}),
        ("it\x92s", "it’s", {"mojibake": 1}),
        ("e\u0301 a\n\u212bngstrom\nplain", "é a\nÅngstrom\nplain", {"nfc": 2}),
        ("a\x00b\x07c\x1b[31mred\x1b[0m", "abcred", {"control": 2, "terminal": 2}),
        ("\ud83d\ude00 and \ud800.", "😀 and \ufffd.", {"surrogate": 3}),
        ("zero\u200bwidth\u2060 not\u200cjoined \u200d", "zerowidth notjoined ", {"zero_width": 4}),
        ("soft\u00adhy\u00adphen", "softhyphen", {"soft_hyphen": 2}),
        ("\ufeff\ufefftext\ufeff", "text", {"bom": 3}),
        ("abc\u202edef\u202c \u200eghi", "abcdef ghi", {"bidi": 3}),
        ("one\r\ntwo\rthree\u2028four\x0cfive", "one\ntwo\nthree\nfour\nfive", {"line_end": 4}),
        ("hidden\U000e0068\U000e0069", "hidden", {"tag": 2}),
    ],
)
def test_each_kind(text: str, mended: str, counts: dict[str, int]) -> None:
    assert repair(text) == (mended, counts)


def test_wrong_decoding_can_be_left_alone() -> None:
    text = "cafÃ© is how café looks"
    assert repair(text, mojibake=False)[0] is text
    code = 'assert fix("sÃ£o") == "são"  # ﬁ “x” &amp; &eacute;\n'
    assert repair(code, mojibake=False)[0] is code
    assert repair("&amp; &eacute; “x” ﬁ\n")[1] == {}


def test_hyphens_only_when_asked() -> None:
    text = "an exam-\nple of a well-\nknown, well-known case; New-\nYork and x-\n1.\n"
    assert repair(text)[0] is text
    mended, counts = repair(text, hyphens=True)
    assert mended == "an example\nof a well-known,\nwell-known case; New-\nYork and x-\n1.\n"
    assert counts == {"hyphenation": 2}
    assert repair(mended, hyphens=True) == (mended, {})


#: Characters that tend to break such code, among any others.
ODD = st.sampled_from(
    "Ãâ€œ©Â \x00\x1b[m\r\n\u00ad\u200b\u200c\u200d\u200e\u202e\ufeff\ud83d\ude00e\u0301क्می👩🚀🏴\U000e0067\U000e007f-ab"
)
TEXTS = st.one_of(st.text(max_size=80), st.lists(ODD, max_size=40).map("".join))


@settings(max_examples=300, deadline=None)
@given(TEXTS, st.booleans())
@example("🏴\U000e0067\u00ad\U000e007f", False)
@example("a-\nb-\nc", True)
def test_repairing_twice_changes_nothing_more(text: str, hyphens: bool) -> None:
    once, _ = repair(text, hyphens=hyphens)
    again, counts = repair(once, hyphens=hyphens)
    assert again is once and counts == {}
    assert unicodedata.is_normalized("NFC", once)
    once.encode()


@settings(max_examples=100, deadline=None)
@given(st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=126) | st.sampled_from("\n\t"), max_size=200))
def test_ascii_is_never_touched(text: str) -> None:
    assert repair(text)[0] is text


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet=st.characters(min_codepoint=0x20, max_codepoint=0x2200, exclude_categories=["Cs"]), max_size=8))
@example("Î¿Ð°\u0151 Ã ")
def test_the_question_is_ftfys_own(text: str) -> None:
    assert bool(_BAD.search(text.encode())) == ftfy.badness.is_bad(text)


def test_clean_text_is_fast() -> None:
    texts = ["The rain in Spain stays mainly in the plain.\n" * 20_000, SCRIPTS["russian"] * 10_000]
    start = time.process_time()
    for text in texts:
        assert repair(text)[0] is text
    assert time.process_time() - start < sum(len(text.encode()) for text in texts) / 20e6
