"""Every setting of every stage, typed. A preset (`presets/NAME.yaml`) is one `Preset`; files and flags go on top of it.

`load_preset` and `parser_for` share one parser, so that an unknown key, a wrong type or an impossible combination is an error
before anything starts, and names the key.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from lightning_modules.config import ComputeConfig, OptimConfig, ParallelConfig
from lightning_modules.model.config import ModelConfig
from tenet.errors import ConfigError

PRESETS = Path(__file__).resolve().parents[1] / "presets"


@dataclass(frozen=True)
class SourceConfig:
    """One source of text.

    Args:
        kind: botocore | cpython (inside this environment), folder (local files), huggingface (a data set by name).
        name: path of the folder or name of the data set; empty for the first two.
        subset, split, column: of a Hugging Face data set.
        max_bytes: most UTF-8 bytes to take; 0 takes all.
        licence: SPDX name written to each document where the source does not say it itself.
    """

    kind: Literal["botocore", "cpython", "folder", "huggingface"]
    name: str = ""
    subset: str = ""
    split: str = "train"
    column: str = "text"
    max_bytes: int = 0
    licence: str = ""


@dataclass(frozen=True)
class CorpusConfig:
    """Step 1.

    Args:
        sources: where text comes from, mixed in this order.
        max_bytes: most UTF-8 bytes of all documents together; 0 takes all.
        service_cap: largest share of the documents' bytes that one service may have.
        vocab_size: entries of the tokenizer, special tokens included; it replaces the model's own vocabulary size.
        tokenizer: "train" or the folder of a finished tokenizer, or "smollm2".
        near_duplicate: Jaccard similarity of word 5-grams above which a document is a near duplicate.
        decontaminate: words in a row shared with an evaluation row that make a document contaminated.
        evaluation: evaluation tasks to decontaminate against ("none" when the list is empty).
        heldout: shares of the services held out for validation and for test.
        instructions, preferences, requests: most rows of each in the train split; 0 takes all.
        workers: processes of the datatrove executor.
        executor: local | slurm | ray.
    """

    sources: tuple[SourceConfig, ...] = (SourceConfig("botocore"), SourceConfig("cpython"))
    max_bytes: int = 16_000_000
    service_cap: float = 0.03
    vocab_size: int = 2048
    tokenizer: str = "train"
    near_duplicate: float = 0.8
    decontaminate: int = 13
    evaluation: tuple[str, ...] = ("arc_easy", "sciq", "piqa", "hellaswag", "openbookqa", "boolq")
    heldout: tuple[float, float] = (0.04, 0.08)
    instructions: int = 12_000
    preferences: int = 8_000
    requests: int = 6_000
    workers: int = 2
    executor: Literal["local", "slurm", "ray"] = "local"


@dataclass(frozen=True)
class PlanConfig:
    """Step 2. What a preset does not say is assumed here; the plan prints every assumption with its flag.

    Args:
        cluster: instance type and count, e.g. p5.48xlarge:256; "local" is this machine.
        tokens: pretraining tokens, e.g. 8T, 300B, 2.4M or 8e12; 0 takes the pretrain section's own.
        mfu: model FLOPs utilisation of training; 0 derives it from the roofline.
        matrix_efficiency: share of the peak that matrix units reach in a model's products; 0 takes the accelerator's row.
        memory_efficiency: share of its bandwidth that memory reaches.
        network_efficiency: share of its bandwidth that a link reaches, in a machine and between machines.
        gather_bytes: bytes of a weight that travels between shards; 0 takes those it is kept in.
        overlap: share of the sharding traffic that hides behind computation, as far as there is enough of it.
        mtbf: hours that one device runs between two interruptions of the job that it is part of.
        restart_minutes: from an interruption to the first new step.
        storage: GB/s at which one machine writes checkpoints.
        price: which of a machine's prices is paid; a block is bought beforehand, spot may be taken away.
        power: share of a machine's largest power that it draws under load.
        pue: power usage effectiveness of the data centre.
        region: AWS region, for carbon.
        serve: instance type and count that serves; empty takes one machine of the cluster.
        serve_prompt: tokens of a request's prompt.
        serve_answer: tokens of its answer.
        serve_batch: most requests decoded at once by one copy of the model.
        serve_load: share of the time that the serving machines are busy.
    """

    cluster: str = "local"
    tokens: float | str = 0.0
    mfu: float = 0.0
    matrix_efficiency: float = 0.0
    memory_efficiency: float = 0.8
    network_efficiency: float = 0.8
    gather_bytes: int = 0
    overlap: float = 0.9
    mtbf: float = 50_677.0
    restart_minutes: float = 10.0
    storage: float = 2.0
    price: Literal["on-demand", "block", "spot"] = "on-demand"
    power: float = 0.76
    pue: float = 1.2
    region: str = "us-east-1"
    serve: str = ""
    serve_prompt: int = 1024
    serve_answer: int = 256
    serve_batch: int = 256
    serve_load: float = 0.5


@dataclass(frozen=True)
class ModelCheckConfig:
    """Step 3: the training code checks itself on this machine.

    Args:
        tolerance: largest difference of logits from transformers, fp32.
        steps: optimiser steps in which one batch must be learnt by heart.
    """

    tolerance: float = 1e-4
    steps: int = 20
    compute: ComputeConfig = field(default_factory=ComputeConfig)


@dataclass(frozen=True)
class PretrainConfig:
    """Step 4: next token.

    Args:
        init_from: "" starts from random weights; "smollm2" or a Hugging Face folder starts from those.
        tokens: training tokens in all.
        context: tokens of one row.
        batch_tokens: tokens of one optimiser step over all devices.
        micro_batch: rows of one forward on one device.
        validate_every, sample_every, checkpoint_every: in optimiser steps.
        heldout_rows: rows of the held-out text that are scored at the end, evenly spread; 0 takes all.
        document_mask: attention does not cross document borders and positions restart there.
        z_loss: weight of the squared log-partition term (PaLM, arXiv:2204.02311), keeps logits from drifting.
    """

    init_from: str = ""
    tokens: float = 1e6
    context: int = 256
    batch_tokens: int = 4096
    micro_batch: int = 16
    validate_every: int = 200
    sample_every: int = 400
    checkpoint_every: int = 100
    heldout_rows: int = 0
    document_mask: bool = True
    z_loss: float = 0.0
    optim: OptimConfig = field(default_factory=OptimConfig)
    compute: ComputeConfig = field(default_factory=ComputeConfig)
    parallel: ParallelConfig = field(default_factory=ParallelConfig)

    def __post_init__(self) -> None:
        if self.batch_tokens % self.context:
            raise ValueError(f"pretrain.batch_tokens is {self.batch_tokens}; it must be a multiple of context ({self.context})")

    @property
    def steps(self) -> int:
        """Optimiser steps."""
        return max(0, round(self.tokens / self.batch_tokens))


@dataclass(frozen=True)
class FinetuneConfig:
    """Step 5a: supervised fine-tuning, loss on assistant tokens only.

    Args:
        data: "corpus" or a JSONL file of conversations, or a Hugging Face data set by name.
        steps: optimiser steps.
        batch_tokens: most tokens of one step (rows are packed end to end).
        context: longest conversation in tokens; longer ones are left out and counted.
        eval_rows: held-out conversations for the loss and the exact matches.
    """

    data: str = "corpus"
    steps: int = 300
    batch_tokens: int = 4096
    context: int = 384
    eval_rows: int = 200
    checkpoint_every: int = 100
    optim: OptimConfig = field(default_factory=OptimConfig)
    compute: ComputeConfig = field(default_factory=ComputeConfig)


@dataclass(frozen=True)
class RewardConfig:
    """Step 5b: reward model from preference pairs (Bradley-Terry).

    Args:
        data: "corpus", a JSONL file of preferences, a Hugging Face data set by name, or "hh-rlhf" (hub or local file).
        fallback: used when `data` cannot be had; which one was used is in the summary.
        pool: the score reads the last token or the mean over the answer.
        margin: score gap asked for; center: weight of the squared sum of the two scores, keeps scores near 0.
    """

    data: str = "corpus"
    fallback: str = "corpus"
    steps: int = 200
    batch_pairs: int = 32
    context: int = 256
    eval_rows: int = 400
    pool: Literal["last", "mean"] = "last"
    margin: float = 0.0
    center: float = 0.01
    freeze: bool = False
    checkpoint_every: int = 100
    optim: OptimConfig = field(default_factory=OptimConfig)
    compute: ComputeConfig = field(default_factory=ComputeConfig)


@dataclass(frozen=True)
class RlhfConfig:
    """Step 5c: policy optimisation.

    Args:
        algorithm: grpo (group mean baseline, no std) | rloo (leave one out).
        reward_model: weight of the learned reward beside the verifiable one.
        steps: rollout rounds; prompts, group: prompts a round and answers a prompt; epochs, minibatches: passes over each round.
        max_tokens: longest answer.
        clip_low, clip_high: ratio limits (clip-higher of DAPO, arXiv:2503.14476).
        kl: weight of the KL penalty to the input model (k3 estimator); kl_limit: nats a token above which training stops at the last good weights.
    """

    algorithm: Literal["grpo", "rloo"] = "grpo"
    reward_model: float = 0.25
    steps: int = 40
    prompts: int = 16
    group: int = 8
    epochs: int = 1
    minibatches: int = 2
    max_tokens: int = 64
    temperature: float = 1.0
    clip_low: float = 0.2
    clip_high: float = 0.28
    kl: float = 0.02
    kl_limit: float = 0.5
    eval_rows: int = 200
    checkpoint_every: int = 10
    optim: OptimConfig = field(default_factory=OptimConfig)
    compute: ComputeConfig = field(default_factory=ComputeConfig)


@dataclass(frozen=True)
class ConstitutionalConfig:
    """Step 6.

    Args:
        constitution: YAML of principles.
        judge: "checks" (each principle's programmatic check), "self" (the model under training) or the URL of a Bedrock endpoint,
            which answers for judge_model.
        samples: answers drawn for each prompt; revisions: most tries for a revision that passes.
        prompts: training prompts for each principle.
        steps: optimiser steps of the supervised part; preference_steps: of the AI-feedback part (DPO).
    """

    constitution: str = "tenet/constitution.yaml"
    judge: str = "checks"
    judge_model: str = "tenet.assistant-v1:0"
    samples: int = 1
    revisions: int = 8
    prompts: int = 120
    eval_prompts: int = 60
    max_tokens: int = 64
    steps: int = 150
    preference_steps: int = 60
    beta: float = 0.1
    batch_tokens: int = 4096
    checkpoint_every: int = 50
    optim: OptimConfig = field(default_factory=OptimConfig)
    preference_optim: OptimConfig = field(default_factory=lambda: OptimConfig(lr=3e-4))
    compute: ComputeConfig = field(default_factory=ComputeConfig)


@dataclass(frozen=True)
class RedteamConfig:
    """Step 7.

    Args:
        goals: YAML of goals and benign look-alikes; most_goals: of each split, harmful and harmless, that are attacked, 0 takes all.
        rounds: times to attack, fix and attack again.
        variants: further wordings of each train goal that the fix learns from; documented: pairs of goals from the documentation beside them.
        steps: optimiser steps of one fix.
        max_over_refusal, max_attack_rise: largest rise of the share of harmless look-alikes declined, and of attacks that succeed, at which
            a fix that mends the other direction is promoted; max_principles_rise: of the constitution's held-out prompts answered wrongly.
    """

    goals: str = "tenet/redteam/goals.yaml"
    most_goals: int = 0
    rounds: int = 1
    variants: int = 3
    documented: int = 300
    steps: int = 150
    max_tokens: int = 48
    max_over_refusal: float = 0.05
    max_attack_rise: float = 0.05
    max_principles_rise: float = 0.05
    batch_tokens: int = 4096
    checkpoint_every: int = 50
    optim: OptimConfig = field(default_factory=OptimConfig)
    compute: ComputeConfig = field(default_factory=ComputeConfig)


@dataclass(frozen=True)
class EvaluateConfig:
    """Step 8.

    Args:
        tasks: names of files in tenet/evaluate/tasks.
        rows: rows of each task (the first ones of a seeded shuffle); 0 takes all.
    """

    tasks: tuple[str, ...] = ("arc_easy", "sciq", "piqa", "aws_description", "aws_operation", "aws_tool")
    rows: int = 100
    max_tokens: int = 64
    compute: ComputeConfig = field(default_factory=ComputeConfig)


@dataclass(frozen=True)
class DeployConfig:
    """Step 9.

    Args:
        store: folder or s3://bucket/prefix of the weights store; empty is the stage's own folder.
        keep: versions kept for rollback.
        probe_tokens: length of the fixed answer that the copy must give as the checkpoint does.
    """

    store: str = ""
    keep: int = 3
    probe_tokens: int = 16


@dataclass(frozen=True)
class ServeConfig:
    """Step 10.

    Args:
        model_id: id under which clients ask for the model.
        aliases: further ids.
        host, port: where to listen; port 0 takes a free one.
        tls: self-signed, CERT,KEY (files), proxy (TLS ends in front), or empty for http on loopback.
        engine: torch, openvino (CPU), vllm (GPU) or echo (answers with the question, for tests of clients); dtype: number format of the weights.
        engine_process: torch and openvino compute in a process of their own, which is replaced when it dies.
        max_concurrency: requests decoded at once; queue: requests that may wait.
        key_concurrency: open requests of one key; key_tokens_per_minute: its prompt and answer tokens; 0 is no limit.
        max_tokens: longest answer when the client does not say.
        threads: CPU threads of the engine; 0 keeps its own choice.
        guardrails: YAML file of guardrails that requests may name.
        imports: folder with checkpoints that model import jobs may load.
        chat: serve a page to talk to the model at /chat.
        traces: send OpenTelemetry spans to OTEL_EXPORTER_OTLP_ENDPOINT.
        load_seconds: between two lines of the log that say how many requests run and wait; 0 writes none.
    """

    model_id: str = "tenet.assistant-v1:0"
    aliases: tuple[str, ...] = ()
    host: str = "127.0.0.1"
    port: int = 8080
    tls: str = ""
    engine: str = "torch"
    dtype: str = "fp32"
    engine_process: bool = True
    max_concurrency: int = 16
    queue: int = 64
    key_concurrency: int = 0
    key_tokens_per_minute: int = 0
    max_tokens: int = 256
    threads: int = 0
    guardrails: str = ""
    imports: str = ""
    chat: bool = False
    traces: bool = False
    load_seconds: int = 0


@dataclass(frozen=True)
class Preset:
    """One size: every stage's settings."""

    name: str
    about: str
    model: ModelConfig
    corpus: CorpusConfig = field(default_factory=CorpusConfig)
    plan: PlanConfig = field(default_factory=PlanConfig)
    check: ModelCheckConfig = field(default_factory=ModelCheckConfig)
    pretrain: PretrainConfig = field(default_factory=PretrainConfig)
    finetune: FinetuneConfig = field(default_factory=FinetuneConfig)
    reward: RewardConfig = field(default_factory=RewardConfig)
    rlhf: RlhfConfig = field(default_factory=RlhfConfig)
    constitutional: ConstitutionalConfig = field(default_factory=ConstitutionalConfig)
    redteam: RedteamConfig = field(default_factory=RedteamConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    deploy: DeployConfig = field(default_factory=DeployConfig)
    serve: ServeConfig = field(default_factory=ServeConfig)

    def __post_init__(self) -> None:
        if self.pretrain.context > self.model.max_position_embeddings:
            raise ValueError(
                f"pretrain.context is {self.pretrain.context}, longer than model.max_position_embeddings "
                f"({self.model.max_position_embeddings})"
            )


def preset_names() -> list[str]:
    """Presets in the repository, smallest first as the file system cannot know: by parameter count."""
    names = [path.stem for path in PRESETS.glob("*.yaml")]
    return sorted(names, key=lambda name: load_preset(name).model.parameters())


def load_preset(name: str) -> Preset:
    """Read and check `presets/NAME.yaml` (or the path of a YAML file).

    Raises:
        ConfigError: names the file and the key.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else PRESETS / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in PRESETS.glob("*.yaml")))
        raise ConfigError(f"--preset {name}: no such preset; there are {known}, or give the path of a YAML file")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML ({error})") from None
    return build(Preset, {"name": path.stem, **(content or {})}, str(path))


def build(kind: type, values: dict[str, Any], where: str) -> Any:
    """Fill a typed dataclass from plain values with jsonargparse.

    Raises:
        ConfigError: unknown key, missing key, wrong type or a combination that the class refuses.
    """
    from jsonargparse import ArgumentError, ArgumentParser

    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(kind, "value")
    try:
        parsed = parser.parse_object({"value": values})
        return parser.instantiate(parsed).value
    except (ArgumentError, ValueError, TypeError) as error:
        raise ConfigError(f"{where}: {str(error).strip()}") from None


def replace_section(preset: Preset, section: str, config: Any) -> Preset:
    """The preset with one stage's settings replaced by those that flags gave."""
    return dataclasses.replace(preset, **{section: config})


def plain(value: Any) -> Any:
    """Nested settings as dicts and lists, the form that YAML and jsonargparse share."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return plain(dataclasses.asdict(value))
    if hasattr(value, "as_dict"):
        return plain(value.as_dict())
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value
