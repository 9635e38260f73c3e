"""A prompt that its caller wrote, completed: the bodies BedrockCompletion and OpenAICompletion of imported models.

The first is Llama's on Bedrock (https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-meta.html), the
second OpenAI's "Create completion" with the `prompt_logprobs` of vLLM. Log-probabilities are the model's own, before
temperature and cut-offs, so that a client can score a text as `lightning_modules.generation.scoring` does: send it
whole and read those of the prompt.
"""

from __future__ import annotations

import codecs
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, cast

from tenet.serving.engines.scored import RawText, ScoredAsk, ScoredEnd, ScoredWords, TokenScore
from tenet.serving.openai.dialect import finish_reason, new_id, ranked, usage
from tenet.serving.openai.fields import GUARDRAIL, format_of, refuse_others, sampling_of
from tenet.serving.protocol.chat_request import Ask, Begun, End, Part, TextLayer, Words, member, number
from tenet.serving.protocol.exceptions import invalid
from tenet.serving.protocol.limits import Limits
from tenet.serving.protocol.turns import check_stops

_SHARED = ("prompt", "temperature", "top_p", "top_k", "seed", "stop", "response_format", GUARDRAIL)
_LONGEST = 2**31 - 1


@dataclass(frozen=True)
class RawAsk(ScoredAsk):
    """An `Ask` whose prompt is no conversation.

    Args:
        raw: text in which special tokens are special, or token ids.
    """

    raw: str | tuple[int, ...] = ""

    def prompt(self, text: TextLayer) -> list[int]:
        """Token ids; those of a client must be some of the vocabulary's."""
        layer = cast(RawText, text)
        ids = layer.raw(self.raw) if isinstance(self.raw, str) else list(self.raw)
        if not ids:
            raise invalid("prompt", "must not be empty.")
        if max(ids) >= layer.vocab_size:
            raise invalid("prompt", f"holds the id {max(ids)}; the vocabulary has {layer.vocab_size} entries.")
        return ids


def _raw(body: dict[str, Any], ids: bool) -> str | tuple[int, ...]:
    prompt = member(body, "prompt", (str, list) if ids else str, "")
    if isinstance(prompt, str):
        return prompt
    if not all(type(one) is int and one >= 0 for one in prompt):
        raise invalid("prompt", "must be one text, or an array of the token ids of one.")
    return tuple(prompt)


def _ask(body: dict[str, Any], limits: Limits, raw: str | tuple[int, ...], longest: int | None, **wanted: Any) -> Ask:
    stop = member(body, "stop", (str, list), "", [])
    shape = member(body, "response_format", dict, "", {})
    named = shape.get("type") == "json_schema"
    inner, where = (
        (member(shape, "json_schema", dict, "response_format"), "response_format.json_schema")
        if named
        else ({}, "response_format")
    )
    return RawAsk(
        messages=[],
        raw=raw,
        guarded=(raw,) if isinstance(raw, str) else (),
        max_tokens=longest,
        stops=check_stops([stop] if isinstance(stop, str) else stop, limits, "stop"),
        schema=format_of(shape, inner, where, limits),
        **sampling_of(body),
        **wanted,
    )


def _tokens(parts: Sequence[Part]) -> list[TokenScore]:
    return [token for part in parts if isinstance(part, (ScoredWords, ScoredEnd)) for token in part.tokens]


def _text(parts: Sequence[Part]) -> str:
    return "".join(part.text for part in parts if isinstance(part, Words))


class BedrockCompletion:
    """`prompt`, `max_gen_len`, `return_logprobs`: every token of prompt and answer by its id, beside it the likeliest
    one where that is another."""

    def decode(self, body: dict[str, Any], limits: Limits) -> Ask:
        """See `imported.Form`."""
        refuse_others(body, (*_SHARED, "max_gen_len", "return_logprobs"))
        wanted = member(body, "return_logprobs", bool, "", False)
        longest = number(body, "max_gen_len", "", 1, _LONGEST, None)
        scored = {"logprobs": wanted, "prompt_logprobs": 1 if wanted else None, "top_logprobs": int(wanted)}
        return _ask(body, limits, _raw(body, ids=False), longest, **scored)

    def encode(self, parts: Sequence[Part], body: dict[str, Any], model: str) -> dict[str, Any]:
        """See `imported.Form`."""
        end = parts[-1]
        assert isinstance(end, End)
        return {"generation": _text(parts), **_counts(end), **_by_id(_tokens(parts), end)}

    def events(self, body: dict[str, Any], model: str) -> _BedrockChunks:
        """See `imported.Form`."""
        return _BedrockChunks()


class _BedrockChunks:
    def chunks(self, part: Part) -> Iterator[dict[str, Any]]:
        nothing = {"prompt_token_count": None, "generation_token_count": None, "stop_reason": None}
        if isinstance(part, Begun):
            yield {"generation": "", **nothing, "prompt_token_count": part.input_tokens}
        elif isinstance(part, ScoredWords):
            yield {"generation": part.text, **nothing, "logprobs": list(map(_likeliest, part.tokens))}
        elif isinstance(part, Words):
            yield {"generation": part.text, **nothing}
        elif isinstance(part, End):
            scored = _by_id(part.tokens, part) if isinstance(part, ScoredEnd) else {}
            yield {"generation": "", **_counts(part), **scored}


def _counts(end: End) -> dict[str, Any]:
    reason = "length" if finish_reason(end) == "length" else "stop"
    return {"prompt_token_count": end.input_tokens, "generation_token_count": end.output_tokens, "stop_reason": reason}


def _by_id(tokens: Sequence[TokenScore], end: End) -> dict[str, Any]:
    if not isinstance(end, ScoredEnd):
        return {}
    return {"prompt_logprobs": [None, *map(_likeliest, end.prompt)], "logprobs": list(map(_likeliest, tokens))}


def _likeliest(token: TokenScore) -> dict[str, float]:
    return {str(token.id): token.logprob} | {str(other.id): other.logprob for other in token.top}


class OpenAICompletion:
    """`prompt`, `max_tokens`, `logprobs`, `echo`, `prompt_logprobs`: tokens by their text, and the prompt's by their
    ids."""

    def decode(self, body: dict[str, Any], limits: Limits) -> Ask:
        """See `imported.Form`."""
        refuse_others(body, (*_SHARED, "model", "max_tokens", "logprobs", "prompt_logprobs", "echo", "stream"))
        answers, prompts = (number(body, key, "", 0, 20, None) for key in ("logprobs", "prompt_logprobs"))
        if member(body, "echo", bool, "", False):  # the prompt's tokens stand in the columns of the answer's
            prompts = max(answers or 0, prompts or 0)
        scored = {"logprobs": answers is not None, "top_logprobs": answers or 0, "prompt_logprobs": prompts}
        return _ask(body, limits, _raw(body, ids=True), number(body, "max_tokens", "", 1, _LONGEST, ...), cached=True, **scored)

    def encode(self, parts: Sequence[Part], body: dict[str, Any], model: str) -> dict[str, Any]:
        """See `imported.Form`."""
        end = parts[-1]
        assert isinstance(end, End)
        echoed = _prompt_of(end) if body.get("echo") else []
        given = body["prompt"] if isinstance(body["prompt"], str) else b"".join(t.piece for t in echoed).decode(errors="replace")
        choice = {
            "index": 0,
            "text": (given if echoed else "") + _text(parts),
            "logprobs": None
            if body.get("logprobs") is None
            else _columns([*echoed, *_tokens(parts)], body["logprobs"], bool(echoed)),
            "finish_reason": finish_reason(end),
        }
        if body.get("prompt_logprobs") is not None:
            choice["prompt_logprobs"] = ranked(end, body["prompt_logprobs"])
        return {**_head(model), "choices": [choice], "usage": usage(end)}

    def events(self, body: dict[str, Any], model: str) -> _OpenAIChunks:
        """See `imported.Form`."""
        if body.get("echo"):
            raise invalid("echo", "cannot be streamed by this endpoint; leave it out, or ask for the whole answer.")
        return _OpenAIChunks(model, body)


class _OpenAIChunks:
    def __init__(self, model: str, body: dict[str, Any]) -> None:
        self._head, self._most, self._prompts = _head(model), body.get("logprobs"), body.get("prompt_logprobs")

    def chunks(self, part: Part) -> Iterator[dict[str, Any]]:
        if isinstance(part, Words):
            yield self._chunk(part.text, part)
        elif isinstance(part, End):
            last = self._chunk("", part, finish_reason(part))
            if self._prompts is not None:
                last["choices"][0]["prompt_logprobs"] = ranked(part, self._prompts)
            yield {**last, "usage": usage(part)}

    def _chunk(self, text: str, part: Part, finish: str | None = None) -> dict[str, Any]:
        tokens = part.tokens if isinstance(part, (ScoredWords, ScoredEnd)) else ()
        scored = _columns(tokens, self._most) if tokens and self._most is not None else None
        return {**self._head, "choices": [{"index": 0, "text": text, "logprobs": scored, "finish_reason": finish}]}


def _head(model: str) -> dict[str, Any]:
    return {"id": new_id("cmpl-"), "object": "text_completion", "created": int(time.time()), "model": model}


def _prompt_of(end: End) -> list[TokenScore]:
    """The prompt's tokens, the first one with them."""
    return [end.first, *end.prompt] if isinstance(end, ScoredEnd) and end.first else []


def _columns(tokens: Sequence[TokenScore], most: int, from_start: bool = False) -> dict[str, list[Any]]:
    """OpenAI's four columns; nothing predicts the first token of a prompt."""
    texts = [token.text for token in tokens]
    scores: list[Any] = [token.logprob for token in tokens]
    tops: list[Any] = [{other.text: other.logprob for other in token.top[:most]} for token in tokens]
    if from_start:
        scores[0] = tops[0] = None
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    offsets = [0, *accumulate(len(decoder.decode(token.piece)) for token in tokens)][: len(texts)]
    return {"tokens": texts, "token_logprobs": scores, "top_logprobs": tops, "text_offset": offsets}
