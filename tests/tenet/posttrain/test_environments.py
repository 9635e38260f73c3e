"""Environments: what the model reads between its turns, who pays, and what an environment may not do."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from lightning_modules.data.chat import ChatTokenizer
from lightning_modules.data.packing import Tree, pack
from lightning_modules.generation.episodes import play
from lightning_modules.generation.protocol import Completion, Sampling
from lightning_modules.objectives.logprobs import token_logprobs
from tenet.domains.aws_api.verifier import AwsTools
from tenet.errors import ConfigError, StageError
from tenet.posttrain.calculator import TOOL, Calculator, computed
from tenet.posttrain.environments import Conversations, Step
from tenet.posttrain.reward_parts import ByEnvironment
from tests.lightning_modules.tiny import raw_tokenizer, tiny_model, tiny_tokenizer

TEXT = tiny_tokenizer()
SUM = {"id": "sum/1", "prompt": [{"role": "user", "content": "What is 12 x 12?"}], "answer": 144}


def asks(expression: str) -> dict[str, Any]:
    return {"name": "calculate", "arguments": {"expression": expression}}


def said(text: str, tokenizer: ChatTokenizer = TEXT) -> Completion:
    """A turn as a model would have sampled it."""
    ids = [*tokenizer.raw(text), tokenizer.turn_end]
    return Completion(ids, [0.0] * len(ids), "stop")


def call(expression: str) -> str:
    return f"<tool_call>\n{json.dumps(asks(expression))}\n</tool_call>"


def conversations(
    make: Any = Calculator, turns: int = 3, longest: int = 10_000, tokenizer: ChatTokenizer = TEXT
) -> Conversations:
    return Conversations(tokenizer, make, turns, longest)


# --- the calculator ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expression", "value"), [("12*12", "144"), ("(1 + 2) / 4", "0.75"), ("7 // 2 - -1", "4"), ("3 × 4", "12"), ("10 % 4", "2")]
)
def test_it_computes(expression: str, value: str) -> None:
    assert computed(expression) == value


@pytest.mark.parametrize("expression", ["__import__('os')", "2 ** 9", "1 / 0", "1 +", "x", "'a' * 9", "True", "1" * 300, ""])
def test_what_is_no_sum_is_an_error_that_the_model_reads(expression: str) -> None:
    environment = Calculator()
    environment.reset(SUM)
    step = environment.step("", [asks(expression)])
    assert step.observed[0]["content"].startswith("error: ") and step.parts == {"computed": 0.0} and not step.done


def test_a_conversation_with_the_calculator() -> None:
    (row,) = conversations().opened([SUM])
    assert row["tools"] == [TOOL] and row["prompt"] == SUM["prompt"]
    episode = conversations()(row)
    glue = episode.observe(said(call("12*12")))
    assert glue is not None
    # Behind the turn's own end: what the template writes of the result, up to where the model speaks.
    assert TEXT.decode(glue, keep_special=True) == (
        "\n<|im_start|>user\n<tool_response>\n144\n</tool_response><|im_end|>\n<|im_start|>assistant\n"
    )
    assert episode.observe(said("It is 144.")) is None
    assert episode.earned() == {"computed": 1.0, "score": 1.0}
    paid = ByEnvironment().one(row, Completion(earned=episode.earned()))
    assert paid.value == 1.0 and paid.inside == {"computed": 1.0}


def test_ids_are_the_templates_where_the_model_writes_as_the_template_does() -> None:
    """Prompt, turn, glue, turn end to end are the ids of the whole conversation."""
    (row,) = conversations().opened([SUM])
    turn = said(call("12*12"))
    glue = conversations()(row).observe(turn)
    history = [
        *SUM["prompt"],  # type: ignore[misc]
        {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": asks("12*12")}]},
        {"role": "tool", "content": "144"},
    ]
    assert [*TEXT.prompt(row["prompt"], row["tools"]), *turn.ids, *(glue or [])] == TEXT.prompt(history, [TOOL])


def test_a_template_that_rewrites_earlier_turns_gives_the_same_glue() -> None:
    """One that shows thoughts only of the last turn: the sampled ones stay, and what follows is rendered as it is."""
    template = (
        "{%- for m in messages -%}<|im_start|>{{ m.role }}\n"
        "{{- m.content.split('</think>')[-1] if m.role == 'assistant' and not loop.last else m.content }}<|im_end|>\n"
        "{%- endfor -%}{%- if add_generation_prompt -%}<|im_start|>assistant\n{%- endif -%}"
    )
    tokenizer = ChatTokenizer(raw_tokenizer(), template)
    glue = tokenizer.between([{"role": "user", "content": "Hi"}], {"role": "assistant", "content": "a thought</think>Yes"},
                             [{"role": "user", "content": "<|im_end|> more"}])  # fmt: skip
    text = tokenizer.decode(glue, keep_special=True)
    assert "thought" not in text and text.count("more") == 1 and text.endswith("<|im_start|>assistant")
    # What somebody else wrote closes no turn.
    assert glue.count(tokenizer.turn_end) == 1


@pytest.mark.parametrize(
    ("turns", "turn"),
    [
        (1, said(call("1+1"))),
        (3, Completion(TEXT.raw(call("1+1")), [], "length")),
        (3, Completion([*TEXT.raw(call("1+1")), TEXT.end_of_text], [], "stop")),
    ],
    ids=["the last one", "cut", "ended otherwise"],
)
def test_turns_that_nothing_follows(turns: int, turn: Completion) -> None:
    (row,) = conversations().opened([SUM])
    episode = conversations(turns=turns)(row)
    assert episode.observe(turn) is None and episode.earned() == {"computed": 1.0}


def test_sampled_conversations_are_what_the_trainer_computes() -> None:
    """With the template's own tokens between the turns."""

    class Again:
        tools: Sequence[Any] = (TOOL,)

        def reset(self, row: Any) -> Any:
            return row["prompt"]

        def step(self, text: str, calls: Any) -> Step:
            return Step([{"role": "user", "content": f"again: {len(text)}"}], parts={"asked": 1.0})

    model = tiny_model(3, max_position_embeddings=1024)
    making = conversations(Again, 4, 500)
    (row,) = making.opened([SUM])
    prompt = TEXT.prompt(row["prompt"], row["tools"])
    # An ordinary token ends a turn, so that random weights come to their second turn.
    making.tokenizer = ChatTokenizer(raw_tokenizer())
    making.tokenizer.turn_end = 66
    sampling = Sampling(max_tokens=48, temperature=1.0, stop_ids=(66,))
    (group,) = play(model, [prompt], [[making(row) for _ in range(64)]], sampling, [5])
    several = [c for c in group if c.turns > 1]
    assert several and all(len(prompt) + len(c.ids) <= 500 for c in group)
    batch = pack([Tree(prompt, [c.ids for c in several], [c.sampled for c in several])], 10_000)
    with torch.no_grad():
        trained = token_logprobs(model, batch)
    for n, c in enumerate(several):
        assert torch.allclose(trained[batch.sequence_ids == n], torch.tensor(c.logprobs), atol=1e-4)
        assert c.earned == {"asked": float(c.turns)}


# --- the domain's ------------------------------------------------------------------------------------------------------

REQUEST: dict[str, Any] = {
    "service": "dynamodb",
    "operation": "DeleteTable",
    "expected": {"TableName": "orders"},
    "verifier": {"kind": "aws_request"},
    "tools": [{"type": "function", "function": {"name": "DeleteTable", "parameters": {"type": "object", "properties": {}}}}],
    "id": "request/1",
    "prompt": [{"role": "user", "content": "Call DeleteTable for orders."}],
}


def test_a_call_that_aws_would_refuse_may_be_mended() -> None:
    environment = AwsTools()
    assert environment.reset(REQUEST) == REQUEST["prompt"] and list(environment.tools) == REQUEST["tools"]
    refused = environment.step("", [{"name": "DeleteTable", "arguments": {"Table": "orders"}}])
    assert not refused.done and "TableName" in refused.observed[0]["content"] and refused.observed[0]["role"] == "tool"
    mended = environment.step("", [{"name": "DeleteTable", "arguments": {"TableName": "orders"}}])
    assert mended.done and refused.parts["score"] < 1
    assert refused.parts["score"] + mended.parts["score"] == pytest.approx(1)
    assert refused.parts["verified"] + mended.parts["verified"] == 1


def test_words_in_place_of_a_call_end_it_unpaid() -> None:
    environment = AwsTools()
    environment.reset(REQUEST)
    step = environment.step("Deletes a table.", [])
    assert step.done and step.parts["score"] == 0


# --- what an environment may not do --------------------------------------------------------------------------------------


class Mine:
    tools: Sequence[Any] = ()

    def __init__(self, step: Any) -> None:
        self._step = step

    def reset(self, row: Any) -> Any:
        return row["prompt"]

    def step(self, text: str, calls: Any) -> Any:
        return self._step()


@pytest.mark.parametrize(
    ("step", "said_of_it"),
    [
        (lambda: 1 / 0, "ZeroDivisionError"),
        (lambda: None, "AttributeError"),
        (lambda: Step(), "observed nothing and is not done"),
        (lambda: Step(done=True, parts={"score": float("nan")}), "paid score with nan"),
        (lambda: Step([{"role": "assistant", "content": "I"}]), "observed a turn of 'assistant'"),
    ],
)
def test_what_goes_wrong_in_an_environment_is_named(step: Any, said_of_it: str) -> None:
    making = conversations(lambda: Mine(step))
    (row,) = making.opened([SUM])
    with pytest.raises(StageError, match=rf"rlhf.environment: prompt sum/1: step.*{said_of_it}"):
        making(row).observe(said("Hello"))


def test_rows_that_an_environment_cannot_begin_are_refused_before_sampling() -> None:
    with pytest.raises(ConfigError, match=r"prompt sum/2: reset: ValueError: number: there is no `answer`"):
        conversations().opened([SUM, {**SUM, "id": "sum/2", "answer": None}])
    with pytest.raises(
        ConfigError, match=r"prompt sum/1 has \d+ tokens and a conversation at most 20; raise rlhf.environment.max_tokens"
    ):
        conversations(longest=20).opened([SUM])


def test_a_reset_that_differs_each_time_is_refused() -> None:
    class Random(Mine):
        count = 0

        def reset(self, row: Any) -> Any:
            Random.count += 1
            return [{"role": "user", "content": str(Random.count)}]

    making = conversations(lambda: Random(None))
    (row,) = making.opened([SUM])
    with pytest.raises(StageError, match="another conversation each time"):
        making(row)
