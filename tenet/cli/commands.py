"""The words of `tenet` that are no stage: each reads its own flags and imports what it needs."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from tenet.cli.new import new_command
from tenet.errors import ConfigError
from tenet.flags import named_domain


def _parser(command: str, about: str) -> argparse.ArgumentParser:
    return argparse.ArgumentParser(f"tenet {command}", description=about)


def default_run(preset: str) -> str:
    """Where a preset's run lies when nothing else is said."""
    return f"runs/{Path(preset).stem}"


def run_command(words: list[str]) -> int:
    parser = _parser(
        "run", "All ten steps, their reports, and an answer. Finished steps are skipped; killed, it goes on where it was."
    )
    parser.add_argument("--preset", default="tiny", help="size: a name in presets/ or a YAML file")
    parser.add_argument(
        "--domain", default=None, help="subject: a built-in domain or the folder of one (default: $TENET_DOMAIN, or the preset's)"
    )
    parser.add_argument("--run", default="", help="run folder (default runs/PRESET)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--until", default="", help="last stage to run")
    parser.add_argument("--no-reports", action="store_true", help="do not execute the notebooks")
    chosen = parser.parse_args(words)
    from lightning_modules.distributed import ranks
    from tenet.cli.whole_run import run_all

    if ranks.world() > 1:
        raise ConfigError(
            f"`tenet run` was started as {ranks.world()} processes; it is for one. Start the training stages one by one under tenet.torchrun"
        )

    return run_all(
        Path(chosen.run or default_run(chosen.preset)),
        chosen.preset,
        chosen.seed,
        chosen.until,
        not chosen.no_reports,
        named_domain(chosen.domain),
    )


def show_command(words: list[str]) -> int:
    parser = _parser("show", "Table of the ten steps with each one's key figure and time.")
    parser.add_argument("run", type=Path)
    parser.add_argument("--plan", action="store_true", help="what the plan foresaw beside what the finished stages took")
    chosen = parser.parse_args(words)
    from tenet.report import planned, show
    from tenet.runs.progress import console

    console.print(planned(chosen.run) if chosen.plan else show(chosen.run))
    return 0


def verify_command(words: list[str]) -> int:
    parser = _parser("verify", "Every file against its hash, every link of the chain, every model folder against transformers.")
    parser.add_argument("run", type=Path)
    from tenet.runs.verify import verify_run

    verify_run(parser.parse_args(words).run, print)
    return 0


def watch_command(words: list[str]) -> int:
    parser = _parser(
        "watch", "A live view of a run from its files: what runs, how far, metrics, time left, energy and cost so far."
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--once", action="store_true", help="show it one time and stop; the default where there is no terminal")
    parser.add_argument("--every", type=float, default=2.0, help="seconds between two looks (default 2)")
    chosen = parser.parse_args(words)
    from tenet.report.watch import watch

    watch(chosen.run, chosen.once, chosen.every)
    return 0


def compare_command(words: list[str]) -> int:
    parser = _parser(
        "compare", "Several runs side by side: figures with intervals, settings that differ, curves; as text and as a page."
    )
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    parser.add_argument("--out", type=Path, default=None, help="the page (default compare.html in the first run)")
    chosen = parser.parse_args(words)
    from tenet.report import compare_page, compare_table
    from tenet.runs.progress import console

    console.print(compare_table(chosen.runs))
    print(compare_page(chosen.runs, chosen.out))
    return 0


def lineage_command(words: list[str]) -> int:
    parser = _parser("lineage", "From a stage back to documents and licences, every link checked by hash.")
    parser.add_argument("run", type=Path)
    parser.add_argument("--stage", default="serve")
    chosen = parser.parse_args(words)
    from tenet.report import lineage_text

    print(lineage_text(chosen.run, chosen.stage))
    return 0


def report_command(words: list[str]) -> int:
    parser = _parser("report", "Execute the stages' notebooks and write report.html beside each, and the pages of the run.")
    parser.add_argument("run", type=Path)
    parser.add_argument("--stage", default=None, help="only this stage's notebook")
    parser.add_argument("--preset", default="", help="run each stage at this preset first if it is not finished")
    parser.add_argument("--again", action="store_true", help="execute even what has not changed")
    parser.add_argument("-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), help="a notebook parameter")
    parser.add_argument("--cell-seconds", type=int, default=240, help="limit of one cell (default 240)")
    parser.add_argument("--whole-seconds", type=int, default=900, help="limit of one notebook (default 900)")
    chosen = parser.parse_args(words)
    import yaml

    from tenet.report import index, report
    from tenet.report.execute.kernel import Limits
    from tenet.runs.progress import StageProgress

    given = {name: yaml.safe_load(value) for name, value in chosen.p}
    for name in {"run", "preset"} & set(given):
        raise ConfigError(f"parameter {name} is given twice: it is set by the command line itself; leave out -p {name}")
    limits = Limits(chosen.cell_seconds, chosen.whole_seconds)
    try:
        with StageProgress("reports") as progress:
            pages = report(
                chosen.run, chosen.stage, progress, preset=chosen.preset, parameters=given, again=chosen.again, limits=limits
            )
            print(*pages, sep="\n")
    finally:  # a report that failed is linked there
        if chosen.run.is_dir():
            print(index(chosen.run))
    return 0


def rollback_command(words: list[str]) -> int:
    parser = _parser("rollback", "Serve an earlier version again, after its files are verified: of a store, or of a cloud stack.")
    parser.add_argument("--run", default="runs/tiny", type=Path)
    parser.add_argument("--store", default="", help="folder or s3://bucket/prefix (default: the run's own store)")
    parser.add_argument(
        "--stack", default=None, type=Path, help="outputs of the stack (pulumi stack output --json): the endpoint there"
    )
    parser.add_argument("--to", default=None, help="version (default: the one before the current)")
    parser.add_argument("--credentials", default=None, type=Path, help="key file of the endpoint, with --stack")
    chosen = parser.parse_args(words)
    if chosen.stack:
        from tenet.serving.releases import ecs_rollout

        print(
            f"now serving version {ecs_rollout.rollback(ecs_rollout.Stack.read(chosen.stack), chosen.to, _api_key(chosen.credentials))}"
        )
        return 0
    from tenet.serving.releases.publish import rollback

    print(f"now serving version {rollback(chosen.store or chosen.run / 'deploy' / 'store', chosen.to)}")
    return 0


def release_command(words: list[str]) -> int:
    parser = _parser(
        "deploy", "Put a model folder behind the endpoint of a stack; the old weights stay until the new ones answer."
    )
    parser.add_argument("--model", required=True, type=Path, help="Hugging Face folder")
    parser.add_argument("--stack", required=True, type=Path, help="outputs of the stack (pulumi stack output --json)")
    parser.add_argument("--keep", default=3, type=int, help="versions kept for rollback")
    parser.add_argument("--credentials", default=None, type=Path, help="key file: ask the new version through the endpoint too")
    chosen = parser.parse_args(words)
    from tenet.serving.releases import ecs_rollout

    version = ecs_rollout.release(
        chosen.model, ecs_rollout.Stack.read(chosen.stack), chosen.keep, _api_key(chosen.credentials), say=print
    )
    print(f"now serving version {version}")
    return 0


def _api_key(path: Path | None) -> Any:
    """Keys to ask the endpoint with, or None."""
    if path is None:
        return None
    from tenet.serving.access.credentials import load_or_create

    return load_or_create(path)[1]


def import_command(words: list[str]) -> int:
    parser = _parser("import-to-bedrock", "Upload a model folder and start a Custom Model Import job of Amazon Bedrock.")
    parser.add_argument("--model", required=True, type=Path, help="Hugging Face folder")
    parser.add_argument("--stack", required=True, type=Path, help="outputs of the stack (pulumi stack output --json)")
    parser.add_argument("--name", default="tenet", help="name of the imported model")
    chosen = parser.parse_args(words)
    from tenet.serving.releases import ecs_rollout

    print(ecs_rollout.import_to_bedrock(chosen.model, ecs_rollout.Stack.read(chosen.stack), chosen.name))
    return 0


def chat_command(words: list[str]) -> int:
    parser = _parser("chat", "Talk to an endpoint; keys are those in the environment, as boto3 finds them.")
    parser.add_argument("--endpoint", default="http://127.0.0.1:8080")
    parser.add_argument("--model-id", default="tenet.assistant-v1:0")
    parser.add_argument("--system", default="", help="system prompt")
    parser.add_argument("--max-tokens", default=256, type=int)
    parser.add_argument("--temperature", default=0.0, type=float)
    chosen = parser.parse_args(words)
    from tenet.serving.clients.terminal import chat

    return chat(chosen.endpoint, chosen.model_id, chosen.system, chosen.max_tokens, chosen.temperature)


def ask_command(words: list[str]) -> int:
    parser = _parser("ask", "Start the endpoint, ask once through boto3 and stream the answer.")
    parser.add_argument("question")
    parser.add_argument("--run", default="runs/tiny", type=Path)
    chosen = parser.parse_args(words)
    from tenet.cli.whole_run import ask

    ask(chosen.run, chosen.question)
    return 0


def sky_command(words: list[str]) -> int:
    parser = _parser("sky", "Launching on rented machines: what SkyPilot needs to know of the stack, and the files in sky/.")
    actions = parser.add_subparsers(dest="action", required=True)
    about = "pulumi stack output --json | tenet sky config > .sky.yaml"
    actions.add_parser("config", help="write SkyPilot's configuration from the stack's outputs", description=about)
    applied = "pulumi stack output --json | tenet sky objects | kubectl apply -f -"
    objects = "write what the stack's Kubernetes cluster must hold before a launch: namespace, account, rights, Lustre"
    actions.add_parser("objects", help=objects, description=applied)
    checks = actions.add_parser("check", help="check launch files: schema, paths, flags, machine, secrets, shell; no network")
    checks.add_argument("files", nargs="*", type=Path, help="launch files (default: all of sky/)")
    checks.add_argument("--num-nodes", type=int, default=0, help="as the launch would be told (default: the file's)")
    checks.add_argument("--env", action="append", default=[], metavar="NAME=VALUE", help="as the launch would be told")
    checks.add_argument("--env-file", type=Path, default=None, help="NAME=VALUE lines, as the launch would be told")
    checks.add_argument("--infra", default="", help="as the launch would be told, e.g. kubernetes (default: the file's)")
    slurm = actions.add_parser("slurm", help="write a launch file for a Slurm cluster: no bucket, no spot, its own disk")
    slurm.add_argument("file", type=Path, help="launch file")
    slurm.add_argument("--cluster", default="local", help="name of the login node in ~/.slurm/config (default local)")
    slurm.add_argument("--runs", default="", help="folder of all runs, on the disk that all nodes share (default: the file's)")
    slurm.add_argument("--gpus", default=None, help="accelerators of a node, e.g. H100:8 (default: the file's); none for CPUs")
    pods = actions.add_parser("kubernetes", help="write a launch file for pods that share a volume: no bucket, no spot")
    pods.add_argument("file", type=Path, help="launch file")
    pods.add_argument("--context", default="", help="the cluster's context (default: the one that SkyPilot is allowed)")
    pods.add_argument("--runs", default="/fsx/checkpoints", help="folder of all runs, on the volume (default /fsx/checkpoints)")
    pods.add_argument("--gpus", default=None, help="accelerators of a pod, e.g. L40S:1 (default: the file's); none for CPUs")
    pipeline = actions.add_parser("pipeline", help="write sky/pipeline.yaml from the files of the stages")
    pipeline.add_argument("--num-nodes", type=int, default=1, help="nodes of each stage that trains (default 1)")
    chosen = parser.parse_args(words)
    if chosen.action == "check":
        from tenet.launch.check import Given, check_all

        check_all(chosen.files, Path.cwd(), print, Given.read(chosen.num_nodes, chosen.env, chosen.env_file, chosen.infra))
    elif chosen.action == "slurm":
        from tenet.launch.variants import slurm_text

        print(slurm_text(chosen.file, chosen.cluster, chosen.runs, chosen.gpus), end="")
    elif chosen.action == "kubernetes":
        from tenet.launch.variants import kubernetes_text

        print(kubernetes_text(chosen.file, chosen.context, chosen.runs, chosen.gpus), end="")
    elif chosen.action == "pipeline":
        from tenet.launch.variants import pipeline_text

        print(pipeline_text(Path("sky"), chosen.num_nodes), end="")
    else:
        from tenet.launch.sky import config_text, objects_text

        write, typed = (config_text, about) if chosen.action == "config" else (objects_text, applied)
        if sys.stdin.isatty():
            raise ConfigError(f"tenet sky {chosen.action} reads the stack's outputs from standard input: {typed}")
        print(write(sys.stdin.read()), end="")
    return 0


def netcheck_command(words: list[str]) -> int:
    parser = _parser(
        "netcheck", "Bandwidth of an all-reduce over all processes that tenet.torchrun started, for each message size."
    )
    parser.add_argument(
        "--instance", default="", help="EC2 type in tenet/hardware.py whose network is expected; empty expects nothing"
    )
    parser.add_argument("--at-least", type=float, default=0.5, help="share of the expected bandwidth (default 0.5)")
    parser.add_argument("--gbytes", type=float, default=0.0, help="expected instead: GB/s of bus bandwidth")
    parser.add_argument("--largest", type=int, default=0, help="largest message, MiB (default 1024 on GPUs, 64 on CPUs)")
    parser.add_argument("--folder", default="", help="check too that a file which one process writes here is seen by all")
    chosen = parser.parse_args(words)
    from tenet.launch.netcheck import netcheck

    netcheck(chosen.instance, chosen.at_least, chosen.gbytes, chosen.largest, chosen.folder, print)
    return 0


def data_command(words: list[str]) -> int:
    from tenet.cli.data import data_command as command

    return command(words)


def constitution_command(words: list[str]) -> int:
    from tenet.cli.constitution import constitution_command as command

    return command(words)


def score_command(words: list[str]) -> int:
    from tenet.cli.score import score_command as command

    return command(words)


def feedback_command(words: list[str]) -> int:
    from tenet.cli.answers.feedback import feedback_command as command

    return command(words)


def compare_answers_command(words: list[str]) -> int:
    from tenet.cli.answers.compare_answers import compare_answers_command as command

    return command(words)


#: Word -> what it does.
COMMANDS = {
    "feedback": feedback_command,
    "compare-answers": compare_answers_command,
    "score": score_command,
    "data": data_command,
    "constitution": constitution_command,
    "new": new_command,
    "run": run_command,
    "show": show_command,
    "verify": verify_command,
    "watch": watch_command,
    "compare": compare_command,
    "lineage": lineage_command,
    "report": report_command,
    "rollback": rollback_command,
    "ask": ask_command,
    "sky": sky_command,
    "chat": chat_command,
    "import-to-bedrock": import_command,
    "netcheck": netcheck_command,
}
