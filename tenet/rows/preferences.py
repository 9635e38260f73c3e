"""Preference pairs out of the shapes that people have: TRL with the prompt said or implied, UltraFeedback, HH transcripts, RewardBench, two answers with a vote.

{"prompt": "...", "chosen": "...", "rejected": "..."}
{"chosen": [{"role": "user", ...}, {"role": "assistant", ...}], "rejected": [...]}
{"chosen": "\\n\\nHuman: ...\\n\\nAssistant: ...", "rejected": "..."}
{"question": "...", "response_j": "the better one", "response_k": "..."}
{"prompt": "...", "chosen": ["a good one"], "rejected": ["a bad one", "another", "a third"], "subset": "Math"}     RewardBench 2
"""

from __future__ import annotations

from collections import Counter
from typing import Any, cast

from tenet.rows.kinds import Message, Row
from tenet.rows.messages import Unusable, asked, said, tools_of, transcript

_ASKED = ("prompt", "question", "instruction", "input", "query")
#: Names of the better and the worse answer where the columns say which is which.
_SIDES = (("chosen", "rejected"), ("response_j", "response_k"), ("preferred", "dispreferred"))
#: Two answers, the column of the vote, and the votes for the first and for the second; any other vote is none.
_VOTES = (
    ("output_1", "output_2", "label", (1,), (2,)),
    ("response 1", "response 2", "label", (0,), (1,)),
    ("human_ref_A", "human_ref_B", "labels", (1,), (0,)),
    ("response_0", "response_1", "better_response_id", (0,), (1,)),
)
_ANNOTATORS = ("annotator1", "annotator2", "annotator3")


def preference_rows(record: Row, unused: Counter[str]) -> tuple[str, list[Row]]:
    """The shape that a record has, and the pair in it; of a record with several answers every good one beside every bad
    one.

    Raises:
        Unusable: says why there is none.
    """
    if _plain_list(record.get("chosen")) and _plain_list(record.get("rejected")):
        return "best of several", _several(record, unused)
    form, better, worse, used = _sides(record)
    prompt = _prompt(record, unused, used)
    before = len(prompt)
    transcripts = [transcript(side) if isinstance(side, str) and not before else [] for side in (better, worse)]
    if all(transcripts):
        form, (chosen, rejected) = "HH transcripts", transcripts
    else:
        chosen, rejected = (said(side, unused, name) for side, name in ((better, "chosen"), (worse, "rejected")))
        if isinstance(better, list) and form == "chosen and rejected":
            form = "chosen and rejected as turns" if not before else "prompt, chosen and rejected as turns"
    if before and chosen[:before] == prompt == rejected[:before]:
        chosen, rejected = chosen[before:], rejected[before:]
    elif not before or len(chosen) > 1 or len(rejected) > 1:
        prompt, chosen, rejected = _parted(prompt, chosen, rejected)
    row: Row = {
        "prompt": prompt,
        "chosen": chosen,
        "rejected": rejected,
        "kind": str(record.get("kind") or record.get("subset") or ""),
    }
    _check(row)
    if tools := tools_of(record.get("tools")):
        row["tools"] = tools
    return form, [{**row, "_used": {*used, "tools", "kind"}}]


def _plain_list(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, str) for item in value)


def _several(record: Row, unused: Counter[str]) -> list[Row]:
    """All pairs, each of a `kind` (the subset) and with `best_of`: how many answers stand against one another."""
    answers = len(record["chosen"]) + len(record["rejected"])
    rows: list[Row] = []
    for better in record["chosen"]:
        for worse in record["rejected"]:
            _, made = preference_rows({**record, "chosen": better, "rejected": worse}, unused)
            rows += [{**row, "best_of": answers} for row in made]
    return rows


def _sides(record: Row) -> tuple[str, Any, Any, set[str]]:
    """Form, better and worse answer, and the columns they stood in."""
    for better, worse in _SIDES:
        if better in record and worse in record:
            return f"{better} and {worse}", record[better], record[worse], {better, worse}
    for first, second, vote, firsts, seconds in _VOTES:
        if {first, second, vote} <= record.keys():
            return _voted(record, first, second, 1 if record[vote] in firsts else 2 if record[vote] in seconds else 0)
    if {"response1", "response2", *_ANNOTATORS} <= record.keys():
        counts = Counter(record[name] for name in _ANNOTATORS)
        best, most = counts.most_common(1)[0]
        return _voted(record, "response1", "response2", best if most > 1 else 0)
    raise Unusable(
        f"it has the columns {', '.join(map(repr, record)) or 'of nothing'}; a pair is `prompt`, `chosen` and `rejected`, or `chosen` and "
        "`rejected` as whole conversations"
    )


def _voted(record: Row, first: str, second: str, winner: int) -> tuple[str, Any, Any, set[str]]:
    if winner not in (1, 2):
        raise Unusable("nobody says which answer is the better one (a tie)")
    better, worse = (first, second) if winner == 1 else (second, first)
    return f"{first}, {second} and a vote", record[better], record[worse], {first, second}


def _prompt(record: Row, unused: Counter[str], used: set[str]) -> list[Message]:
    """What was asked, where a column of its own says it."""
    for column in _ASKED:
        if record.get(column):
            used.add(column)
            value = record[column]
            if column == "instruction" and isinstance(record.get("input"), str) and record["input"].strip():
                used.add("input")
                value = f"{value}\n\n{record['input']}"
            return asked(value, unused, column)
    if isinstance(record.get("history"), str) and record["history"].strip():
        used.add("history")
        return asked(record["history"], unused, "history")
    return []


def _parted(
    prompt: list[Message], chosen: list[Message], rejected: list[Message]
) -> tuple[list[Message], list[Message], list[Message]]:
    """The turns that both sides begin with are what was asked; the last turn of each side is never part of it."""
    shared = 0
    while shared < min(len(chosen), len(rejected)) - 1 and chosen[shared] == rejected[shared]:
        shared += 1
    before = chosen[:shared]
    if prompt and before and before[-len(prompt) :] != prompt:
        raise Unusable("`prompt` is not what `chosen` and `rejected` begin with")
    return before or prompt, chosen[shared:], rejected[shared:]


def _check(row: Row) -> None:
    if not row["prompt"]:
        raise Unusable("there is no prompt: no column of that name, and the two sides do not begin alike")
    for side in ("chosen", "rejected"):
        answer = cast(list[Message], row[side])
        if [message["role"] for message in answer] != ["assistant"]:
            roles = ", ".join(message["role"] for message in answer)
            raise Unusable(f"`{side}` is not one answer of the assistant after what both sides share (turns: {roles})")
    if row["prompt"][-1]["role"] == "assistant":
        raise Unusable("`prompt` ends with an answer; a prompt ends where the assistant is to speak")
    if row["chosen"][0] == row["rejected"][0]:
        raise Unusable("`chosen` and `rejected` are equal")
