"""Step 4: next-token training, judged by compression of text it never saw.

The baseline needs no model: `xz -9e` (LZMA) of the same held-out text, in bits per byte.
"""

from __future__ import annotations

import dataclasses
import lzma
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning_modules.data.chat import ChatTokenizer
from lightning_modules.data.shards import PretrainBatches, TokenRows
from lightning_modules.data.steps import StepLoader
from lightning_modules.distributed import ranks
from lightning_modules.generation.engine import generate
from lightning_modules.generation.protocol import Sampling
from lightning_modules.model.decoder import Decoder
from lightning_modules.model.tokenizer_files import same_tokenizer
from lightning_modules.modules.pretrain import PretrainModule, bits_per_byte
from lightning_modules.training.callbacks.periodic import Every
from tenet.corpus.tokens.tokenizer import smollm2_tokenizer
from tenet.errors import ConfigError
from tenet.files import read_json, read_jsonl, write_jsonl
from tenet.model_folders import load_model_folder
from tenet.posttrain.checkpoints import begin, check_vocabulary, corpus_tokenizer, export, groups_of, token_rows
from tenet.posttrain.training import fit_stage
from tenet.runs.summary import Figure, Summary
from tenet.runs.workspace import Workspace
from tenet.settings.phases import rate_of
from tenet.settings.training import PretrainConfig
from tenet.stages.training.curriculum import curriculum, figures

#: Rows of the validation shard that are scored during training; all of the test shard is scored at the end.
VALIDATION_ROWS = 64
#: Continued where the domain brings no sample prompts of its own.
PROMPTS = ("The", "In", "It is", "#")


def run(config: PretrainConfig, ws: Workspace) -> Summary:
    """Train, sample, and measure held-out bits per byte."""
    begin(config.compute, ws)
    tokenizer = ChatTokenizer.from_folder(corpus_tokenizer(ws))
    model = start_model(config, ws)
    check_vocabulary(model.config.vocab_size, tokenizer)
    wide = tokenizer.vocab_size > 65_536
    tokens = ws.input("corpus") / "tokens"
    shards = {name: token_rows(tokens / f"{name}.ds", config.context, wide) for name in ("train", "valid", "test")}
    asked = config.steps
    config, epochs = capped(config, len(shards["train"]) * config.context)
    batches, extra = _batches(config, ws, shards["train"]) if config.steps else (None, [])
    text_bytes = {s["name"]: s["text_bytes"] for s in read_json(tokens / "manifest.json")["shards"]}
    before = ranks.on_first(
        lambda: bits_per_byte(model, shards["test"], text_bytes["test"], limit=VALIDATION_ROWS, check=ws.check)
    )
    module = PretrainModule(model, config.optim, max(1, config.steps), config.z_loss, rate_of(config.phases, config.steps))
    if batches is not None:
        _train(config, ws, module, batches, shards["valid"], text_bytes["valid"], tokenizer)
    model.eval()
    ws.progress(config.steps, max(1, config.steps), f"scoring the held-out {groups_of(ws)}")
    after = ranks.on_first(
        lambda: bits_per_byte(
            model,
            shards["test"],
            text_bytes["test"],
            limit=0 if config.heldout_rows == "all" else config.heldout_rows,
            check=ws.check,
        )
    )
    baseline = ranks.on_first(lambda: lzma_bits_per_byte(ws.input("corpus") / "heldout" / "test.txt"))
    export(model, ws, tokenizer, files=corpus_tokenizer(ws))

    return Summary(
        headline=f"{after:.3f} bits per byte on {groups_of(ws)} never seen; xz -9e needs {baseline:.3f}{_stopped(config, asked)}",
        figures=[
            Figure(
                "held-out compression", round(after, 4), "bits per byte", round(before, 4), round(baseline, 4), better="lower"
            ),
            Figure("training tokens", config.steps * config.batch_tokens, "tokens", better="neither"),
            *extra,
        ],
        tokens=config.steps * config.batch_tokens,
        flops=config.steps * config.batch_tokens * model.config.flops_per_token(config.context),
        details={"epochs": round(epochs, 2)},
    )


def capped(config: PretrainConfig, corpus: int) -> tuple[PretrainConfig, float]:
    """The settings with no more tokens than `max_epochs` passes over a corpus of so many tokens, and the passes that
    they make."""
    most = config.steps if config.max_epochs == "all" else max(1, config.max_epochs * corpus // config.batch_tokens)
    if most < config.steps:
        config = dataclasses.replace(config, tokens=float(most * config.batch_tokens))
    return config, config.steps * config.batch_tokens / corpus


def _stopped(config: PretrainConfig, asked: int) -> str:
    if config.steps == asked:
        return ""
    return f" ({config.steps:,} of {asked:,} steps: pretrain.max_epochs is {config.max_epochs})"


def start_model(config: PretrainConfig, ws: Workspace) -> Decoder:
    """Random weights, or an existing checkpoint."""
    if not config.start_from:
        return Decoder(ws.setting("model")).initialise(ws.seed)
    if config.start_from == "smollm2":
        from tenet.smollm2 import smollm2

        _check_smollm2_tokenizer(corpus_tokenizer(ws))
        return smollm2()
    return load_model_folder(config.start_from, "pretrain.start_from", corpus_tokenizer(ws))


def _check_smollm2_tokenizer(corpus: Path) -> None:
    """A trained tokenizer of as many entries would fit, and its ids mean something else."""
    with tempfile.TemporaryDirectory() as folder:
        smollm2_tokenizer(Path(folder))
        differences = same_tokenizer(Path(folder), corpus)
    if differences:
        raise ConfigError(
            f"pretrain.start_from is smollm2, and the corpus has another tokenizer: {'; '.join(differences)}. "
            "Make the corpus with corpus.tokenizer smollm2"
        )


def _batches(config: PretrainConfig, ws: Workspace, rows: TokenRows) -> tuple[PretrainBatches, list[Figure]]:
    """What is trained on, and what is told of it where there are phases.

    Raises:
        ConfigError: it cannot be dealt to the processes, or a phase does not fit the corpus.
    """
    try:
        if not config.phases:
            share, place = config.batch_tokens // config.context, (ranks.rank(), ranks.world())
            return PretrainBatches(rows, ws.seed, share, config.micro_batch, config.document_mask, *place), []
        folder = ws.input("corpus") / "tokens"
        made = curriculum(config, rows, folder, ws.seed, ranks.rank(), ranks.world())
    except ValueError as error:
        raise ConfigError(f"pretrain: {error}") from None
    return made.batches, figures(config, made)


def _train(
    config: PretrainConfig,
    ws: Workspace,
    module: PretrainModule,
    batches: PretrainBatches,
    valid: TokenRows,
    valid_bytes: int,
    tokenizer: ChatTokenizer,
) -> None:
    def validate(step: int) -> dict[str, float]:
        module.eval()
        value = bits_per_byte(module.model, valid, valid_bytes, limit=VALIDATION_ROWS)
        module.train()
        return {"valid/bits_per_byte": value}

    def sample(step: int) -> None:
        write_samples(ws.dir / "samples.jsonl", module.model, tokenizer, step, sample_prompts(ws))

    fit_stage(
        module,
        StepLoader(batches, config.steps * batches.accumulate),
        steps=config.steps,
        ws=ws,
        optim=config.optim,
        compute=config.compute,
        checkpoint_every=config.checkpoint_every,
        accumulate=batches.accumulate,
        callbacks=[Every(config.validate_every, validate), Every(config.sample_every, sample)],
    )


def sample_prompts(ws: Workspace) -> tuple[str, ...]:
    """What is continued to show what the model writes: the domain's beginnings of text."""
    prompts: tuple[str, ...] = ws.domain.sample_prompts if ws.domain else ()
    return prompts or PROMPTS


def write_samples(path: Path, model: Decoder, tokenizer: ChatTokenizer, step: int, prompts: Sequence[str]) -> None:
    """Continue a few prompts and keep the texts; rows of later steps (of an attempt that was killed) are dropped."""
    rows: list[dict[str, Any]] = [row for row in (read_jsonl(path) if path.exists() else []) if row["step"] < step]
    encoded = [[tokenizer.end_of_text, *tokenizer.encode(prompt)] for prompt in prompts]
    answers = generate(model, encoded, Sampling(max_tokens=60, temperature=0.7, top_p=0.95, seed=1, stop_ids=tokenizer.stop_ids))
    rows += [{"step": step, "prompt": p, "text": tokenizer.decode(a[0].ids)} for p, a in zip(prompts, answers, strict=True)]
    write_jsonl(path, rows)


def lzma_bits_per_byte(text: Path) -> float:
    """What LZMA at its strongest setting needs for the same text."""
    raw = text.read_bytes()
    return 8 * len(lzma.compress(raw, preset=9 | lzma.PRESET_EXTREME)) / len(raw)
