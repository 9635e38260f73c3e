"""`run_stage` is the only way any stage is started."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning_modules.distributed import ranks
from lightning_modules.training import loggers
from tenet.domains.domain import Domain
from tenet.domains.loading import load_domain
from tenet.errors import ConfigError
from tenet.pipeline.chain import PACKAGED, WAY_OUT, Chain, chain, domain_values, foreign_settings, input_files, lacks
from tenet.pipeline.counts import counts
from tenet.pipeline.table import STAGES
from tenet.runs.execute import execute
from tenet.runs.heartbeat import Heartbeat
from tenet.runs.summary import Summary
from tenet.runs.workspace import Progress, Workspace
from tenet.settings.preset import Preset, load_preset, replace_section


def run_stage(
    run: Path,
    name: str,
    preset: str | Preset,
    *,
    settings: Any = None,
    domain: str | None = None,
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
        domain: name or folder of the subject; the preset's own when left out.

    Returns:
        the stage's `run.json`.

    Raises:
        ConfigError: an unknown stage, or one that lacks its part of the domain.
    """
    if name not in STAGES:
        raise ConfigError(f"stage {name!r}: there are {', '.join(STAGES)}")
    stage = STAGES[name]
    whole = load_preset(preset) if isinstance(preset, str) else preset
    settings = settings if settings is not None else getattr(whole, stage.section)
    whole = replace_section(whole, stage.section, settings)
    chained = chain(whole, domain_of(whole, domain))
    if reason := lacks(name, whole, chained.domain):
        raise ConfigError(f"{name}: {reason}; {WAY_OUT}")
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
        chained.reads(name),
        settings,
        body,
        seed=seed,
        foreign={**foreign_settings(name, whole), **domain_values(chained.domain, stage.domain)},
        files=input_files(name, chained),
        packages=chained.domain.packages if chained.domain else (),
        workspace={
            "preset": whole,
            "parallel": whole.pretrain.parallel,
            "domain": chained.domain,
            "start": start_folder(run, name, chained),
            "policies": chained.policies(name),
            "counts": counts(whole, chained.domain) if name == "plan" else None,
        },
        fresh=fresh,
        progress=progress,
        distributed=stage.distributed,
        result=stage.result,
    )


def domain_of(preset: Preset, domain: str | None = None) -> Domain | None:
    """The subject of a run; None where neither the preset nor the caller names one."""
    name = preset.domain if domain is None else domain
    return load_domain(name) if name else None


def start_folder(run: Path, name: str, chained: Chain) -> Path | None:
    """Where the model lies that a stage starts from; None for random weights and packaged ones."""
    if not STAGES[name].starts:
        return None
    start = chained.start(name)
    if start in STAGES:
        return run / start / "model"
    return Path(start) if start and start not in PACKAGED else None
