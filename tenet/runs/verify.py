"""Is a run what it says it is? Every file against its hash, every link of the chain, every model folder against
transformers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tenet.errors import StageError
from tenet.files import read_json
from tenet.runs.lineage import lineage, stages_of, verify

#: Largest difference of logits from transformers, fp32.
TOLERANCE = 1e-4


def verify_run(run: Path, tell: Callable[[str], None]) -> None:
    """Check a run folder, stage by stage.

    Args:
        run: the folder.
        tell: gets one line a check.

    Raises:
        StageError: says how many checks failed; what failed was told before.
    """
    stages = [name for name, record in stages_of(run).items() if record.get("status") != "unfinished"]
    if not stages:
        raise StageError(f"{run}: no finished stage; `tenet run --run {run}` makes some")
    failed = 0
    for name in stages:
        try:
            verify(run / name)
            tell(f"ok      {name}: {len(read_json(run / name / 'run.json')['outputs'])} files are what run.json says")
        except StageError as error:
            failed += 1
            tell(f"FAILED  {error}")
    for name in stages:
        for source in lineage(run, name)[0]["broken_links"]:
            failed += 1
            tell(f"FAILED  {name}: was made from another {source} than the one that is there")
    for folder in sorted(path.parent for path in run.glob("*/*/model.safetensors")):
        failed += not _same_as_transformers(folder, tell)
    if failed:
        raise StageError(f"{run}: {failed} checks failed; run what differs again with --fresh, and every stage after it")


def _same_as_transformers(folder: Path, tell: Callable[[str], None]) -> bool:
    from lightning_modules.generation.parity import parity

    difference, tokens_equal = parity(folder, seed=0)
    good = bool(difference < TOLERANCE and tokens_equal)
    tell(
        f"{'ok    ' if good else 'FAILED'}  {folder}: logits differ from transformers' by {difference:.1e} (below {TOLERANCE:g} is good), "
        f"greedy tokens {'equal' if tokens_equal else 'differ'}"
    )
    return good
