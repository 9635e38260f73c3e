"""Verifier of instructions that a program can check, as IFEval has them (Zhou et al. 2023, arXiv:2311.07911).

{"kind": "instructions", "instruction_id_list": ["punctuation:no_comma", "length_constraints:number_words"],
 "kwargs": [{}, {"relation": "at least", "num_words": 300}]}

A row may bring both lists itself, as IFEval's file does. Strict judges the answer as it is; loose also takes it without
its first line, without its last one, without both, and each without asterisks: the eight readings of the paper. The
four accuracies of the paper come out of the parts: prompt level is the mean of `strict` and of `loose`; instruction
level is `instruction_level` over the parts of all rows.
"""

from __future__ import annotations

import difflib
import importlib.util
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from tenet.verifiers.instruction_checks import CHECKS, PACKAGES, RELATIONS
from tenet.verifiers.verifier import Calls, Row, Verdict, options

LOOSE = "loose "
#: The part that is the score, by `loose` and `share`.
_RULES = {(False, False): "strict", (True, False): "loose", (False, True): "share", (True, True): "loose_share"}


class Instructions:
    """Every instruction of a row is followed.

    Spec: `instruction_id_list` and `kwargs` (one object for each), or the row's own; `loose` (default false): the score
    is the loose verdict; `share` (default false): the score is the share of instructions that are followed, which a
    weak policy can climb, in place of all or nothing. Parts: strict and loose (all are followed), share and loose_share
    (of the instructions), and each instruction by its name, plain and with "loose " before it; where a row has two of
    one kind, the second is "name (2)".
    """

    def read(self, spec: Row, row: Row, folder: Path | None) -> Row:
        spec = {**{key: row[key] for key in ("instruction_id_list", "kwargs") if key in row}, **spec}
        options(spec, {"instruction_id_list": list, "kwargs": list, "loose": bool, "share": bool})
        names, given = spec.get("instruction_id_list"), spec.get("kwargs")
        if not names or given is None or len(names) != len(given):
            raise ValueError(
                f"instructions: {len(names or [])} in `instruction_id_list` and {len(given or [])} in `kwargs`; "
                "give at least one, and one object of arguments for each"
            )
        return {**spec, "kwargs": [_arguments(name, values) for name, values in zip(names, given, strict=True)]}

    def verify(self, spec: Row, row: Row, text: str, calls: Calls) -> Verdict:
        strict: dict[str, float] = {}
        loose: dict[str, float] = {}
        for name, arguments in zip(spec["instruction_id_list"], spec["kwargs"], strict=True):
            part = next(part for number in count(1) if (part := _numbered(name, number)) not in strict)
            found = _followed(name, arguments, loose_readings(text))
            strict[part], loose[part] = float(found[0]), float(any(found))
        parts = {
            "strict": float(all(strict.values())),
            "loose": float(all(loose.values())),
            "share": sum(strict.values()) / len(strict),
            "loose_share": sum(loose.values()) / len(loose),
        }
        score = parts[_RULES[spec.get("loose", False), spec.get("share", False)]]
        judged = loose if spec.get("loose") else strict
        errors = [f"{name} is not followed" for name, followed in judged.items() if not followed]
        return Verdict(score, {**parts, **strict, **{LOOSE + name: followed for name, followed in loose.items()}}, errors)


def loose_readings(answer: str) -> list[str]:
    """The answer, and seven that leave out what an assistant likes to put around one: a first line, a last line,
    asterisks."""
    lines = answer.split("\n")
    cut = [answer, *("\n".join(part).strip() for part in (lines[1:], lines[:-1], lines[1:-1]))]
    return [*cut, *(text.replace("*", "") for text in cut)]


def instruction_level(parts: Iterable[Mapping[str, float]]) -> tuple[float, float]:
    """Strict and loose accuracy over all instructions of all rows, each instruction counted once.

    Args:
        parts: of the verdict of each row.

    Raises:
        ValueError: there is no instruction.
    """
    strict: list[float] = []
    loose: list[float] = []
    for row in parts:
        for name, followed in row.items():
            if ":" in name:
                (loose if name.startswith(LOOSE) else strict).append(followed)
    if not strict:
        raise ValueError("there is no instruction in these parts; give those of a verdict of kind `instructions`")
    return sum(strict) / len(strict), sum(loose) / len(loose)


def _followed(name: str, arguments: Row, readings: Sequence[str]) -> list[bool]:
    """Of each reading whether it follows; an empty one never does. After the first one that does no more are looked
    at."""
    found: list[bool] = []
    for reading in readings:
        found.append(bool(reading.strip()) and CHECKS[name].follows(reading, **arguments))
        if found[-1]:
            break
    return found


def _numbered(name: str, number: int) -> str:
    return name if number == 1 else f"{name} ({number})"


def _arguments(name: Any, given: Any) -> Row:
    """The arguments of one instruction, checked; what is null is not given.

    The authors' program draws at random what is missing, and a letter that is no letter; here the first is refused and
    the second is counted as asked.
    """
    if name not in CHECKS:
        near = difflib.get_close_matches(str(name), CHECKS, 1)
        raise ValueError(
            f"instructions: {name!r} is unknown; " + (f"did you mean {near[0]!r}?" if near else f"there are {', '.join(CHECKS)}")
        )
    if not isinstance(given, Mapping):
        raise ValueError(f"instructions: kwargs of {name} is {given!r}, not an object")
    check = CHECKS[name]
    values = {key: value for key, value in given.items() if value is not None}
    if values.keys() != check.arguments.keys():
        raise ValueError(
            f"instructions: {name} has {', '.join(values) or 'no arguments'}; it takes {', '.join(check.arguments) or 'none'}"
        )
    if check.needs and importlib.util.find_spec(check.needs) is None:
        package = PACKAGES[check.needs]
        raise ValueError(f"instructions: {name} needs the package {package}; `pip install {package}`")
    for key, value in values.items():
        if problem := _problem(check.arguments[key], value):
            raise ValueError(f"instructions: {key} of {name} is {value!r}, {problem}")
    if name == "length_constraints:nth_paragraph_first_word" and not 1 <= values["nth_paragraph"] <= values["num_paragraphs"]:
        raise ValueError(f"instructions: nth_paragraph of {name} is {values['nth_paragraph']}, not from 1 to num_paragraphs")
    return values


def _problem(kind: str, value: Any) -> str:
    if kind == "count":
        return "" if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else "not a whole number from 0"
    if kind == "relation":
        return "" if value in RELATIONS else f"not one of {', '.join(RELATIONS)}"
    texts = value if kind == "patterns" else [value]
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) and text.strip() for text in texts):
        return "not a list of texts" if kind == "patterns" else "not a text"
    try:
        for text in texts if kind != "text" else ():
            re.compile(text)
    except re.error as error:
        return f"not a pattern ({error})"
    return ""
