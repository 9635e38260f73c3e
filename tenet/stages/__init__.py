"""The pipeline in one table. A stage is one file here; `run_stage` is the only way any of them is started."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning_modules import loggers, ranks
from tenet import config, runs
from tenet.config import Preset
from tenet.errors import ConfigError
from tenet.heartbeat import Heartbeat


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
        Stage("corpus", 1, (), config.CorpusConfig, "corpus", "collect, filter and tokenise training text"),
        Stage("plan", 2, (), config.PlanConfig, "plan", "parameters, FLOPs, time, money and electricity before anything runs"),
        Stage("model", 3, ("corpus",), config.ModelCheckConfig, "check", "check the training code on this machine"),
        Stage("pretrain", 4, ("corpus", "model"), config.PretrainConfig, "pretrain", "next-token training", True),
        Stage(
            "finetune",
            5,
            ("corpus", "pretrain"),
            config.FinetuneConfig,
            "finetune",
            "supervised fine-tuning on conversations",
            True,
        ),
        Stage("reward", 5, ("corpus", "finetune"), config.RewardConfig, "reward", "reward model from preference pairs", True),
        Stage(
            "rlhf", 5, ("corpus", "finetune", "reward"), config.RlhfConfig, "rlhf", "policy optimisation with a KL limit", True
        ),
        Stage(
            "constitutional",
            6,
            ("corpus", "rlhf"),
            config.ConstitutionalConfig,
            "constitutional",
            "critique, revision and AI feedback",
            True,
        ),
        Stage(
            "redteam",
            7,
            ("corpus", "constitutional"),
            config.RedteamConfig,
            "redteam",
            "find failures, fix them, prove the fix",
            True,
        ),
        Stage(
            "evaluate",
            8,
            ("corpus", "pretrain", "finetune", "rlhf", "constitutional", "redteam"),
            config.EvaluateConfig,
            "evaluate",
            "benchmark tasks, all checkpoints side by side",
        ),
        Stage(
            "deploy",
            9,
            ("constitutional", "redteam", "evaluate"),
            config.DeployConfig,
            "deploy",
            "put verified weights where a server takes them from",
        ),
        Stage("serve", 10, ("corpus", "deploy"), config.ServeConfig, "serve", "answer over the Bedrock Runtime API"),
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
    progress: runs.Progress | None = None,
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
    whole = config.load_preset(preset) if isinstance(preset, str) else preset
    settings = settings if settings is not None else getattr(whole, stage.section)
    whole = config.replace_section(whole, stage.section, settings)
    try:
        loggers.chosen()
    except ValueError as error:
        raise ConfigError(str(error)) from None
    progress = Heartbeat(run, name, progress) if ranks.is_first() else progress

    def body(chosen: Any, workspace: runs.Workspace) -> runs.Summary:
        summary: runs.Summary = stage.module().run(chosen, workspace)
        return summary

    return runs.execute(
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
