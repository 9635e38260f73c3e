"""vLLM behind the same protocol, for GPUs: token ids in, token ids out, so that template, stops and tool calls stay
ours.

Written against vLLM's documented interface (`LLMEngine`, `SamplingParams`, `StructuredOutputsParams`, 0.12 and later)
and not yet run: its wheels need CUDA. `tests/tenet/serving/test_engines.py` runs its contract as soon as the package
and a GPU are there.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning_modules.generation.protocol import CacheUse, Finish, Refused, Sampling, Scores, Token, Top
from tenet.errors import ConfigError

_DTYPES = {"fp32": "float32", "bf16": "bfloat16"}


class VllmEngine:
    """See `protocol.Engine`.

    Args:
        folder: Hugging Face folder.
        dtype: fp32 or bf16; vLLM reads other formats from the folder's own config.json.
        max_slots: requests decoded at once.

    Raises:
        ConfigError: vllm is not installed, or an unknown dtype.
    """

    def __init__(self, folder: Path, dtype: str, max_slots: int) -> None:
        if dtype not in _DTYPES:
            raise ConfigError(f"dtype {dtype!r} is unknown; the vllm engine has {', '.join(_DTYPES)}")
        try:
            import vllm
        except ImportError:
            raise ConfigError("engine vllm needs the package vllm, on a machine with a GPU: pip install vllm") from None
        self._vllm: Any = vllm
        arguments = vllm.EngineArgs(
            model=str(folder),
            dtype=_DTYPES[dtype],
            max_num_seqs=max_slots,
            enable_prefix_caching=True,
            # Our grammars are llguidance's, which is what vLLM calls guidance.
            structured_outputs_config={"backend": "guidance"},
        )
        self._engine: Any = vllm.LLMEngine.from_engine_args(arguments)
        self.max_context = int(self._engine.model_config.max_model_len)
        self._open: set[int] = set()
        self._begun: set[int] = set()
        #: Request -> how many candidates, and its prompt, of those that want scores.
        self._scored: dict[int, tuple[int, list[int]]] = {}
        self._next = 0

    def submit(self, prompt: Sequence[int], sampling: Sampling) -> int:
        """Queue a prompt."""
        if not prompt or len(prompt) >= self.max_context:
            raise Refused(
                f"the prompt has {len(prompt)} tokens; at least 1 and an answer must fit a context of {self.max_context}"
            )
        from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

        parameters = self._vllm.SamplingParams(
            max_tokens=min(sampling.max_tokens, self.max_context - len(prompt)),
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=sampling.top_k,
            seed=sampling.seed,
            stop_token_ids=list(sampling.stop_ids),
            ignore_eos=True,  # what ends an answer is in stop_ids and nowhere else
            logprobs=sampling.top_logprobs,
            prompt_logprobs=sampling.top_logprobs if sampling.prompt_logprobs else None,
            detokenize=False,
            output_kind=RequestOutputKind.DELTA,
            structured_outputs=StructuredOutputsParams(grammar=sampling.grammar) if sampling.grammar else None,
        )
        inputs: dict[str, Any] = {"prompt_token_ids": list(prompt)}
        if sampling.salt:
            inputs["cache_salt"] = sampling.salt
        try:
            self._engine.add_request(str(self._next + 1), inputs, parameters)
        except ValueError as error:
            raise Refused(str(error)) from error
        self._next += 1
        self._open.add(self._next)
        if sampling.top_logprobs or sampling.prompt_logprobs:
            self._scored[self._next] = sampling.top_logprobs, list(prompt)
        return self._next

    def cancel(self, request: int) -> None:
        """Forget a request."""
        if request in self._open:
            self._open.discard(request)
            self._scored.pop(request, None)
            self._engine.abort_request([str(request)])

    def step(self) -> list[Token]:
        """Run vLLM's scheduler once."""
        if self.idle:
            return []
        tokens = [
            token
            for output in self._engine.step()
            if int(output.request_id) in self._open
            for token in self._tokens(int(output.request_id), output)
        ]
        self._open -= {token.request for token in tokens if token.finish}
        return tokens

    def _tokens(self, number: int, output: Any) -> list[Token]:
        answer = output.outputs[0]
        tokens = []
        for i, (token, scores) in enumerate(zip(answer.token_ids, answer.logprobs, strict=True)):
            finish: Finish | None = None
            if output.finished and i == len(answer.token_ids) - 1:
                finish = "stop" if answer.finish_reason == "stop" else "length"
            cache = None if number in self._begun else CacheUse(read=output.num_cached_tokens or 0)
            wanted = self._scores(number, scores, output) if number in self._scored else None
            self._begun.add(number)
            tokens.append(Token(number, token, scores[token].logprob, finish, cache, scores=wanted))
        if output.finished:
            self._scored.pop(number, None)
            self._begun.discard(number)
            if not tokens:
                tokens.append(Token(number, -1, 0.0, "failed"))
        return tokens

    def _scores(self, number: int, at: dict[int, Any], output: Any) -> Scores:
        """vLLM's own log-probabilities: before sampling changes them, which is its `logprobs_mode` unless told."""
        most, prompt = self._scored[number]
        given = output.prompt_logprobs
        if not given or number in self._begun:
            return Scores(_top(at, most))
        places = given[1:]  # nothing predicts the first token
        values = tuple(place[token].logprob for token, place in zip(prompt[1:], places, strict=True))
        return Scores(_top(at, most), values, tuple(_top(place, most) for place in places) if most else ())

    @property
    def idle(self) -> bool:
        """True when nothing runs and nothing waits."""
        return not self._open

    def check(self) -> None:
        """vLLM raises from `step` when its own processes die."""

    def close(self) -> None:
        """The memory of the GPU goes with the process."""
        self._open.clear()


def _top(place: dict[int, Any], most: int) -> Top:
    """The likeliest of a place; the token itself stands among them even where it is not one of these."""
    ranked = sorted(((token, score.logprob) for token, score in place.items()), key=lambda pair: -pair[1])
    return tuple(ranked[:most])
