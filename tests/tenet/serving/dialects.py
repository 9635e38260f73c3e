"""A Converse body said in the other dialects, member by member: what Amazon's service model allows, for routes that have no
model of their own. Kinds of content that a dialect has no word for keep their name, so that it refuses them by it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tests.tenet.serving.conftest import MODEL

Body = dict[str, Any]
SAMPLING = {"maxTokens": "max_tokens", "temperature": "temperature", "topP": "top_p"}


def _kind(block: Body) -> tuple[str, Any]:
    return next(iter(block.items()))


def _result(value: Body) -> str:
    return "".join(inner.get("text", "") or json.dumps(inner) for inner in value["content"])


def _turns(body: Body) -> list[tuple[str, list[Body]]]:
    return [(turn["role"], turn["content"]) for turn in body.get("messages", [])]


def _system(body: Body) -> str:
    return "".join(block.get("text", "") for block in body.get("system", []))


def _tools(body: Body) -> list[Body]:
    return [tool.get("toolSpec", tool) for tool in body.get("toolConfig", {}).get("tools", [])]


def _schema(spec: Body) -> Any:
    return spec.get("inputSchema", {}).get("json", {})


def _sampling(body: Body, stop: str) -> Body:
    config = body.get("inferenceConfig", {})
    made = {name: config[ours] for ours, name in SAMPLING.items() if ours in config}
    return made | ({stop: config["stopSequences"]} if "stopSequences" in config else {})


# --- Messages ----------------------------------------------------------------------------------------------------------


def _as_block(block: Body) -> Body:
    kind, value = _kind(block)
    if kind == "text":
        return {"type": "text", "text": value}
    if kind == "toolUse":
        return {"type": "tool_use", "id": value["toolUseId"], "name": value["name"], "input": value["input"]}
    if kind == "toolResult":
        content = [{"type": "text", "text": _result(value)}]
        return {"type": "tool_result", "tool_use_id": value["toolUseId"], "content": content}
    if kind == "image":
        source = {"type": "base64", "media_type": f"image/{value['format']}", "data": value["source"].get("bytes", "")}
        return {"type": "image", "source": source}
    return {"type": kind, kind: value}


def messages(body: Body) -> Body:
    """The body of Anthropic's own route."""
    made: Body = {"model": MODEL, "max_tokens": 20, **_sampling(body, "stop_sequences")}
    made["messages"] = [{"role": role, "content": [_as_block(block) for block in blocks]} for role, blocks in _turns(body)]
    made |= {"system": _system(body)} if body.get("system") else {}
    if "toolConfig" in body:
        made["tools"] = [
            {"name": spec.get("name", ""), "description": spec.get("description", "d"), "input_schema": _schema(spec)}
            for spec in _tools(body)
        ]
        kind, value = _kind(body["toolConfig"].get("toolChoice") or {"auto": {}})
        made["tool_choice"] = {"type": kind, **value}
    return made


def invoke(body: Body) -> Body:
    """The same as InvokeModel has it: the model stands in the path."""
    return {"anthropic_version": "any", **{name: value for name, value in messages(body).items() if name != "model"}}


# --- OpenAI's ----------------------------------------------------------------------------------------------------------


def _part(block: Body, text: str, image: str) -> Body:
    kind, value = _kind(block)
    if kind == "text":
        return {"type": text, "text": value}
    if kind == "image":
        url = f"data:image/{value['format']};base64,{value['source'].get('bytes', '')}"
        return {"type": image, "image_url": url if image == "input_image" else {"url": url}}
    return {"type": kind, kind: value}


def _function(value: Body) -> Body:
    return {"name": value["name"], "arguments": json.dumps(value["input"])}


def _choice(body: Body, named: Callable[[str], Any]) -> Any:
    kind, value = _kind(body["toolConfig"].get("toolChoice") or {"auto": {}})
    return named(value["name"]) if kind == "tool" else {"any": "required"}.get(kind, kind)


def chat(body: Body) -> Body:
    """Chat Completions."""
    made: Body = {"model": MODEL, "max_completion_tokens": 20, "messages": [], **_sampling(body, "stop")}
    made["max_completion_tokens"] = made.pop("max_tokens", 20)
    if body.get("system"):
        made["messages"].append({"role": "system", "content": _system(body)})
    for role, blocks in _turns(body):
        results = [block["toolResult"] for block in blocks if "toolResult" in block]
        made["messages"] += [{"role": "tool", "tool_call_id": one["toolUseId"], "content": _result(one)} for one in results]
        calls = [
            {"id": block["toolUse"]["toolUseId"], "type": "function", "function": _function(block["toolUse"])}
            for block in blocks
            if "toolUse" in block
        ]
        parts = [_part(block, "text", "image_url") for block in blocks if not {"toolUse", "toolResult"} & block.keys()]
        if parts or calls or not results:
            made["messages"].append({"role": role, "content": parts, **({"tool_calls": calls} if calls else {})})
    if "toolConfig" in body:
        made["tools"] = [
            {"type": "function", "function": {"name": spec.get("name", ""), "parameters": _schema(spec)}} for spec in _tools(body)
        ]
        made["tool_choice"] = _choice(body, lambda name: {"type": "function", "function": {"name": name}})
    return made


def responses(body: Body) -> Body:
    """Responses. It has no stop sequences."""
    made: Body = {"model": MODEL, "input": [], **_sampling(body, "stop")}
    made.pop("stop", None)
    made["max_output_tokens"] = made.pop("max_tokens", 20)
    made |= {"instructions": _system(body)} if body.get("system") else {}
    for role, blocks in _turns(body):
        kind = "output_text" if role == "assistant" else "input_text"
        for block in blocks:
            if "toolUse" in block:
                item = {"type": "function_call", "call_id": block["toolUse"]["toolUseId"], **_function(block["toolUse"])}
            elif "toolResult" in block:
                value = block["toolResult"]
                item = {"type": "function_call_output", "call_id": value["toolUseId"], "output": _result(value)}
            else:
                item = {"role": role, "content": [_part(block, kind, "input_image")]}
            made["input"].append(item)
    if "toolConfig" in body:
        made["tools"] = [{"type": "function", "name": spec.get("name", ""), "parameters": _schema(spec)} for spec in _tools(body)]
        made["tool_choice"] = _choice(body, lambda name: {"type": "function", "name": name})
    return made


def llama(body: Body) -> Body:
    """A body of imported models: a prompt without a template."""
    said = "\n".join(block.get("text", "") for _, blocks in _turns(body) for block in blocks)
    made: Body = {"prompt": said, **_sampling(body, "stop")}
    made["max_gen_len"] = made.pop("max_tokens", 20)
    return made


#: Dialect -> path and translation.
DIALECTS: dict[str, tuple[str, Callable[[Body], Body]]] = {
    "InvokeModel": (f"/model/{MODEL}/invoke", invoke),
    "InvokeModel, imported": (f"/model/{MODEL}/invoke", llama),
    "Messages": ("/anthropic/v1/messages", messages),
    "Chat Completions": ("/openai/v1/chat/completions", chat),
    "Responses": ("/openai/v1/responses", responses),
}
