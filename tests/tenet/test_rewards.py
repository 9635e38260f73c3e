"""What policy optimisation is paid for: parts of a tool call's reward, and how much the learned reward may count."""

from __future__ import annotations

from typing import Any

import pytest

from lightning_modules.generation.protocol import Completion
from tenet.stages.rlhf import PARTS, Judge, request_reward

ROW: dict[str, Any] = {
    "service": "dynamodb",
    "operation": "DeleteTable",
    "expected": {"TableName": "orders"},
    "kind": "request",
    "prompt": [],
}


def call(name: str, arguments: str, before: str = "") -> str:
    return f'{before}<tool_call>\n{{"name": "{name}", "arguments": {arguments}}}\n</tool_call>'


@pytest.mark.parametrize(
    ("answer", "parts"),
    [
        (call("DeleteTable", '{"TableName": "orders"}'), {"formed": 1, "tool": 1, "names": 1, "values": 1, "verified": 1}),
        (call("DeleteTable", '{"TableName": "other"}'), {"formed": 1, "tool": 1, "names": 1, "values": 0, "verified": 1}),
        (call("DeleteTable", '{"Table": "orders"}'), {"formed": 1, "tool": 1, "names": 0, "values": 0, "verified": 0}),
        (call("DeleteTable", "{}"), {"formed": 1, "tool": 1, "names": 0, "values": 0, "verified": 0}),
        (
            call("DeleteTable", '{"TableName": "orders", "X": 1}'),
            {"formed": 1, "tool": 1, "names": 0.5, "values": 0.5, "verified": 0},
        ),
        (call("ListTables", '{"TableName": "orders"}'), {"formed": 1, "tool": 0, "names": 1, "values": 1, "verified": 0}),
        (
            call("DeleteTable", '{"TableName": "orders"}', "Sure. "),
            {"formed": 0, "tool": 1, "names": 1, "values": 1, "verified": 0},
        ),
        ("Deletes a table.", {"formed": 0, "tool": 0, "names": 0, "values": 0, "verified": 0}),
    ],
)
def test_a_tool_call_is_paid_by_its_parts(answer: str, parts: dict[str, float]) -> None:
    reward = request_reward(ROW, answer)
    assert reward.parts == parts
    assert reward.value == pytest.approx(sum(PARTS[name] * value for name, value in parts.items()))
    assert sum(PARTS.values()) == pytest.approx(1)


def test_the_learned_reward_counts_by_its_weight_and_is_reported_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Judge, "_learned", lambda self, pairs: iter([[0.8, 0.4] for _ in pairs]))

    class Words:
        def decode(self, ids: list[int]) -> str:
            return call("DeleteTable", '{"TableName": "orders"}')

    judge = Judge(Words(), None, weight=0.25)  # type: ignore[arg-type]
    answers = [Completion([1]), Completion([2])]
    described, requested = judge([{"kind": "describe", "prompt": []}, ROW], [answers, answers])
    assert [reward.value for reward in described] == pytest.approx([0.2, 0.1])
    assert [reward.parts["learned"] for reward in described] == [0.8, 0.4]
    assert [reward.value for reward in requested] == pytest.approx([1, 1])
