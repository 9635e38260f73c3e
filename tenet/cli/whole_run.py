"""All ten steps in order, their reports, and an answer at the end: what `make demo` runs."""

from __future__ import annotations

import dataclasses
import os
import time
from pathlib import Path

from tenet.domains.domain import Probe
from tenet.errors import ConfigError
from tenet.files import write_json
from tenet.pipeline.chain import chain
from tenet.pipeline.run import domain_of, run_stage
from tenet.pipeline.table import STAGES
from tenet.runs.lineage import summary_of
from tenet.runs.progress import StageProgress, console
from tenet.settings.preset import Preset, load_preset


def run_all(run: Path, preset: str, seed: int = 0, until: str = "", reports: bool = True, domain: str | None = None) -> int:
    """Run what is not finished yet, write the reports, show the table and stream an answer.

    Args:
        domain: name or folder of the subject; the preset's own when left out.

    Returns:
        the exit code.
    """
    # Everything after installation is offline unless a source asks for the hub by name.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    whole = load_preset(preset)
    whole = whole if domain is None else dataclasses.replace(whole, domain=domain)
    subject = domain_of(whole)
    chained = chain(whole, subject)
    if until and until not in STAGES:
        raise ConfigError(f"--until {until}: there are {', '.join(STAGES)}")
    if until and until in chained.left_out:
        raise ConfigError(f"--until {until}: {chained.left_out[until]}")
    if until and until not in chained.names:
        raise ConfigError(f"--until {until}: not in this preset's pipeline, which is {', '.join(chained.names)}")
    names = chained.names[: chained.names.index(until) + 1] if until else chained.names
    started = time.monotonic()
    about = f", domain {subject.name}" if subject else ""
    console.print(f"Tenet: preset {whole.name}, {whole.model.parameters():,} parameters{about}, run {run}", markup=False)
    write_json(
        run / "pipeline.json", {"stages": chained.names, "left_out": chained.left_out, "domain": subject.name if subject else ""}
    )
    for name, reason in chained.left_out.items():
        console.print(f"[{STAGES[name].step:>2} {name}] left out: {reason}", markup=False)
    for name in names:
        _one(run, name, whole, seed)
    if reports:
        _reports(run)
    from tenet.report import show

    console.print(show(run))
    if not until and "deploy" in names:
        probe = subject.probe if subject else Probe()
        ask(run, probe.example or probe.question)
        console.print(f"\nopen {run / 'index.html'}   (took {time.monotonic() - started:.0f} s this time)")
    return 0


def _one(run: Path, name: str, whole: Preset, seed: int) -> None:
    stage = STAGES[name]
    before = time.monotonic()
    with StageProgress(f"{stage.step} {name}") as progress:
        record = run_stage(run, name, whole, seed=seed, progress=progress)
    fresh = time.monotonic() - before > 0.9 * record["seconds"]
    console.print(
        f"[{stage.step:>2} {name}] {summary_of(run, name)['headline']} ({record['seconds']:.0f} s{'' if fresh else ', done before'})",
        markup=False,
    )


def _reports(run: Path) -> None:
    from tenet.report import index, report

    with StageProgress("reports") as progress:
        made = report(run, None, progress)
    page = index(run)
    console.print(f"[reports] {len(made)} written, index {page}", markup=False)


def ask(run: Path, question: str) -> None:
    """Start the endpoint on the deployed weights, ask through an unchanged boto3 client and print the answer as it
    streams."""
    from tenet.serving.server.server import LocalServer
    from tenet.stages.serve import served_model, stream_answer

    whole_id = "tenet.assistant-v1:0"
    with LocalServer(served_model(run), model_id=whole_id) as server:
        console.print("\nboto3.client('bedrock-runtime').converse_stream(...)", markup=False)
        console.print(f"> {question}", markup=False)
        for piece in stream_answer(server.endpoint, server.keys, whole_id, question):
            print(piece, end="", flush=True)
        print()
