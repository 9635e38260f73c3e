"""The two assistants: local weights against the parts they are made of, the Bedrock one against boto3's own request
validation and against the real endpoint."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import boto3
import pytest
import torch
from botocore.response import StreamingBody
from botocore.stub import Stubber

from lightning_modules.generation.engine import generate
from lightning_modules.generation.protocol import Sampling
from tenet.assistant.assistant import MissingCapability
from tenet.assistant.converse_request import converse_request
from tenet.assistant.local import LocalAssistant
from tenet.errors import StageError
from tenet.files import sha256
from tenet.serving.clients.bedrock import BedrockAssistant
from tests.tenet.evaluate.tiny import model_folder

TOOL = {
    "type": "function",
    "function": {"name": "DeleteTable", "parameters": {"type": "object", "properties": {"TableName": {"type": "string"}}}},
}


#: Choices after one context, and a blank at its end.
PAIRS = [
    ("Question: which of these is a metal?\nAnswer:", " iron"),
    ("Question: which of these is a metal?\nAnswer:", " wood"),
    ("Question: which of these is a metal?\nAnswer: ", "iron"),
]


def ask(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}]


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> LocalAssistant:
    return LocalAssistant.from_folder(model_folder(tmp_path_factory.mktemp("assistant") / "model"))


# --- local weights ---------------------------------------------------------------------------------------------------


def test_answers_are_the_engine_s(local: LocalAssistant) -> None:
    conversations = [ask("What does DeleteTable do?"), ask("Hello " * 9), ask("Creates a bucket.")]
    sampling = Sampling(max_tokens=12)
    replies = local.answer(conversations, sampling=sampling, prefill=["", "Deletes", ""])
    for messages, words, (reply,) in zip(conversations, ["", "Deletes", ""], replies, strict=True):
        prompt = local.tokenizer.prompt(messages, prefill=words)
        stops = local.tokenizer.stop_ids
        completion = generate(local.model, [prompt], Sampling(max_tokens=12, stop_ids=stops))[0][0]
        kept = completion.ids[:-1] if completion.finish == "stop" else completion.ids
        assert (reply.text, reply.tokens) == (local.tokenizer.decode(kept).strip(), len(completion.ids))
        assert reply.finish == completion.finish


def test_company_does_not_change_an_answer(local: LocalAssistant) -> None:
    conversations = [ask("queue " * i) for i in range(1, 8)]
    sampling = Sampling(max_tokens=8, temperature=1.0, seed=5)
    together = local.answer(conversations, sampling=sampling, n=2)
    few = LocalAssistant(local.model, local.tokenizer, batch=3).answer(conversations, sampling=sampling, n=2)
    assert together == few
    assert together[0][0] != together[0][1]
    assert local.answer([], sampling=sampling) == []


def test_a_prompt_without_room_is_told_apart(local: LocalAssistant) -> None:
    long, short = local.answer([ask("bucket " * 400), ask("Hello")], sampling=Sampling(max_tokens=2))
    assert (long[0].finish, long[0].tokens, short[0].tokens > 0) == ("too_long", 0, True)


def test_tools_reach_the_prompt_and_calls_are_read(local: LocalAssistant, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[int]] = []
    call = '<tool_call>\n{"name": "DeleteTable", "arguments": {"TableName": "orders"}}\n</tool_call>'
    from lightning_modules.generation.protocol import Completion

    def scripted(model: Any, prompts: list[list[int]], sampling: Sampling, n: int, **more: Any) -> list[list[Completion]]:
        seen.extend(prompts)
        ids = local.tokenizer.tokenizer.encode("Gladly. " + call).ids
        return [[Completion([*ids, local.tokenizer.turn_end], [], "stop")] for _ in prompts]

    monkeypatch.setattr("lightning_modules.generation.engine.generate", scripted)
    ((reply,),) = local.answer([ask("Delete orders.")], sampling=Sampling(), tools=[[TOOL]])
    assert reply.text == "Gladly."
    assert reply.tool_calls == ({"name": "DeleteTable", "arguments": {"TableName": "orders"}},)
    assert "DeleteTable" in local.tokenizer.decode(seen[0])


def test_lists_must_match(local: LocalAssistant) -> None:
    with pytest.raises(ValueError, match="prefill has 2 entries for 1 conversations"):
        local.answer([ask("Hello")], sampling=Sampling(), prefill=["a", "b"])


@pytest.mark.parametrize(
    "context, continuation",
    [
        ("Question: which of these is a metal?\nAnswer:", " iron"),
        ("Question: which of these is a metal?\nAnswer: ", "iron"),  # the blank belongs to the word after it
        ("Deletes a tab", "le and all"),  # one token spans the border
        ("", "Creates a bucket."),
        ("<|im_end|> is text", " here"),
    ],
)
@torch.inference_mode()
def test_scores_equal_the_definition(local: LocalAssistant, context: str, continuation: str) -> None:
    """lm-eval's rule: of both encoded together, what lies behind as many tokens as the context alone has follows it."""
    encode = local.tokenizer.encode
    before = encode(context.rstrip()) or [local.tokenizer.end_of_text]
    whole = before + (encode(context + continuation)[len(before) :] if context else encode(continuation))
    logprobs = local.model.logits(local.model(torch.tensor([whole])))[0].log_softmax(-1)
    picked = [logprobs[i - 1, whole[i]].item() for i in range(len(before), len(whole))]
    (score,) = local.score([(context, continuation)])
    assert score.tokens == len(picked)
    assert score.loglik == pytest.approx(sum(picked), abs=1e-4)


@torch.inference_mode()
def test_scores_after_a_conversation(local: LocalAssistant) -> None:
    prompt, answer = local.tokenizer.prompt(ask("What does it do?")), local.tokenizer.encode("Deletes a table")
    logprobs = local.model.logits(local.model(torch.tensor([prompt + answer])))[0].log_softmax(-1)
    expected = sum(logprobs[len(prompt) - 1 + i, token].item() for i, token in enumerate(answer))
    assert local.score([(ask("What does it do?"), "Deletes a table")])[0].loglik == pytest.approx(expected, abs=1e-4)


def test_plain_text_goes_on_without_a_template_up_to_a_stop_text(local: LocalAssistant) -> None:
    prompts = ["Deletes a table and", "Question: which"]
    whole = local.complete(prompts, sampling=Sampling(max_tokens=24))
    for prompt, (reply,) in zip(prompts, whole, strict=True):
        stops = local.tokenizer.stop_ids
        made = generate(local.model, [local.tokenizer.encode(prompt)], Sampling(max_tokens=24, stop_ids=stops))[0][0]
        kept = made.ids[:-1] if made.finish == "stop" else made.ids
        assert (reply.text, reply.finish) == (local.tokenizer.decode(kept), made.finish)
    (text,) = (reply.text for reply in whole[0])
    stop = text[4:6]
    ((cut,), _) = local.complete(prompts, sampling=Sampling(max_tokens=24), stop=["not there", stop])
    assert (cut.text, cut.finish) == (text[: text.index(stop)], "stop")
    assert cut.tokens < whole[0][0].tokens
    drawn = local.complete(prompts, sampling=Sampling(max_tokens=6, temperature=1.0), n=3)
    assert [len(group) for group in drawn] == [3, 3] and len({reply.text for reply in drawn[0]}) > 1


def test_identity_changes_with_the_weights(local: LocalAssistant, tmp_path: Path) -> None:
    assert local.folder is not None
    assert local.identity()["weights"] == sha256(local.folder / "model.safetensors")
    other = LocalAssistant.from_folder(model_folder(tmp_path / "model", seed=1)).identity()
    assert other["weights"] != local.identity()["weights"]
    assert other["tokenizer"] == local.identity()["tokenizer"]


# --- the wire --------------------------------------------------------------------------------------------------------


def stubbed() -> tuple[BedrockAssistant, Stubber]:
    """boto3's own client, which checks requests and responses against the service model and sends nothing."""
    keys = {"aws_access_key_id": "key", "aws_secret_access_key": "secret"}
    client = boto3.client("bedrock-runtime", region_name="us-east-1", **keys)
    return BedrockAssistant(None, "tenet.assistant-v1:0", client=client), Stubber(client)


def response(content: list[dict[str, Any]], reason: str = "end_turn") -> dict[str, Any]:
    usage = {"inputTokens": 3, "outputTokens": 5, "totalTokens": 8}
    message = {"role": "assistant", "content": content}
    return {"output": {"message": message}, "stopReason": reason, "usage": usage, "metrics": {"latencyMs": 1}}


def test_a_whole_conversation_in_converse_s_shape() -> None:
    arguments = {"TableName": "orders"}
    messages = [
        {"role": "system", "content": "Be brief."},
        *ask("Delete orders and users."),
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [
                {"type": "function", "function": {"name": "DeleteTable", "arguments": arguments}},
                {"type": "function", "function": {"name": "DeleteTable", "arguments": json.dumps(arguments)}},
            ],
        },
        {"role": "tool", "content": "done"},
        {"role": "tool", "content": "failed"},
    ]
    request = converse_request("m", messages, [TOOL], "So", Sampling(max_tokens=7, temperature=0.5, top_p=0.9, top_k=4))
    assert request["system"] == [{"text": "Be brief."}]
    assert [turn["role"] for turn in request["messages"]] == ["user", "assistant", "user", "assistant"]
    first, second = (block["toolUse"] for block in request["messages"][1]["content"])
    assert first["input"] == second["input"] == arguments and first["toolUseId"] != second["toolUseId"]
    results = [block["toolResult"] for block in request["messages"][2]["content"]]
    assert [result["toolUseId"] for result in results] == [first["toolUseId"], second["toolUseId"]]
    assert request["messages"][3]["content"] == [{"text": "So"}]
    assert request["inferenceConfig"] == {"maxTokens": 7, "temperature": 0.5, "topP": 0.9}
    assert request["toolConfig"]["tools"][0]["toolSpec"]["inputSchema"]["json"]["type"] == "object"
    assistant, stub = stubbed()
    stub.add_response("converse", response([{"text": "ok"}]), request)  # raises where botocore's model disagrees
    with stub:
        assistant.client.converse(**request)


def test_replies_are_read() -> None:
    assistant, stub = stubbed()
    use = {"toolUse": {"toolUseId": "1", "name": "DeleteTable", "input": {"TableName": "orders"}}}
    stub.add_response("converse", response([{"text": "Gladly. "}, use], "tool_use"))
    stub.add_response("converse", response([{"text": "cut"}], "max_tokens"))
    with stub:
        (reply,) = assistant.answer([ask("Delete orders.")], sampling=Sampling())[0]
        (cut,) = assistant.answer([ask("Talk.")], sampling=Sampling())[0]
    assert (reply.text, reply.tokens, reply.finish) == ("Gladly.", 5, "stop")
    assert reply.tool_calls == ({"name": "DeleteTable", "arguments": {"TableName": "orders"}},)
    assert cut.finish == "length"


def test_a_refusal_of_the_endpoint_is_told() -> None:
    assistant, stub = stubbed()
    stub.add_client_error("converse", "ValidationException", "too long for this model")
    with stub, pytest.raises(StageError, match="too long for this model"):
        assistant.answer([ask("Hello")], sampling=Sampling())


def test_what_the_wire_cannot_do() -> None:
    assistant, stub = stubbed()
    stub.add_client_error("invoke_model", "ValidationException", "this model takes messages")
    with stub:
        assert assistant.capabilities == {"answer", "tools"}
    body = io.BytesIO(b'{"choices": [{"text": "", "finish_reason": "length"}]}')
    other, stub = stubbed()
    stub.add_response("invoke_model", {"body": StreamingBody(body, len(body.getvalue())), "contentType": "application/json"})
    with stub, pytest.raises(MissingCapability, match="without prompt_logprobs"):
        other.score([("a", "b")])
    with pytest.raises(MissingCapability, match="a conversation before 'b'"):
        assistant.score([(ask("a"), "b")])
    with pytest.raises(MissingCapability, match="an empty text before"):
        assistant.score([(" ", "b")])
    with pytest.raises(MissingCapability, match="stop_ids"):
        assistant.answer([ask("Hello")], sampling=Sampling(stop_ids=(1,)))
    assert assistant.identity() == {"endpoint": "bedrock-runtime.us-east-1.amazonaws.com", "model_id": "tenet.assistant-v1:0"}


def test_the_same_model_answers_alike_behind_the_endpoint(local: LocalAssistant) -> None:
    """What evaluation sees of a checkpoint is what a client gets from the endpoint, word for word."""
    from tenet.serving.server.server import LocalServer

    assert local.folder is not None
    conversations = [ask("What does DeleteTable of Amazon DynamoDB do?"), ask("Creates a bucket."), ask("Hello")]
    sampling = Sampling(max_tokens=10)
    with LocalServer(local.folder) as server:
        keys = (server.keys.access_key, server.keys.secret_key)
        remote = BedrockAssistant(server.endpoint, server.model_id, keys=keys)
        over_the_wire = remote.answer(conversations, sampling=sampling)
        assert remote.capabilities == local.capabilities - {"score_chat"}
        scored = remote.score(PAIRS)
        completed = remote.complete(["Deletes a table", "Question: "], sampling=sampling, stop=["zzz"])
    for remote_score, own in zip(scored, local.score(PAIRS), strict=True):
        assert remote_score.loglik == pytest.approx(own.loglik, abs=1e-3)
        assert (remote_score.greedy, remote_score.tokens) == (own.greedy, own.tokens)
    assert [group[0].text for group in completed] == [
        group[0].text for group in local.complete(["Deletes a table", "Question: "], sampling=sampling, stop=["zzz"])
    ]
    here = local.answer(conversations, sampling=sampling)
    assert [[(r.text, r.tokens, r.finish) for r in group] for group in over_the_wire] == [
        [(r.text, r.tokens, r.finish) for r in group] for group in here
    ]
