"""openvino-genai behind the same protocol: the fastest engine from plain wheels on an Intel or AMD CPU; no torch in its
process.

The folder holds, beside config.json, the weights in a form that OpenVINO reads: one `.gguf` file, or what `optimum-cli
export openvino` writes. Grammars are refused: its structured output speaks another grammar language than ours.
Log-probabilities are those that it gives for the tokens it made.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning_modules.generation.protocol import Finish, Refused, Sampling, Token
from tenet.errors import ConfigError

#: GB of keys and values.
_CACHE_GB = 2


class OpenVinoEngine:
    """See `protocol.Engine`.

    Args:
        folder: see above.
        max_slots: requests decoded at once.
        threads: CPU threads; 0 keeps OpenVINO's choice.

    Raises:
        ConfigError: openvino-genai is not installed, or no weights that it reads.
    """

    def __init__(self, folder: Path, max_slots: int, threads: int) -> None:
        try:
            import openvino
            import openvino_genai
        except ImportError:
            raise ConfigError("engine openvino needs the package openvino-genai: pip install openvino-genai") from None
        self._genai: Any = openvino_genai
        self._tensor: Any = openvino.Tensor
        scheduler = openvino_genai.SchedulerConfig()
        # Without prefix caching: with it, the same prompt and seed drew other tokens the second time (2026.4.1).
        scheduler.cache_size, scheduler.max_num_seqs, scheduler.enable_prefix_caching = _CACHE_GB, max_slots, False
        settings = {"INFERENCE_NUM_THREADS": threads} if threads else {}
        self._pipe: Any = openvino_genai.ContinuousBatchingPipeline(str(_weights(folder)), scheduler, "CPU", settings)
        self.max_context: int = json.loads((folder / "config.json").read_text(encoding="utf-8"))["max_position_embeddings"]
        # A handle that is dropped cancels its request.
        self._open: dict[int, tuple[Any, Sampling]] = {}
        self._next = 0

    def submit(self, prompt: Sequence[int], sampling: Sampling) -> int:
        """Queue a prompt."""
        import numpy as np

        if not prompt or len(prompt) >= self.max_context:
            raise Refused(
                f"the prompt has {len(prompt)} tokens; at least 1 and an answer must fit a context of {self.max_context}"
            )
        if sampling.grammar:
            raise Refused("the openvino engine knows no grammars; serve with the torch engine, or leave the schema out")
        if sampling.top_logprobs or sampling.prompt_logprobs:
            what = "prompt_logprobs" if sampling.prompt_logprobs else "top_logprobs"
            raise Refused(
                f"{what}: the openvino engine scores the tokens that it made and no others; serve with the torch engine"
            )
        config = self._genai.GenerationConfig()
        config.max_new_tokens = min(sampling.max_tokens, self.max_context - len(prompt))
        config.do_sample = sampling.temperature > 0
        if config.do_sample:
            config.temperature, config.top_p, config.rng_seed = sampling.temperature, sampling.top_p, sampling.seed
            if sampling.top_k:
                config.top_k = sampling.top_k
        # What ends an answer is in stop_ids and nowhere else.
        config.ignore_eos, config.stop_token_ids, config.logprobs = not sampling.stop_ids, set(sampling.stop_ids), 1
        self._next += 1
        ids = self._tensor(np.array([list(prompt)], dtype=np.int64))
        self._open[self._next] = (self._pipe.add_request(self._next, ids, config), sampling)
        return self._next

    def cancel(self, request: int) -> None:
        """Forget a request."""
        if request in self._open:
            self._open.pop(request)[0].cancel()

    def step(self) -> list[Token]:
        """Run OpenVINO's scheduler once."""
        if self._pipe.has_non_finished_requests():
            self._pipe.step()
        return [token for number in list(self._open) for token in self._read(number)]

    def _read(self, number: int) -> list[Token]:
        handle, sampling = self._open[number]
        tokens: list[Token] = []
        while handle.can_read():
            [output] = handle.read().values()
            for token, logprob in zip(output.generated_ids, output.generated_log_probs, strict=True):
                finish: Finish | None = "stop" if token in sampling.stop_ids else None
                if finish is None and output.finish_reason == self._genai.GenerationFinishReason.LENGTH:
                    finish = "length"
                tokens.append(Token(number, token, logprob, finish))
        if tokens and tokens[-1].finish:
            del self._open[number]
        elif handle.get_status() == self._genai.GenerationStatus.IGNORED:
            # No room for its keys and values, however long it waits.
            del self._open[number]
            tokens.append(Token(number, -1, 0.0, "failed"))
        return tokens

    @property
    def idle(self) -> bool:
        """True when nothing runs and nothing waits."""
        return not self._open

    def check(self) -> None:
        """Nothing outside of this process can fail."""

    def close(self) -> None:
        """Cancel what is open."""
        for request in list(self._open):
            self.cancel(request)


def _weights(folder: Path) -> Path:
    files = sorted(folder.glob("*.gguf"))
    if files:
        return files[0]
    if (folder / "openvino_model.xml").is_file():
        return folder
    raise ConfigError(
        f"{folder}: no .gguf file and no openvino_model.xml; `optimum-cli export openvino --model {folder} OUT` writes the latter"
    )
