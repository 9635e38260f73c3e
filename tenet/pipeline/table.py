"""The pipeline in one table: every stage of the ten steps, what it reads and what its result depends on."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tenet.settings.corpus import CorpusConfig
from tenet.settings.evaluate import EvaluateConfig
from tenet.settings.plan import PlanConfig
from tenet.settings.safety import ConstitutionalConfig, RedteamConfig
from tenet.settings.serving import DeployConfig, ServeConfig
from tenet.settings.training import DpoConfig, FinetuneConfig, ModelCheckConfig, PretrainConfig, RewardConfig, RlhfConfig


@dataclass(frozen=True)
class Stage:
    """One row of the table.

    Args:
        name: CLI word, module, notebook, sky file and folder.
        step: which of the ten steps it belongs to.
        settings: its config class.
        section: field of the preset.
        about: what it does, for `--help`.
        reads: stages whose finished folders it reads where they are part of the run, beside the one that it starts
            from.
        starts: it starts from a model: the nearest policy stage before it, or what `start_from` names.
        compares: it reads every policy stage before it.
        own: setting -> part of the domain that it takes where the setting names nothing; a run without either leaves
            the stage out.
        domain: parts of the domain that its result depends on.
        foreign: settings of other sections that its result depends on, by dotted name (`Workspace.setting`).
        distributed: it trains on all processes that torchrun started; the others run on the first one alone.
        usual: part of a run whose preset names no pipeline.
        result: its settings say what is computed; those of `serve` say how one serves, which is no result.
    """

    name: str
    step: int
    settings: type
    section: str
    about: str
    reads: tuple[str, ...] = ()
    starts: bool = False
    compares: bool = False
    own: Mapping[str, str] = field(default_factory=dict)
    domain: tuple[str, ...] = ()
    foreign: tuple[str, ...] = ()
    distributed: bool = False
    usual: bool = True
    result: bool = True

    def module(self) -> Any:
        """Import lazily: `tenet --help` must not wait for torch."""
        return importlib.import_module(f"tenet.stages.{'training.' if self.starts else ''}{self.name}")


_TABLE = (
    Stage(
        "corpus", 1, CorpusConfig, "corpus", "collect, filter and tokenise training text",
        own={"sources": "sources"},
        domain=("sources", "conversations", "preferences", "prompts", "rows", "words"),
        foreign=("model.max_position_embeddings",),
    ),
    Stage(
        "plan", 2, PlanConfig, "plan", "parameters, FLOPs, time, money and electricity before anything runs",
        domain=("constitution", "goals"),
        foreign=("model", "pretrain", "finetune", "dpo", "reward", "rlhf", "constitutional", "redteam", "evaluate"),
    ),
    Stage(
        "model", 3, ModelCheckConfig, "check", "check the training code on this machine",
        reads=("corpus",),
        foreign=("model", "pretrain.context", "pretrain.micro_batch", "pretrain.document_mask", "pretrain.optim"),
    ),
    Stage(
        "pretrain", 4, PretrainConfig, "pretrain", "next-token training",
        reads=("corpus", "model"), starts=True, domain=("sample_prompts", "words"), foreign=("model",), distributed=True,
    ),
    Stage(
        "finetune", 5, FinetuneConfig, "finetune", "supervised fine-tuning on conversations",
        reads=("corpus",), starts=True, own={"data": "conversations"}, domain=("words",), distributed=True,
    ),
    Stage(
        "dpo", 5, DpoConfig, "dpo", "learn from preferences without a reward model",
        reads=("corpus",), starts=True, own={"data": "preferences"}, domain=("words",), distributed=True, usual=False,
    ),
    Stage(
        "reward", 5, RewardConfig, "reward", "reward model from preference pairs",
        starts=True, own={"data": "preferences"}, domain=("words",), distributed=True,
    ),
    Stage(
        "rlhf", 5, RlhfConfig, "rlhf", "policy optimisation with a KL limit",
        reads=("corpus", "reward"), starts=True, own={"data": "prompts"}, domain=("words", "rows"),
        distributed=True,
    ),
    Stage(
        "constitutional", 6, ConstitutionalConfig, "constitutional", "critique, revision and AI feedback",
        reads=("corpus",), starts=True, own={"constitution": "constitution"}, domain=("constitution", "rows"),
        foreign=("finetune.context", "finetune.data", "corpus.heldout"), distributed=True,
    ),
    Stage(
        "redteam", 7, RedteamConfig, "redteam", "find failures, fix them, prove the fix",
        reads=("corpus", "constitutional"), starts=True, own={"goals": "goals"}, domain=("goals", "rows"),
        foreign=("finetune.context", "finetune.data", "corpus.heldout"), distributed=True,
    ),
    Stage(
        "evaluate", 8, EvaluateConfig, "evaluate", "benchmark tasks, all checkpoints side by side",
        reads=("corpus",), compares=True, domain=("tasks", "key_task", "rows"),
    ),
    Stage(
        "deploy", 9, DeployConfig, "deploy", "put verified weights where a server takes them from",
        reads=("constitutional", "redteam", "evaluate"), compares=True, domain=("probe",),
    ),
    Stage(
        "serve", 10, ServeConfig, "serve", "answer over the Bedrock Runtime API",
        reads=("deploy",), domain=("probe",), result=False,
    ),
)  # fmt: skip
STAGES: dict[str, Stage] = {stage.name: stage for stage in _TABLE}
