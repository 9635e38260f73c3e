"""`tenet`: one word a stage, and a few to look at what they made.

Nothing heavy is imported before it is needed: `tenet --help`, `show` and `plan` answer at once.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from tenet.errors import ConfigError, TenetError

HELP = """tenet: ten steps from raw text to an assistant that answers over the Bedrock Runtime API

  tenet run --preset tiny --run runs/demo          all ten steps, then the reports, then an answer
  tenet STAGE --preset tiny --run runs/demo        one step (finished: returns at once; killed: goes on)
{stages}
  tenet show runs/demo [--plan]                    what was done and how it came out; planned against actual
  tenet verify runs/demo                           every file against its hash, every model folder against transformers
  tenet watch runs/demo                            the same while it runs: step, loss, tokens/s, time left, cost so far
  tenet compare runs/a runs/b                      figures, settings and curves of several runs side by side
  tenet lineage runs/demo                          from the served model back to documents and licences
  tenet report runs/demo [--stage pretrain]        execute the notebooks, write report.html and index.html
  tenet rollback --run runs/demo                   serve the weights before the current ones
  tenet sky config < outputs.json                  SkyPilot's configuration from `pulumi stack output --json`
  tenet sky objects < outputs.json                 what the stack's Kubernetes cluster must hold, for kubectl apply
  tenet sky check                                  the launch files in sky/, before anything is rented
  tenet sky slurm sky/pretrain.yaml                a launch file for a Slurm cluster
  tenet sky kubernetes sky/pretrain.yaml           a launch file for pods that share a volume
  tenet netcheck                                   bandwidth between processes, under tenet.torchrun
  tenet ask --run runs/demo "What does CreateBucket of Amazon S3 do?"
  tenet serve --model DIR --tls self-signed --chat serve any model folder; the first start makes keys and says how to use them
  tenet chat --endpoint URL                        talk to an endpoint in the terminal
  tenet deploy --model DIR --stack outputs.json    verify, upload, move the pointer, wait, roll back if it does not answer
  tenet rollback --stack outputs.json              serve the version before, in the cloud
  tenet import-to-bedrock --model DIR --stack outputs.json   start a Custom Model Import of the same folder

Options of every stage
  --preset NAME|FILE   size: {presets} (default tiny)
  --run DIR            run folder (default runs/PRESET)
  --seed N             one number that all randomness comes from (default 0)
  --config FILE        YAML with some of the stage's settings, on top of the preset
  --KEY VALUE          one setting, e.g. tenet pretrain --optim.lr 3e-3   (tenet STAGE --help lists them)
  --print_config       show the settings that would be used and stop
  --dry-run            check everything, say what would run and stop
  --fresh              set a finished or half-finished folder aside and start anew

Exit codes: 0 done, 75 interrupted (run the same command to go on), 2 wrong configuration (nothing was started), 1 failed.
"""


def help_text() -> str:
    """The page that `tenet --help` prints."""
    from tenet.config import PRESETS
    from tenet.stages import STAGES

    lines = "\n".join(f"      {s.step:>2}  {s.name:<15} {s.about}" for s in STAGES.values())
    return HELP.format(stages=lines, presets=", ".join(sorted(p.stem for p in PRESETS.glob("*.yaml"))))


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    # Read by OpenMP when torch is loaded: threads that wait go to sleep soon instead of burning their slice. With anything else running on
    # the machine, two spinning threads are up to four times slower than two that yield (docs/log.md).
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    try:
        return _dispatch(words)
    except TenetError as error:
        if not getattr(error, "relayed", False):  # of several processes the one that it happened to says so
            print(f"tenet: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:  # `tenet plan | head`: the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("tenet: interrupted; run the same command to go on", file=sys.stderr)
        return 75


def entry() -> None:
    """Console script: the process ends with the exit code."""
    sys.exit(main())


def _dispatch(words: list[str]) -> int:
    from tenet.commands import COMMANDS, release_command
    from tenet.stages import STAGES

    if not words or words[0] in ("-h", "--help", "help"):
        print(help_text())
        return 0
    command, rest = words[0], words[1:]
    if command == "deploy" and _peek(rest, "--stack", ""):
        return release_command(rest)
    if command in COMMANDS:
        return COMMANDS[command](rest)
    if command in STAGES:
        return _stage(command, rest)
    import difflib

    close = difflib.get_close_matches(command, [*STAGES, *COMMANDS], 1)
    raise ConfigError(f"{command!r} is not a command{f'; did you mean {close[0]}?' if close else ''}; `tenet --help` lists them")


def _stage(name: str, words: list[str]) -> int:
    """One stage from the command line: preset, then file, then flags."""
    import dataclasses

    import jsonargparse

    from tenet.commands import default_run
    from tenet.config import build, load_preset, plain, replace_section
    from tenet.stages import STAGES, run_stage

    stage = STAGES[name]
    if name == "serve":
        from tenet.serving.flags import plain_flags

        words = plain_flags(words)
    chosen = _peek(words, "--preset", "tiny")
    whole = load_preset(chosen)
    example = f"example: tenet {name} --preset tiny --run runs/demo"
    if name == "plan":
        from tenet.plan import EXAMPLES as example

    parser = jsonargparse.ArgumentParser(
        prog=f"tenet {name}",
        description=f"{stage.about} (step {stage.step})\n\n{example}",
        exit_on_error=False,
        formatter_class=_help_formatter(),
    )
    parser.add_argument("--preset", type=str, default="tiny", help="size: a name in presets/ or a YAML file")
    parser.add_argument("--run", type=str, default=default_run(chosen), help="run folder")
    parser.add_argument("--seed", type=int, default=0, help="all randomness comes from it")
    parser.add_argument("--fresh", action="store_true", help="set an existing folder of this stage aside and start anew")
    parser.add_argument("--dry-run", action="store_true", help="check the settings and inputs, say what would run and stop")
    if name == "plan":
        parser.add_argument("--json", action="store_true", help="print the plan as JSON")
        parser.add_argument(
            "--fit", action="store_true", help="choose sharding, micro-batch and recomputation: the cheapest that fits"
        )
        parser.add_argument(
            "--deadline-days", type=float, default=0.0, help="--fit, with at most the cluster's machines, in time"
        )
        parser.add_argument("--all", action="store_true", help="one line for every preset on its own cluster")
    if name == "serve":
        parser.add_argument("--once", action="store_true", help="prove that it answers, then stop instead of serving on")
        parser.add_argument("--model", type=str, default="", help="serve this Hugging Face folder; no run is needed")
        parser.add_argument(
            "--credentials", type=str, default="", help="key file (made with mode 0600 when missing), or dynamodb:TABLE"
        )
    parser.add_argument("--config", action="config", help="YAML with settings, on top of the preset")
    parser.add_class_arguments(stage.settings, None)
    parser.set_defaults(plain(dataclasses.asdict(getattr(whole, stage.section))))
    try:
        parsed = parser.parse_args(words)
    except jsonargparse.ArgumentError as error:
        raise ConfigError(f"{' '.join(str(error).split())}; `tenet {name} --help` lists the settings") from None
    values = {f.name: parsed[f.name] for f in dataclasses.fields(stage.settings)}
    settings = build(stage.settings, plain(values), f"tenet {name}")
    whole = replace_section(whole, stage.section, settings)
    if parsed.dry_run:
        return _dry_run(stage, settings, Path(parsed.run))
    writes = "--run" in " ".join(words)
    if name == "plan" and writes and (parsed.fit or parsed.deadline_days or parsed.all or parsed.json):
        raise ConfigError("--fit, --deadline-days, --all and --json print a plan, --run writes one; leave one of them out")
    if name == "plan" and not writes:
        from tenet.plan import overview_text, plan_text

        days = parsed.deadline_days
        print(overview_text() if parsed.all else plan_text(whole, settings, parsed.json, parsed.fit, days), end="")
        return 0
    if name == "serve" and parsed.model:
        from tenet.serving.server import serve

        serve(settings, Path(parsed.model), parsed.credentials)
        return 0
    from lightning_modules import ranks
    from tenet.progress import StageProgress, console

    def work(progress: StageProgress | None) -> dict[str, Any]:
        return run_stage(
            Path(parsed.run), name, whole, settings=settings, seed=parsed.seed, fresh=parsed.fresh, progress=progress
        )

    if not ranks.is_first():
        work(None)
        return 0
    with StageProgress(f"{stage.step} {name}") as progress:
        record = work(progress)
    from tenet.runs import summary_of

    console.print(f"[{stage.step} {name}] {summary_of(Path(parsed.run), name)['headline']} ({record['seconds']:.0f} s)")
    if name == "serve" and not parsed.once:
        from tenet.serving.server import serve
        from tenet.stages.serve import served_model

        serve(settings, served_model(Path(parsed.run)), parsed.credentials)
    return 0


def _help_formatter() -> Any:
    """jsonargparse's own, which shows defaults and types, with line breaks of the description kept."""
    import argparse

    import jsonargparse

    class Formatter(jsonargparse.DefaultHelpFormatter, argparse.RawDescriptionHelpFormatter):
        pass

    return Formatter


def _dry_run(stage: Any, settings: Any, run: Path) -> int:
    import dataclasses

    import yaml

    from tenet.config import plain

    missing = [name for name in stage.reads if not (run / name / "run.json").exists()]
    print(f"would run step {stage.step}, {stage.name}: {stage.about}")
    finished = " (finished: would return at once if nothing changed)" if (run / stage.name).exists() else ""
    print(f"folder: {run / stage.name}{finished}")
    print(f"reads: {', '.join(stage.reads) or 'nothing'}" + (f"; NOT FINISHED: {', '.join(missing)}" if missing else ""))
    print(yaml.safe_dump(plain(dataclasses.asdict(settings)), sort_keys=False), end="")
    return 2 if missing else 0


def _peek(words: list[str], flag: str, default: str) -> str:
    """Value of a flag before the real parser, which needs it, can be built."""
    for i, word in enumerate(words):
        if word == flag and i + 1 < len(words):
            return words[i + 1]
        if word.startswith(flag + "="):
            return word.split("=", 1)[1]
    return default


if __name__ == "__main__":
    entry()
