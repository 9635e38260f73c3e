"""Answers to IFEval's requests that follow some of the instructions, and mutations of them: the same ones on every
machine."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

Row = dict[str, Any]
#: Short texts in several languages and styles, of our own writing.
TEXTS = (
    "The lamp stood in the hall. Mr. Hale lit it at 6 p.m. every day, and nobody asked why! Was it for the boats?",
    "I'm told that NASA and the U.S. Navy agreed: the buoy, e.g. No. 7, had drifted. It's 3.5 miles off. DON'T wait.",
    "Bread needs flour, water, salt and time. First you mix. Then you wait. After an hour the dough has doubled.",
    "Der alte Kahn lag am Ufer, und die Kinder spielten darin. Am Abend kam der Fischer und fuhr hinaus auf den See.",
    "La maison au bord de la rivière était vide depuis longtemps. Les voisins disaient que le toit allait tomber.",
    "El tren sale a las ocho de la mañana. Los viajeros esperan en el andén con sus maletas y un poco de sueño.",
    "Старый мост над рекой давно закрыт. По утрам здесь ходят только рыбаки и собаки.",
    "पुराना पुल नदी के ऊपर बहुत समय से बंद है। सुबह यहाँ केवल मछुआरे चलते हैं।",
    "எங்கள் கிராமத்தில் ஒரு பழைய கோவில் உள்ளது. காலையில் மக்கள் அங்கே செல்கிறார்கள்.",
    "ನಮ್ಮ ಊರಿನಲ್ಲಿ ಒಂದು ಹಳೆಯ ದೇವಾಲಯವಿದೆ. ಬೆಳಿಗ್ಗೆ ಜನರು ಅಲ್ಲಿಗೆ ಹೋಗುತ್ತಾರೆ.",
    "Stary most nad rzeką jest od dawna zamknięty. Rano chodzą tędy tylko rybacy i psy.",
    "12 34 -- 56 ???",
    "YOU'LL see: the A.B.C. shop can't open. I CANNOT say why; O'BRIEN'S key (THE ONE) is LOST... WE'VE LOOKED.",
)
#: Place in TEXTS of a text in a language that IFEval asks for.
SPOKEN = {"en": 2, "de": 3, "fr": 4, "es": 5, "ru": 6, "hi": 7, "ta": 8, "kn": 9, "pl": 10}


class Draw:
    """Draws that are the same in every version of Python: `random.random` alone is promised to be."""

    def __init__(self, key: str) -> None:
        self.random = random.Random(key).random

    def below(self, count: int) -> int:
        return int(self.random() * count)

    def one(self, values: Sequence[Any]) -> Any:
        return values[self.below(len(values))]


def answer(row: Row, key: str) -> str:
    """An answer to a row."""
    draw = Draw(key)
    text = "\n\n".join(draw.one(TEXTS) for _ in range(1 + draw.below(6)))
    for name, arguments in zip(row["instruction_id_list"], row["kwargs"], strict=True):
        if draw.random() < 0.7:
            text = _followed(text, name, arguments, draw)
    for _ in range(draw.below(3)):
        text = _mutated(text, draw)
    return text


def _followed(text: str, name: str, given: Row, draw: Draw) -> str:
    """A text that more or less follows an instruction."""
    more = given.get("relation", given.get("let_relation", given.get("capital_relation"))) != "less than"
    count = max(0, next((v for k, v in given.items() if k.startswith("num_") or "frequency" in k), 0) - draw.below(2))
    words = text.split()
    kind = name.partition(":")[2]
    if kind == "existence":
        return text + " " + draw.one((" ", ", ", "-")).join(given["keywords"])
    if kind == "frequency":
        return text + f" {given['keyword']}," * (count if more else draw.below(2))
    if kind == "forbidden_words":
        return text + draw.one(("", "s", " ")).join(["", *given["forbidden_words"][: draw.below(2)]])
    if kind == "letter_frequency":
        return text + given["letter"] * count if more else text.replace(given["letter"], "")
    if kind == "number_words":
        return " ".join((words * (1 + count // len(words)))[: max(1, count)])
    if kind == "number_sentences":
        return (
            " ".join(f"{draw.one(('It is so', 'Dr. Low came', 'At 5.30 he left'))}{draw.one('.!?')}" for _ in range(count))
            or text
        )
    if kind == "number_paragraphs":
        return draw.one(("***", "\n***\n", " *** ")).join([text] * max(1, count + draw.below(2)))
    if kind == "nth_paragraph_first_word":
        parts = [text.replace("\n", " ")] * given["num_paragraphs"]
        parts[given["nth_paragraph"] - 1] = (
            f"{draw.one(('', chr(34)))}{given['first_word'].title()}{draw.one((',', ' ', '.'))} " + text
        )
        return "\n\n".join(parts)
    if kind == "number_placeholders":
        return text + " [name]" * count
    if kind == "postscript":
        return f"{text}\n\n{given['postscript_marker']} {words[0]}"
    if kind == "number_bullet_lists":
        return text + "".join(f"\n{draw.one(('* ', '- ', '*', ' * '))}{words[0]}" for _ in range(count))
    if kind == "number_highlighted_sections":
        return text + "".join(f" {mark}{words[0]}{mark}" for mark in [draw.one(("*", "**", "***")) for _ in range(count)])
    if kind == "multiple_sections":
        return "\n".join(f"{given['section_spliter']} {i + 1}\n{text}" for i in range(count))
    plain = {
        "constrained_response": draw.one(("My answer is yes.", "My answer is no.", "My answer is maybe", "My answer is maybe.")),
        "json_format": draw.one(('```json\n{"a": [1, 2]}\n```', '{"a": 1}', "```\n[1]```", '{"a": 1,}', "[" * 3000)),
        "title": f"<<{words[0]}>>\n{text}",
        "two_responses": f"{text}{draw.one(('******', chr(10) + '******' + chr(10), '*****'))}{words[0]}",
        "repeat_prompt": f"{given.get('prompt_to_repeat', '')}\n{text}",
        "end_checker": f"{text} {given.get('end_phrase', '')}{draw.one(('', chr(34), ' .'))}",
        "quotation": f'"{text}"',
        "english_capital": text.upper(),
        "english_lowercase": text.lower(),
        "no_comma": text.replace(",", ""),
        "capital_word_frequency": text + draw.one((" NASA", " I'M", " WELL-KNOWN,", " CAN'T.")) * (count if more else 1),
        "response_language": draw.one((TEXTS[SPOKEN.get(given.get("language", ""), 0)], draw.one(TEXTS))),
    }
    return plain[kind]


def _mutated(text: str, draw: Draw) -> str:
    place = draw.below(len(text) + 1)
    return draw.one(
        (
            text[:place] + text[place + 1 :],
            text[:place] + draw.one((",", "*", '"', "\n", ". ", "'", "A", "-", "\n\n")) + text[place:],
            "Sure, here it is:\n" + text,
            text + "\n\nI hope this helps!",
            f"**{text}**",
            text.replace("\n", " "),
            text[:place],
            text.replace(" ", "  ", 1),
        )
    )
