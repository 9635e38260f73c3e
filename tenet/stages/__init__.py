"""The pipeline in one table. A stage is one file here; `run_stage` is the only way any of them is started."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning_modules.distributed import ranks
from lightning_modules.training import loggers
from tenet.errors import ConfigError
from tenet.runs.execute import execute
from tenet.runs.heartbeat import Heartbeat
from tenet.runs.summary import Summary
from tenet.runs.workspace import Progress, Workspace
from tenet.settings.corpus import CorpusConfig
from tenet.settings.evaluate import EvaluateConfig
from tenet.settings.plan import PlanConfig
from tenet.settings.preset import Preset, load_preset, replace_section
from tenet.settings.safety import ConstitutionalConfig, RedteamConfig
from tenet.settings.serving import DeployConfig, ServeConfig
from tenet.settings.training import FinetuneConfig, ModelCheckConfig, PretrainConfig, RewardConfig, RlhfConfig


@dataclass(frozen=True)
class Stage:
    """One row of the table.

    Args:
        name: CLI word, module, notebook, sky file and folder.
        step: which of the ten steps it belongs to.
        reads: stages whose finished folders it reads.
        settings: its config class.
        section: field of the preset.
        about: what it does, for `--help`.
        together: it trains on all processes that torchrun started; the others run on the first one alone.
    """

    name: str
    step: int
    reads: tuple[str, ...]
    settings: type
    section: str
    about: str
    together: bool = False

    def module(self) -> Any:
        """Import lazily: `tenet --help` must not wait for torch."""
        return importlib.import_module(f"tenet.stages.{self.name}")


STAGES: dict[str, Stage] = {
    stage.name: stage
    for stage in (
        Stage("corpus", 1, (), CorpusConfig, "corpus", "collect, filter and tokenise training text"),
        Stage("plan", 2, (), PlanConfig, "plan", "parameters, FLOPs, time, money and electricity before anything runs"),
        Stage("model", 3, ("corpus",), ModelCheckConfig, "check", "check the training code on this machine"),
        Stage("pretrain", 4, ("corpus", "model"), PretrainConfig, "pretrain", "next-token training", True),
        Stage(
            "finetune",
            5,
            ("corpus", "pretrain"),
            FinetuneConfig,
            "finetune",
            "supervised fine-tuning on conversations",
            True,
        ),
        Stage("reward", 5, ("corpus", "finetune"), RewardConfig, "reward", "reward model from preference pairs", True),
        Stage("rlhf", 5, ("corpus", "finetune", "reward"), RlhfConfig, "rlhf", "policy optimisation with a KL limit", True),
        Stage(
            "constitutional",
            6,
            ("corpus", "rlhf"),
            ConstitutionalConfig,
            "constitutional",
            "critique, revision and AI feedback",
            True,
        ),
        Stage(
            "redteam",
            7,
            ("corpus", "constitutional"),
            RedteamConfig,
            "redteam",
            "find failures, fix them, prove the fix",
            True,
        ),
        Stage(
            "evaluate",
            8,
            ("corpus", "pretrain", "finetune", "rlhf", "constitutional", "redteam"),
            EvaluateConfig,
            "evaluate",
            "benchmark tasks, all checkpoints side by side",
        ),
        Stage(
            "deploy",
            9,
            ("constitutional", "redteam", "evaluate"),
            DeployConfig,
            "deploy",
            "put verified weights where a server takes them from",
        ),
        Stage("serve", 10, ("corpus", "deploy"), ServeConfig, "serve", "answer over the Bedrock Runtime API"),
    )
}


def run_stage(
    run: Path,
    name: str,
    preset: str | Preset,
    *,
    settings: Any = None,
    seed: int = 0,
    fresh: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Run one stage, or return at once when it is finished with the same inputs and settings.

    Args:
        run: run folder.
        name: a key of STAGES.
        preset: name, path or the preset itself.
        settings: the stage's config; the preset's own section when left out.

    Returns:
        the stage's `run.json`.
    """
    if name not in STAGES:
        raise ConfigError(f"stage {name!r}: there are {', '.join(STAGES)}")
    stage = STAGES[name]
    whole = load_preset(preset) if isinstance(preset, str) else preset
    settings = settings if settings is not None else getattr(whole, stage.section)
    whole = replace_section(whole, stage.section, settings)
    try:
        loggers.chosen()
    except ValueError as error:
        raise ConfigError(str(error)) from None
    progress = Heartbeat(run, name, progress) if ranks.is_first() else progress

    def body(chosen: Any, workspace: Workspace) -> Summary:
        summary: Summary = stage.module().run(chosen, workspace)
        return summary

    return execute(
        run,
        name,
        stage.reads,
        settings,
        body,
        seed=seed,
        preset=whole,
        fresh=fresh,
        progress=progress,
        together=stage.together,
    )
