"""What policy optimisation is paid for: parts of a reward, each by name and weight, and what is refused."""

from __future__ import annotations

import math
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lightning_modules.data.packing import Tree, pack
from lightning_modules.generation.experience import Reward
from lightning_modules.generation.protocol import Completion
from lightning_modules.modules.reward import RewardModel
from lightning_modules.objectives.advantages import TINY
from tenet.constitution.checks import parse_check
from tenet.domains.aws_api.verifier import VERIFIERS
from tenet.errors import ConfigError, StageError
from tenet.posttrain.reward_parts import ByFunction, ByModel, ByRule, ByVerifier, Judged
from tenet.posttrain.rewards import Rewards, normalised
from tenet.settings.build import build
from tenet.settings.rewards import EnvironmentConfig, RewardPart
from tenet.settings.training import RlhfConfig
from tenet.verifiers import load_function, registry
from tenet.verifiers.structured import PARTS
from tests.lightning_modules.tiny import tiny_model, tiny_tokenizer

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


def rewards(*parts: tuple[RewardPart, Any]) -> Rewards:
    return Rewards(parts)


def by_verifier(answer: str, known: Any = KNOWN) -> tuple[RewardPart, Any]:
    return RewardPart("verifier"), ByVerifier(Words(answer), known)  # type: ignore[arg-type]


def paid(row: dict[str, Any], answer: str) -> Reward:
    return rewards(by_verifier(answer))([row], [[Completion([1])]])[0][0]


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
    assert reward.parts == {"verifier": reward.value, **{f"verifier.{name}": value for name, value in parts.items()}}
    assert reward.value == pytest.approx(sum(PARTS[name] * value for name, value in parts.items()))
    assert sum(PARTS.values()) == pytest.approx(1)


class Learned:
    """A reward model that gives 0.8 to the first answer and 0.4 to the second."""

    def __init__(self) -> None:
        self.failed = Counter[str]()

    def check(self, rows: Any) -> None: ...

    def __call__(self, rows: Any, answers: Any) -> list[list[Judged]]:
        return [[Judged(0.8, {}), Judged(0.4, {})] for _ in rows]


RIGHT = call("DeleteTable", '{"TableName": "orders"}')
TWO = [Completion([1]), Completion([2])]


def test_the_usual_parts_weigh_a_model_where_no_verifier_judges() -> None:
    first, second = RlhfConfig().parts(reward_stage=True)
    assert RlhfConfig().parts(reward_stage=False) == (first,)
    judge = rewards((first, by_verifier(RIGHT)[1]), (second, Learned()))
    described, requested = judge([DESCRIBE, ROW], [TWO, TWO])
    assert [reward.value for reward in described] == pytest.approx([0.2, 0.1])
    assert [reward.parts for reward in described] == [{"model": 0.8}, {"model": 0.4}]
    assert [reward.value for reward in requested] == pytest.approx([1, 1])
    assert "model" not in requested[0].parts
    judge = rewards((RewardPart("verifier", 0.5), by_verifier(RIGHT)[1]), (RewardPart("model", 0.25), Learned()))
    (both,) = judge([ROW], [TWO])
    assert [reward.value for reward in both] == pytest.approx([0.5 + 0.2, 0.5 + 0.1])
    assert both[1].parts["model"] == 0.4 and both[1].parts["verifier.verified"] == 1


def test_prompts_that_nobody_judges_and_parts_that_judge_nothing_are_refused_before_sampling() -> None:
    judge = rewards(by_verifier(""))
    judge.check([ROW])
    with pytest.raises(ConfigError, match=r"1 of 2 prompts name no verifier \(the first is describe/1\).*rlhf.rewards"):
        judge.check([ROW, DESCRIBE])
    measured = rewards(by_verifier(""), (RewardPart("model", 0.0), Learned()))
    with pytest.raises(ConfigError, match="name no verifier"):
        measured.check([ROW, DESCRIBE])
    with pytest.raises(ConfigError, match=r"rlhf.rewards model: judges none of the 1 prompts"):
        rewards(by_verifier(""), (RewardPart("model", prompts="unverified"), Learned())).check([ROW])
    rewards(by_verifier(""), (RewardPart("model", prompts="unverified"), Learned())).check([ROW], named=False)


def test_gold_is_measured_and_not_paid() -> None:
    gold = RewardPart("model", 0.0, "truth", gold=True)
    (group,) = rewards(by_verifier(RIGHT), (gold, Learned()))([ROW], [TWO])
    assert [(reward.value, reward.gold, reward.parts["truth"]) for reward in group] == [(1.0, 0.8, 0.8), (1.0, 0.4, 0.4)]


def test_a_part_is_normalised_over_groups_and_logged_as_it_is() -> None:
    """Against numpy; a part of a thousand times the range counts no more than the other."""
    values = [[1000.0, 3000.0, 2000.0], [500.0, 500.0, 500.0], [0.0, 0.0, 9000.0]]
    wide = np.array(values)
    apart = wide - wide.mean(1, keepdims=True)
    alone = apart / (wide.std(1, ddof=1, keepdims=True) + TINY)
    pooled = apart / (np.sqrt((apart**2).sum() / 6) + TINY)
    np.testing.assert_allclose(normalised(values, "group"), alone)
    np.testing.assert_allclose(normalised(values, "round"), pooled)
    assert normalised(values, "none") == values
    groups = [
        [Reward(0.5 * v + u, {"wide": v, "narrow": u}) for v, u in zip(row, (0.0, 1.0, 0.0), strict=True)] for row in values
    ]
    judge = rewards(
        (RewardPart("model", 0.5, "wide", normalise="round"), Learned()), (RewardPart("verifier", 1.0, "narrow"), Learned())
    )
    np.testing.assert_allclose(judge.credit(groups), 0.5 * pooled + np.array([0.0, 1.0, 0.0]))
    plain = rewards((RewardPart("model", 0.5, "wide"), Learned()))
    assert plain.credit(groups) == [[reward.value for reward in group] for group in groups]


def function(tmp_path: Path, body: str) -> tuple[RewardPart, ByFunction]:
    tmp_path.joinpath("mine.py").write_text(f"def score(messages, text, row):\n    {body}\n")
    part = RewardPart("python", 2.0, call=f"{tmp_path}/mine.py:score")
    return part, ByFunction(Words("abc "), part.label, part.call)  # type: ignore[arg-type]


def test_a_function_of_ones_own_pays_numbers_by_name(tmp_path: Path) -> None:
    judge = rewards(function(tmp_path, "return {'length': len(text), 'asked': len(messages), 'kind': row['kind'] == 'describe'}"))
    judge.check([DESCRIBE])
    assert judge([DESCRIBE], [[Completion([1])]])[0][0] == Reward(
        8.0, {"score": 4.0, "score.length": 3.0, "score.asked": 0.0, "score.kind": 1.0}
    )
    load_function.cache_clear()
    (reward,) = rewards(function(tmp_path, "return {'score': 0.5, 'aside': -7}"))([DESCRIBE], [[Completion([1])]])[0]
    assert reward == Reward(1.0, {"score": 0.5, "score.aside": -7.0})


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("return 'good'", r"rlhf.rewards score: .*mine.py:score: ValueError.*describe/1.*tried with an empty answer"),
        ("return float('nan')", r"gave nan for prompt describe/1: score is no finite number"),
        ("return {'a': 1, 'b': float('inf')}", r"b is no finite number"),
        ("return row['missing']", r"KeyError: 'missing'"),
    ],
)
def test_a_function_that_gives_no_number_is_refused_by_name(body: str, said: str, tmp_path: Path) -> None:
    load_function.cache_clear()
    judge = rewards(function(tmp_path, body))
    with pytest.raises(ConfigError, match=said):
        judge.check([DESCRIBE])
    with pytest.raises(StageError, match=r"rlhf\.rewards score"):
        judge([DESCRIBE], [[Completion([1])]])


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ("absent.py:score", "absent.py does not exist"),
        ("no_such_module:score", "no_such_module"),
        ("json:none", "has no function 'none'"),
    ],
)
def test_what_cannot_be_imported_is_refused_by_name(call: str, said: str) -> None:
    with pytest.raises(ConfigError, match=rf"rlhf.rewards mine: call is '{call}': .*{said}"):
        ByFunction(Words(""), "mine", call)  # type: ignore[arg-type]


def test_a_rule_pays_what_it_passes() -> None:
    part = RewardPart("principle", name="brief", check={"max_words": 2})
    passes = parse_check("here", "check", part.check).passes
    asked = {**DESCRIBE, "prompt": [{"role": "user", "content": "What?"}]}
    for answer, value in (("Two words", 1.0), ("Three words here", 0.0)):
        judge = rewards((part, ByRule(Words(answer), passes)))  # type: ignore[arg-type]
        assert judge([asked], [[Completion([1])]])[0][0] == Reward(value, {"brief": value})


def test_a_reward_model_scores_as_the_stage_does() -> None:
    model = RewardModel(tiny_model(3), "mean")
    torch.nn.init.normal_(model.head.weight, std=0.1, generator=torch.Generator().manual_seed(0))
    text = tiny_tokenizer()
    row = {**DESCRIBE, "prompt": [{"role": "user", "content": "Who are you?"}]}
    answers = [Completion(text.encode(words)) for words in ("the lazy dog", "the quick brown fox jumps")]
    tree = Tree(text.prompt(row["prompt"]), [a.ids for a in answers])
    with torch.no_grad():
        expected = model(pack([tree], len(tree)), 2).sigmoid().tolist()
    (group,) = rewards((RewardPart("model"), ByModel(text, model)))([row], [answers])
    assert [reward.value for reward in group] == pytest.approx(expected, abs=1e-6)


def test_a_verifier_that_fails_is_counted_and_pays_nothing() -> None:
    known = registry({"mine": lambda row, text, tool_calls: 1 / 0})
    judge = rewards(by_verifier("x", known))
    row = {"id": "p.jsonl:3", "prompt": [], "verifier": {"kind": "mine"}}
    assert judge([row], [TWO])[0][1].value == 0
    ((text, count),) = judge.failed.items()
    assert count == 2 and "p.jsonl:3" in text and "ZeroDivisionError" in text


def test_an_operation_that_does_not_exist_is_the_rows_error() -> None:
    row = {**ROW, "operation": "DropTable"}
    assert paid(row, call("DropTable", '{"TableName": "orders"}')).parts["verifier.verified"] == 0


def test_only_the_last_turn_is_judged() -> None:
    answer = Completion([1, 2, 9, 9, 3, 4], [0.0] * 4, "stop", [True, True, False, False, True, True])
    assert answer.last == [3, 4] and Completion([1, 2]).last == [1, 2]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: RewardPart("verifier", -1.0), "rlhf.rewards verifier: weight is -1.0"),
        (lambda: RewardPart("model", math.nan), "rlhf.rewards model: weight is nan"),
        (lambda: RewardPart("verifier", name="a b"), "name is 'a b'"),
        (lambda: RewardPart("verifier", gold=True), "what is learnt from cannot be gold: set weight 0"),
        (lambda: RewardPart("verifier", path="x"), "path is 'x', which a part of kind model has"),
        (lambda: RewardPart("python"), "write file.py:function or module:function"),
        (lambda: RewardPart("principle"), "give `principle`"),
        (lambda: RewardPart("principle", check={"max_words": 2}), "`check` with a `name`"),
        (lambda: RlhfConfig(rewards=(RewardPart("model"), RewardPart("model"))), "two parts are called 'model'"),
        (lambda: RlhfConfig(rewards=(RewardPart("model", 0.0),)), "every weight is 0"),
        (lambda: RlhfConfig(rewards=(RewardPart("verifier"), RewardPart("model", 0.0, "a", gold=True), RewardPart("model", 0.0, "b", gold=True))),
         "a, b are all gold"),
        (lambda: RlhfConfig(rewards=(RewardPart("environment"),)), "rlhf.environment.kind is empty"),
        (lambda: RlhfConfig(rewards=(RewardPart("verifier", normalise="group"),), group=1, algorithm="ppo"), "normalised over a group"),
        (lambda: RlhfConfig(environment=EnvironmentConfig("calculator"), overlong="penalise", overlong_buffer=4), "overlong is penalise"),
        (lambda: RlhfConfig(gold_every=0), "rlhf.gold_every is 0"),
        (lambda: EnvironmentConfig("python"), "rlhf.environment.call is ''"),
        (lambda: EnvironmentConfig("calculator", max_turns=0), "max_turns is 0"),
        (lambda: EnvironmentConfig("calculator", max_tokens=-1), "max_tokens is -1"),
    ],
)  # fmt: skip
def test_parts_that_cannot_be(make: Any, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        make()


def test_a_list_of_parts_is_read_from_plain_values() -> None:
    given = [{"kind": "verifier"}, {"kind": "python", "weight": 0, "gold": True, "call": "a.b:c"}]
    assert build(RlhfConfig, {"rewards": given}, "here").rewards == (
        RewardPart("verifier"),
        RewardPart("python", 0.0, gold=True, call="a.b:c"),
    )
    with pytest.raises(ConfigError, match="here"):
        build(RlhfConfig, {"rewards": [{"kind": "unheard"}]}, "here")
