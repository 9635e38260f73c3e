"""Tokens per CPU-second of SmolLM2-135M: this engine in each format, transformers, and peers that live in environments
of their own.

    python benchmarks/engine.py                                              # own engine and transformers.generate
    python benchmarks/engine.py --openvino VENV/bin/python                   # and openvino-genai (pip install openvino-genai)
    python benchmarks/engine.py --llama VENV/bin/python                      # and llama.cpp (pip install llama-cpp-python numpy)

Everything runs on one thread, one after the other, in rounds; the best round of each counts. CPU time is measured, so
that a busy machine changes ratios little. Peers read the same weights as a q8_0 GGUF that this program writes from the
decoder's.
"""

from __future__ import annotations

import argparse
import copy
import json
import subprocess
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

PROMPT, PREFILL, STREAMS = 128, 512, (1, 16)


def prompt(stream: int, length: int) -> list[int]:
    """Ids that differ from the first one on, so that nothing is shared."""
    return [(1009 * (stream + 1) + 31 * i) % 40_000 + 20 for i in range(length)]


def cpu(work: Callable[[], Any]) -> float:
    """CPU seconds of all threads of this process."""
    start = time.process_time()
    work()
    return time.process_time() - start


def own(model: Any, steps: int) -> dict[str, float]:
    """This engine."""
    from lightning_modules.generation.engine import SlotEngine
    from lightning_modules.generation.protocol import Sampling

    out = {}
    for streams in STREAMS:
        engine = SlotEngine(model, streams, PROMPT + steps + 8)
        for i in range(streams):
            engine.submit(prompt(i, PROMPT), Sampling(max_tokens=steps + 4))
        while engine.waiting:
            engine.step()
        engine.step()
        out[f"decode {streams}"] = streams * steps / cpu(lambda engine=engine: [engine.step() for _ in range(steps)])
    engine = SlotEngine(model, 1, PREFILL + 8)
    engine.submit(prompt(0, PREFILL), Sampling(max_tokens=1))
    out[f"prefill {PREFILL}"] = PREFILL / cpu(engine.step)
    return out


def theirs(model: Any, steps: int) -> dict[str, float]:
    """transformers.generate; the clock is read at each step, so that the prompts do not count as decoding."""
    import torch

    def generate(streams: int, length: int, count: int) -> list[float]:
        ids = torch.tensor([prompt(i, length) for i in range(streams)])
        times = [time.process_time()]

        def note(tokens: Any, scores: Any, **rest: Any) -> Any:
            times.append(time.process_time())
            return torch.zeros(len(tokens), dtype=torch.bool)

        settings = {"max_new_tokens": count, "min_new_tokens": count, "do_sample": False, "pad_token_id": 0}
        model.generate(ids, attention_mask=torch.ones_like(ids), stopping_criteria=[note], **settings)
        return times

    out = {}
    for streams in STREAMS:
        times = generate(streams, PROMPT, steps + 2)
        out[f"decode {streams}"] = streams * steps / (times[-1] - times[2])
    first, second = generate(1, PREFILL, 1)[:2]
    return out | {f"prefill {PREFILL}": PREFILL / (second - first)}


OPENVINO = """
import json, sys, time
import numpy as np, openvino as ov, openvino_genai as genai
sys.path.insert(0, sys.argv[3])
from engine import PREFILL, PROMPT, STREAMS, cpu, prompt
scheduler = genai.SchedulerConfig()
scheduler.cache_size, scheduler.max_num_seqs, scheduler.enable_prefix_caching = 1, 16, False
pipe = genai.ContinuousBatchingPipeline(sys.argv[1], scheduler, "CPU", {"INFERENCE_NUM_THREADS": 1})
steps, out, number = int(sys.argv[2]), {}, 0
def add(stream, length, count):
    global number
    config = genai.GenerationConfig()
    config.max_new_tokens, config.ignore_eos, config.do_sample = count, True, False
    number += 1
    return pipe.add_request(number, ov.Tensor(np.array([prompt(stream, length)], dtype=np.int64)), config)
def drain():
    while pipe.has_non_finished_requests():
        pipe.step()
for streams in STREAMS:
    handles = [add(i, PROMPT, steps + 40) for i in range(streams)]  # a handle that goes away cancels its request
    while not all(handle.can_read() for handle in handles):
        pipe.step()
    out[f"decode {streams}"] = streams * steps / cpu(lambda: [pipe.step() for _ in range(steps)])
    drain()
handle = add(0, PREFILL, 1)
out[f"prefill {PREFILL}"] = PREFILL / cpu(drain)
print(json.dumps(out))
"""

LLAMA = """
import json, sys
import numpy as np, llama_cpp as lc
sys.path.insert(0, sys.argv[3])
from engine import PREFILL, PROMPT, STREAMS, cpu, prompt
steps, out = int(sys.argv[2]), {}
lc.llama_backend_init()
model = lc.llama_model_load_from_file(sys.argv[1].encode(), lc.llama_model_default_params())
def context(streams):
    p = lc.llama_context_default_params()
    p.n_ctx, p.n_batch, p.n_ubatch, p.n_seq_max, p.n_threads, p.n_threads_batch = 16 * 512, 2048, 512, streams, 1, 1
    return lc.llama_init_from_model(model, p)
def decode(ctx, rows):
    batch = lc.llama_batch_init(len(rows), 0, 1)
    batch.n_tokens = len(rows)
    for i, (token, position, sequence, wanted) in enumerate(rows):
        batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.logits[i] = token, position, 1, wanted
        batch.seq_id[i][0] = sequence
    assert lc.llama_decode(ctx, batch) == 0
    lc.llama_batch_free(batch)
vocab = lc.llama_vocab_n_tokens(lc.llama_model_get_vocab(model))
for streams in STREAMS:
    ctx = context(streams)
    for s in range(streams):
        decode(ctx, [(t, i, s, i == PROMPT - 1) for i, t in enumerate(prompt(s, PROMPT))])
    tokens = [5] * streams
    def run():
        for step in range(steps):
            decode(ctx, [(tokens[s], PROMPT + step, s, True) for s in range(streams)])
            for s in range(streams):
                tokens[s] = int(np.ctypeslib.as_array(lc.llama_get_logits_ith(ctx, s), (vocab,)).argmax())
    out[f"decode {streams}"] = streams * steps / cpu(run)
    lc.llama_free(ctx)
ctx = context(1)
out[f"prefill {PREFILL}"] = PREFILL / cpu(lambda: decode(ctx, [(t, i, 0, i == PREFILL - 1) for i, t in enumerate(prompt(0, PREFILL))]))
print(json.dumps(out))
"""


def peer(python: str, program: str, gguf: Path, steps: int) -> dict[str, float]:
    """Run a peer's program in its own environment."""
    command = [python, "-c", program, str(gguf), str(steps), str(Path(__file__).parent)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{python}: {done.stderr[-1500:]}")
    result: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def write_q8_0(source: Path, target: Path) -> None:
    """The package's GGUF again, every matrix in q8_0."""
    import gguf

    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(target, reader.fields["general.architecture"].contents())
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name in ("general.architecture", "general.file_type", "general.quantization_version"):
            continue
        sub = field.types[1] if len(field.types) > 1 else None
        writer.add_key_value(name, field.contents(), field.types[0], sub)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    for tensor in reader.tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        kind = gguf.GGMLQuantizationType.Q8_0 if values.ndim > 1 else gguf.GGMLQuantizationType.F32
        writer.add_tensor(tensor.name, gguf.quants.quantize(values, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--llama", default="", help="python that has llama-cpp-python")
    parser.add_argument("--openvino", default="", help="python that has openvino-genai")
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    from lightning_modules.generation.quantization import FORMATS, convert
    from tenet.smollm2 import smollm2, smollm2_file

    torch.set_num_threads(1)
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    file = smollm2_file()
    runs: dict[str, Callable[[], dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        if options.llama or options.openvino:
            gguf = Path(scratch) / "q8_0.gguf"
            write_q8_0(file, gguf)
            if options.llama:
                runs["llama.cpp q8_0"] = lambda: peer(options.llama, LLAMA, gguf, options.steps)
            if options.openvino:
                runs["openvino q8_0"] = lambda: peer(options.openvino, OPENVINO, gguf, options.steps)
        decoder = smollm2()
        for name in FORMATS:
            model = convert(copy.deepcopy(decoder), name)
            runs[f"own {name}"] = partial(own, model, options.steps)
        hf = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32, local_files_only=True)
        runs["transformers fp32"] = lambda: theirs(hf.eval(), options.steps)
        best: dict[str, dict[str, float]] = {}
        for _ in range(options.rounds):
            for name, run in runs.items():
                figures = run()
                best[name] = {key: max(value, best.get(name, {}).get(key, 0.0)) for key, value in figures.items()}
    base = next(iter(best))
    print(f"tokens per CPU-second, one thread, best of {options.rounds} rounds; in brackets the ratio to {base}")
    for name, figures in best.items():
        print(f"{name:>18}  " + "   ".join(f"{k}: {v:6.1f} ({v / best[base][k]:.2f})" for k, v in figures.items()))


if __name__ == "__main__":
    main()
