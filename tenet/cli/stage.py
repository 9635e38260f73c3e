"""One stage from the command line: preset, then file, then flags; what `tenet STAGE` does."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tenet.errors import ConfigError
from tenet.flags import help_formatter, named_domain, settings_flags
from tenet.pipeline.chain import OWN, WAY_OUT, chain, lacks
from tenet.pipeline.run import domain_of, run_stage
from tenet.pipeline.table import STAGES, Stage
from tenet.settings.build import build, plain
from tenet.settings.preset import Preset, load_preset, replace_section

#: What a stage can do on data and models of one's own, in the words of its help.
EXAMPLES = {
    "corpus": "tenet corpus --sources ./books articles.parquet owner/name --run runs/mine\n"
    "  tenet corpus --domain my_assistant --executor slurm --workers 64 --run runs/mine\n"
    "  tenet corpus inspect | card | rebuild | sweep | quality | toxicity --help      look into it, make it again, train its filters",
    "finetune": "tenet finetune --model DIR --data conversations.jsonl --run runs/mine",
    "dpo": "tenet dpo --model DIR --data pairs.jsonl --run runs/mine",
    "reward": "tenet reward --model DIR --data pairs.jsonl --run runs/mine",
    "rlhf": "tenet rlhf --model DIR --data prompts.jsonl --run runs/mine",
    "constitutional": "tenet constitutional --model DIR --constitution mine.yaml --run runs/mine",
    "redteam": "tenet redteam --model DIR --goals goals.yaml --out report      (no run: attack, judge, report)\n"
    "  tenet redteam --endpoint URL --model-id ID --goals goals.yaml --out report",
    "evaluate": "tenet evaluate --model DIR --tasks arc_easy,my_task.yaml --limit 200 --run runs/mine\n"
    "  tenet evaluate --endpoint URL --model-id ID --tasks core --run runs/theirs      (core, tiny: suites)\n"
    "  tenet evaluate list | check | compare --help      what can be asked, a task of your own, is B better than A",
}


def stage_command(name: str, words: Sequence[str]) -> int:
    """Run (or describe) one stage; returns the exit code."""
    stage = STAGES[name]
    if name == "corpus":
        from tenet.cli.corpus.corpus_tools import source_flags

        words = source_flags(words)
    if name == "evaluate":
        from tenet.cli.evaluate_tools import short_flags

        words = short_flags(words)
    words = settings_flags(words, stage.settings)
    preset = load_preset(peek(words, "--preset", "tiny"))
    parser = stage_parser(stage, preset, peek(words, "--preset", "tiny"))
    parsed = _parse(parser, stage, words)
    values = {field.name: parsed[field.name] for field in dataclasses.fields(stage.settings)}
    settings = _with_model(stage, build(stage.settings, plain(values), f"tenet {name}"), parsed)
    whole = replace_section(preset, stage.section, settings)
    if (domain := named_domain(parsed.domain)) is not None:
        whole = dataclasses.replace(whole, domain=domain)
    whole = dataclasses.replace(whole, pipeline=_around(stage, whole, settings, Path(parsed.run)))
    if parsed.dry_run:
        return dry_run(stage, whole, Path(parsed.run), parsed.seed)
    if name == "plan" and (done := _plan(parsed, whole, words)) is not None:
        return done
    if name == "serve" and parsed.model:
        from tenet.serving.server.server import serve

        serve(settings, Path(parsed.model), parsed.credentials)
        return 0
    return _run(stage, whole, settings, parsed)


def _around(stage: Stage, whole: Preset, settings: Any, run: Path) -> tuple[str, ...]:
    """The pipeline that one stage is run in: the preset's, or itself alone where it works on what comes from elsewhere."""
    start = getattr(settings, "start_from", "")
    if getattr(settings, "models", ()):
        return (*_finished(stage, run), stage.name)
    if not start or start in STAGES or stage.name == "pretrain":
        return whole.pipeline
    if "data" not in stage.own:
        # The model has nothing to do with what this run made before.
        return (stage.name,)
    if settings.data in ("", OWN):
        return whole.pipeline
    return (*_finished(stage, run), stage.name)


def _finished(stage: Stage, run: Path) -> list[str]:
    """What the run happens to have of what a stage reads (plain text, held-out rows, a domain's reward model): it is
    used, and nothing else is needed."""
    return [other for other in STAGES if other in stage.reads and (run / other / "run.json").is_file()]


def stage_parser(stage: Stage, preset: Preset, preset_name: str) -> Any:
    """The flags of one stage, with the preset's values as their defaults."""
    import jsonargparse

    name = stage.name
    example = f"tenet {name} --preset tiny --run runs/demo"
    text = f"examples:\n  {example}\n  {EXAMPLES[name]}" if name in EXAMPLES else f"example: {example}"
    if name == "plan":
        from tenet.planning.forecast import EXAMPLES as text
    parser = jsonargparse.ArgumentParser(
        prog=f"tenet {name}",
        description=f"{stage.about} (step {stage.step})\n\n{text}",
        exit_on_error=False,
        formatter_class=help_formatter(),
    )
    parser.add_argument("--preset", type=str, default="tiny", help="size: a name in presets/ or a YAML file")
    parser.add_argument(
        "--domain", type=str, help="subject: a built-in domain or the folder of one (default: $TENET_DOMAIN, or the preset's)"
    )
    parser.add_argument("--run", type=str, default=f"runs/{Path(preset_name).stem}", help="run folder")
    parser.add_argument("--seed", type=int, default=0, help="all randomness comes from it")
    parser.add_argument("--fresh", action="store_true", help="set an existing folder of this stage aside and start anew")
    parser.add_argument("--dry-run", action="store_true", help="check the settings and inputs, say what would run and stop")
    if stage.starts or stage.name == "evaluate":
        parser.add_argument(
            "--model", type=str, default="", help="Hugging Face folder to work on, in place of an earlier stage's"
        )
    if name == "evaluate":
        parser.add_argument("--endpoint", type=str, default="", help="URL of a Bedrock endpoint to evaluate")
    if name == "plan":
        _plan_flags(parser)
    if name == "serve":
        parser.add_argument("--once", action="store_true", help="prove that it answers, then stop instead of serving on")
        parser.add_argument("--model", type=str, default="", help="serve this Hugging Face folder; no run is needed")
        parser.add_argument(
            "--credentials", type=str, default="", help="key file (made with mode 0600 when missing), or dynamodb:TABLE"
        )
    parser.add_argument("--config", action="config", help="YAML with settings, on top of the preset")
    parser.add_class_arguments(stage.settings, None)
    parser.set_defaults(plain(dataclasses.asdict(getattr(preset, stage.section))))
    return parser


def _plan_flags(parser: Any) -> None:
    parser.add_argument("--json", action="store_true", help="print the plan as JSON")
    parser.add_argument(
        "--fit", action="store_true", help="choose sharding, micro-batch and recomputation: the cheapest that fits"
    )
    parser.add_argument("--deadline-days", type=float, default=0.0, help="--fit, with at most the cluster's machines, in time")
    parser.add_argument("--all", action="store_true", help="one line for every preset on its own cluster")


def _parse(parser: Any, stage: Stage, words: Sequence[str]) -> Any:
    import jsonargparse

    try:
        return parser.parse_args(list(words))
    except jsonargparse.ArgumentError as error:
        raise ConfigError(f"{' '.join(str(error).split())}; `tenet {stage.name} --help` lists the settings") from None


def _with_model(stage: Stage, settings: Any, parsed: Any) -> Any:
    """`--model` and `--endpoint` as the settings that they stand for."""
    if stage.name == "evaluate":
        named = tuple(value for value in (parsed.model, parsed.endpoint) if value)
        return dataclasses.replace(settings, models=(*named, *settings.models)) if named else settings
    return dataclasses.replace(settings, start_from=parsed.model) if stage.starts and parsed.model else settings


def _plan(parsed: Any, whole: Preset, words: Sequence[str]) -> int | None:
    """A plan that is only printed; None when one is to be written into a run."""
    writes = "--run" in " ".join(words)
    if writes and (parsed.fit or parsed.deadline_days or parsed.all or parsed.json):
        raise ConfigError("--fit, --deadline-days, --all and --json print a plan, --run writes one; leave one of them out")
    if writes:
        return None
    from tenet.planning.forecast import overview_text, plan_text

    if parsed.all:
        print(overview_text(), end="")
        return 0
    from tenet.pipeline.counts import counts

    found = counts(whole, domain_of(whole))
    text = plan_text(whole, whole.plan, parsed.json, parsed.fit, parsed.deadline_days, found)
    print(text, end="")
    return 0


def _run(stage: Stage, whole: Preset, settings: Any, parsed: Any) -> int:
    from lightning_modules.distributed import ranks
    from tenet.runs.lineage import summary_of
    from tenet.runs.progress import StageProgress, console

    run = Path(parsed.run)

    def work(progress: StageProgress | None) -> dict[str, Any]:
        return run_stage(run, stage.name, whole, seed=parsed.seed, fresh=parsed.fresh, progress=progress)

    if not ranks.is_first():
        work(None)
        return 0
    with StageProgress(f"{stage.step} {stage.name}") as progress:
        record = work(progress)
    headline = summary_of(run, stage.name)["headline"]
    console.print(f"[{stage.step} {stage.name}] {headline} ({record['seconds']:.0f} s)", markup=False)
    if stage.name == "serve" and not parsed.once:
        from tenet.serving.server.server import serve
        from tenet.stages.serve import served_model

        serve(settings, served_model(run), parsed.credentials)
    return 0


def dry_run(stage: Stage, whole: Preset, run: Path, seed: int = 0) -> int:
    """Say what would run, with every setting, and refuse what a run would refuse."""
    import yaml

    from tenet.pipeline.chain import input_files

    domain = domain_of(whole)
    if reason := lacks(stage.name, whole, domain):
        raise ConfigError(f"{stage.name}: {reason}; {WAY_OUT}")
    chained = chain(whole, domain)
    reads = chained.reads(stage.name)
    missing = [name for name in reads if not (run / name / "run.json").exists()]
    print(f"would run step {stage.step}, {stage.name}: {stage.about}")
    finished = " (finished: would return at once if nothing changed)" if (run / stage.name).exists() else ""
    print(f"folder: {run / stage.name}{finished}")
    if domain is not None:
        print(f"domain: {domain.name} ({domain.folder})")
    print(f"reads: {', '.join(reads) or 'nothing'}" + (f"; NOT FINISHED: {', '.join(missing)}" if missing else ""))
    if stage.starts:
        print(f"starts from: {chained.start(stage.name) or 'random weights'}")
    for file in input_files(stage.name, chained):
        print(f"file: {file.key} = {file.name}" + (f", {file.rows} rows" if file.rows is not None else ""))
    if stage.name == "corpus":
        from tenet.stages.corpus import preview

        print("\n".join(preview(whole.corpus, domain)))
    if stage.name == "evaluate":
        from tenet.stages.evaluate import preview as shown

        corpus = run / "corpus" if (run / "corpus" / "run.json").is_file() else None
        print("\n".join(shown(whole.evaluate, domain, corpus, seed)))
    print(yaml.safe_dump(plain(dataclasses.asdict(getattr(whole, stage.section))), sort_keys=False), end="")
    return 2 if missing else 0


def peek(words: Sequence[str], flag: str, default: str) -> str:
    """Value of a flag before the real parser, which needs it, can be built."""
    for i, word in enumerate(words):
        if word == flag and i + 1 < len(words):
            return words[i + 1]
        if word.startswith(flag + "="):
            return word.split("=", 1)[1]
    return default
