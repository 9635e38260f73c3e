"""The stream of a response: numbered events that open an item, fill it and close it, as the types of the package
`openai` have them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tenet.serving.engines.scored import ScoredEnd, ScoredWords, TokenScore
from tenet.serving.openai.dialect import new_id, openai_error, shown
from tenet.serving.openai.responses import begun, call_item, ended, message_item, text_part
from tenet.serving.protocol.chat_request import Begun, End, Part, ToolCall, Words
from tenet.serving.protocol.exceptions import ServiceError
from tenet.serving.protocol.json_bytes import dumps


class ResponseEvents:
    """The parts of an answer as events.

    Args:
        body: what was asked; the response repeats it.
    """

    def __init__(self, body: dict[str, Any]) -> None:
        self._response = begun(body, body["model"])
        self._output: list[dict[str, Any]] = []
        self._number = 0
        self._message = ""  # id of the message that is open
        self._text, self._tokens = "", list[TokenScore]()

    def part(self, part: Part, latency_ms: int) -> Iterator[bytes]:
        """Events of one part; those of `End` close the stream."""
        if isinstance(part, Begun):
            yield self._event("response.created", response=self._response)
            yield self._event("response.in_progress", response=self._response)
        elif isinstance(part, Words):
            yield from self._words(part)
        elif isinstance(part, ToolCall):
            yield from self._close()
            yield from self._call(part)
        else:
            yield from self._end(part)

    def failed(self, error: ServiceError) -> bytes:
        """An error as the last event."""
        told = openai_error(error)[1]["error"]
        wrong = {"code": told["code"] or "server_error", "message": told["message"]}
        return self._event(
            "response.failed", response={**self._response, "status": "failed", "error": wrong, "output": self._output}
        )

    def _words(self, part: Words) -> Iterator[bytes]:
        if not self._message:
            yield from self._open()
        tokens = part.tokens if isinstance(part, ScoredWords) else ()
        self._text += part.text
        self._tokens += tokens
        yield self._event("response.output_text.delta", **self._here(), delta=part.text, logprobs=shown(tokens))

    def _open(self) -> Iterator[bytes]:
        self._message = new_id("msg_")
        item = message_item(self._message, None, status="in_progress")
        yield self._event("response.output_item.added", output_index=len(self._output), item=item)
        yield self._event("response.content_part.added", **self._here(), part=text_part(""))

    def _close(self) -> Iterator[bytes]:
        if not self._message:
            return
        scored = shown(self._tokens)
        yield self._event("response.output_text.done", **self._here(), text=self._text, logprobs=scored)
        yield self._event("response.content_part.done", **self._here(), part=text_part(self._text, self._tokens))
        yield from self._done(message_item(self._message, self._text, self._tokens))
        self._message, self._text, self._tokens = "", "", []

    def _call(self, call: ToolCall) -> Iterator[bytes]:
        item_id, call_id, arguments = new_id("fc_"), new_id("call_"), dumps(call.arguments).decode()
        at = {"output_index": len(self._output), "item_id": item_id}
        opened = call_item(item_id, call_id, call, "", "in_progress")
        yield self._event("response.output_item.added", output_index=len(self._output), item=opened)
        yield self._event("response.function_call_arguments.delta", **at, delta=arguments)
        yield self._event("response.function_call_arguments.done", **at, name=call.name, arguments=arguments)
        yield from self._done(call_item(item_id, call_id, call, arguments))

    def _done(self, item: dict[str, Any]) -> Iterator[bytes]:
        yield self._event("response.output_item.done", output_index=len(self._output), item=item)
        self._output.append(item)

    def _end(self, end: End) -> Iterator[bytes]:
        if not self._message and not self._output:
            yield from self._open()
        self._tokens += end.tokens if isinstance(end, ScoredEnd) else ()
        yield from self._close()
        response = ended(self._response, self._output, end)
        yield self._event(f"response.{response['status']}", response=response)

    def _here(self) -> dict[str, Any]:
        return {"output_index": len(self._output), "item_id": self._message, "content_index": 0}

    def _event(self, kind: str, **members: Any) -> bytes:
        content = {"type": kind, "sequence_number": self._number, **members}
        self._number += 1
        return b"event: %s\ndata: %s\n\n" % (kind.encode(), dumps(content))
