"""What policy optimisation is paid for: parts of a tool call's reward, and how much the learned reward may count."""

from __future__ import annotations

from typing import Any

import pytest

from lightning_modules.generation.experience import Reward
from lightning_modules.generation.protocol import Completion
from tenet.domains.aws_api.verifier import VERIFIERS
from tenet.errors import ConfigError
from tenet.posttrain.rewards import Rewards
from tenet.settings.training import RewardWeights
from tenet.verifiers import registry
from tenet.verifiers.structured import PARTS

KNOWN = registry(VERIFIERS)

ROW: dict[str, Any] = {
    "service": "dynamodb",
    "operation": "DeleteTable",
    "expected": {"TableName": "orders"},
    "kind": "request",
    "verifier": {"kind": "aws_request"},
    "id": "request/1",
    "prompt": [],
}
DESCRIBE: dict[str, Any] = {"kind": "describe", "id": "describe/1", "prompt": []}


class Words:
    """A tokenizer whose only answer is given."""

    def __init__(self, answer: str) -> None:
        self.answer = answer

    def decode(self, ids: list[int]) -> str:
        return self.answer


def paid(row: dict[str, Any], answer: str, weights: RewardWeights | None = None) -> Reward:
    judge = Rewards(Words(answer), weights or RewardWeights(), None, KNOWN)  # type: ignore[arg-type]
    return judge([row], [[Completion([1])]])[0][0]


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
    reward = paid(ROW, answer)
    assert reward.parts == parts
    assert reward.value == pytest.approx(sum(PARTS[name] * value for name, value in parts.items()))
    assert sum(PARTS.values()) == pytest.approx(1)


@pytest.fixture
def learned(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reward model that gives 0.8 to the first answer and 0.4 to the second."""
    monkeypatch.setattr(Rewards, "_learned", lambda self, pairs: iter([[0.8, 0.4] for _ in pairs]))


@pytest.mark.usefixtures("learned")
def test_the_learned_reward_counts_by_its_weight_and_is_reported_without_it() -> None:
    right = call("DeleteTable", '{"TableName": "orders"}')
    answers = [Completion([1]), Completion([2])]
    judge = Rewards(Words(right), RewardWeights(), object(), KNOWN)  # type: ignore[arg-type]
    described, requested = judge([DESCRIBE, ROW], [answers, answers])
    assert [reward.value for reward in described] == pytest.approx([0.2, 0.1])
    assert [reward.parts for reward in described] == [{"learned": 0.8}, {"learned": 0.4}]
    assert [reward.value for reward in requested] == pytest.approx([1, 1])
    assert "learned" not in requested[0].parts
    weights = RewardWeights(verifier=0.5, reward_model=0.25, both=True)
    (both,) = Rewards(Words(right), weights, object(), KNOWN)([ROW], [answers])  # type: ignore[arg-type]
    assert [reward.value for reward in both] == pytest.approx([0.5 + 0.2, 0.5 + 0.1])
    assert both[1].parts["learned"] == 0.4 and both[1].parts["verified"] == 1


def test_prompts_that_nobody_judges_are_refused_before_sampling() -> None:
    judge = Rewards(Words(""), RewardWeights(), None, KNOWN)  # type: ignore[arg-type]
    judge.check([ROW])
    with pytest.raises(
        ConfigError, match=r"1 of 2 prompts name no verifier \(the first is describe/1\).*rlhf.rewards.reward_model"
    ):
        judge.check([ROW, DESCRIBE])
    none = Rewards(Words(""), RewardWeights(reward_model=0), object(), KNOWN)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="name no verifier"):
        none.check([DESCRIBE])


def test_a_function_that_fails_is_counted_and_pays_nothing() -> None:
    known = registry({"mine": lambda row, text, tool_calls: 1 / 0})
    judge = Rewards(Words("x"), RewardWeights(), None, known)  # type: ignore[arg-type]
    row = {"id": "p.jsonl:3", "prompt": [], "verifier": {"kind": "mine"}}
    assert judge([row], [[Completion([1]), Completion([2])]])[0][1].value == 0
    assert (
        judge.failed.total() == 2 and "p.jsonl:3" in next(iter(judge.failed)) and "ZeroDivisionError" in next(iter(judge.failed))
    )


def test_an_operation_that_does_not_exist_is_the_rows_error() -> None:
    row = {**ROW, "operation": "DropTable"}
    assert paid(row, call("DropTable", '{"TableName": "orders"}')).parts["verified"] == 0


@pytest.mark.parametrize("weights", [{"verifier": -1.0}, {"reward_model": float("nan")}])
def test_impossible_weights(weights: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="a weight is 0 or more"):
        RewardWeights(**weights)
