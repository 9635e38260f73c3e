"""A conversation as the Bedrock Runtime API wants it; the way back is the endpoint's (`tenet/serving`).

Conversations here have OpenAI's and Hugging Face's shape; Converse's differs in three ways. System text stands apart,
roles must alternate, and each tool result names the call that it answers.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from lightning_modules.generation.protocol import Sampling

Message = dict[str, Any]
#: Tools of one conversation, or None; in OpenAI's shape.
Tools = list[dict[str, Any]] | None


def converse_request(
    model_id: str, messages: Sequence[Message], tools: Tools, prefill: str, sampling: Sampling
) -> dict[str, Any]:
    """Arguments of boto3's `converse` for a conversation in OpenAI's shape."""
    inference: dict[str, Any] = {"maxTokens": sampling.max_tokens, "temperature": sampling.temperature, "topP": sampling.top_p}
    request: dict[str, Any] = {"modelId": model_id, "messages": _turns(messages), "inferenceConfig": inference}
    if prefill:
        request["messages"].append({"role": "assistant", "content": [{"text": prefill}]})
    if system := [{"text": message["content"]} for message in messages if message["role"] == "system"]:
        request["system"] = system
    if tools:
        request["toolConfig"] = {"tools": [_tool_spec(tool) for tool in tools]}
    if sampling.top_k:
        request["additionalModelRequestFields"] = {"top_k": sampling.top_k}
    return request


def _tool_spec(tool: dict[str, Any]) -> dict[str, Any]:
    function = tool.get("function", tool)
    described = {"description": function["description"]} if function.get("description") else {}
    return {"toolSpec": {"name": function["name"], **described, "inputSchema": {"json": function["parameters"]}}}


def _turns(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Converse's turns: tool results are the user's, and each names the call it answers (ours follow the order of the
    calls)."""
    turns: list[dict[str, Any]] = []
    open_calls: list[str] = []
    for number, message in enumerate(messages):
        role, content = message["role"], message.get("content") or ""
        if role == "system":
            continue
        if role == "tool":
            result = {"toolUseId": open_calls.pop(0) if open_calls else f"call-{number}", "content": [{"text": content}]}
            blocks: list[dict[str, Any]] = [{"toolResult": result}]
        else:
            blocks = [{"text": content}] if content else []
            for place, call in enumerate(message.get("tool_calls") or []):
                function = call.get("function", call)
                open_calls.append(f"call-{number}-{place}")
                arguments = function["arguments"]
                arguments = json.loads(arguments) if isinstance(arguments, str) else arguments
                blocks.append({"toolUse": {"toolUseId": open_calls[-1], "name": function["name"], "input": arguments}})
        role = "user" if role == "tool" else role
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += blocks  # the API wants the roles to alternate
        else:
            turns.append({"role": role, "content": blocks})
    return turns
