"""Step 9: put the model that passed its gate where a server takes it from, and prove that the way back works.

In the run's own store the drill is real: the constitutional model is published, then the promoted one, then the store
is rolled back and forward again. A store outside of the run has servers behind it, and a gate that said no leaves one
model: then the drill runs on a scratch store.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tenet.errors import ConfigError, StageError
from tenet.files import read_json, write_json
from tenet.runs.summary import Figure, Summary
from tenet.runs.workspace import Workspace
from tenet.serving.releases import publish
from tenet.serving.releases.publish import Published
from tenet.serving.releases.store import Manifest
from tenet.settings.serving import DeployConfig


@dataclass
class _Drill:
    """What publishing, rolling back and rolling forward found."""

    first: Published
    second: Published
    files: int
    flips: int


def run(config: DeployConfig, ws: Workspace) -> Summary:
    """See the module."""
    chosen, other, promoted = choice(ws)
    own = not config.store
    store = str(ws.dir / "store") if own else config.store
    scratch = ws.dir / "checkpoints" / "drill"
    ws.progress(0, 3, f"publishing {chosen}")

    def put(stage: str, where: str | Path) -> Published:
        ws.check()
        folder = ws.input(stage)
        return publish.publish(
            folder / "model", where, config.keep, config.probe_tokens, publish.expected_files(folder), probe_question(ws)
        )

    drill = _drill(put, other, chosen, store if own and promoted is not False else scratch)
    ws.progress(1, 3, "rolled back and forward")
    published = drill.second if own and promoted is not False else put(chosen, store)
    served = publish.weights(store, ws.dir / "checkpoints" / "weights")
    files = drill.files + len(Manifest.read(served).files)
    ws.progress(2, 3, "verified")
    shutil.rmtree(scratch, ignore_errors=True)
    write_json(
        ws.dir / "deployment.json",
        {"store": "store" if own else config.store, "version": published.version, "chosen": chosen, "promoted": promoted},
    )
    ws.progress(3, 3, f"serving {published.version}")
    size = sum(path.stat().st_size for path in served.iterdir())
    return _summary(published, drill, files, chosen, promoted, size, probe_question(ws))


def choice(ws: Workspace) -> tuple[str, str, bool | None]:
    """The model to serve, the one that the drill goes back to, and what the red team's gate said (None: the run has
    none).

    Raises:
        ConfigError: no stage of the run made a model.
    """
    if not ws.policies:
        raise ConfigError(
            "deploy: no stage of this run's pipeline makes a model; add one, or `tenet deploy --model DIR --stack FILE`"
        )
    last, before = ws.policies[-1], ws.policies[-2:][0]
    if last != "redteam":
        return last, before, None
    promoted = bool(read_json(ws.input("redteam") / "gate.json")["promoted"])
    return (last, before, True) if promoted else (before, last, False)


def probe_question(ws: Workspace) -> str:
    """The fixed question of the domain."""
    return ws.domain.probe.question if ws.domain else publish.QUESTION


def _drill(put: Callable[[str, str | Path], Published], other: str, chosen: str, store: str | Path) -> _Drill:
    """Publish one model, then the one to serve; go back, go forward. Each time the files are hashed again."""
    first = put(other, store)
    second = put(chosen, store)
    files, flips = first.files + second.files, 2
    if first.version != second.version:
        for target, way in ((first.version, publish.rollback(store)), (second.version, publish.rollback(store, second.version))):
            if way != target:
                raise StageError(f"{store}: rolled to {way}, expected {target}; look at its file `current`")
            files, flips = files + publish.verify(store, target), flips + 1
    if publish.current(store) != second.version:
        raise StageError(f"{store}: serves {publish.current(store)} after the drill, expected {second.version}")
    return _Drill(first, second, files, flips)


def _summary(
    published: Published, drill: _Drill, files: int, chosen: str, promoted: bool | None, size: int, question: str
) -> Summary:
    way = "rolled back and forward" if drill.flips == 4 else "rollback not shown: both models are the same files"
    gate = {True: "promoted by the red-team gate", False: "the red-team fix was not promoted", None: "no red team in this run"}[
        promoted
    ]
    return Summary(
        headline=f"Version {published.version} of {chosen} is served ({gate}); {files} files verified by hash, {way}.",
        figures=[
            Figure("files in the store equal to the checkpoint's", float(files), "files", n=files, better="neither"),
            Figure("max logit difference, checkpoint to store", published.difference, "", n=1, better="lower"),
            Figure("greedy tokens equal on the fixed prompt", float(published.tokens), "tokens", better="neither"),
            Figure("pointer flips verified", float(drill.flips), "flips", better="neither"),
            Figure("size of the served version", size / 1e6, "MB", better="neither"),
        ],
        details={
            "version": published.version,
            "previous": drill.first.version,
            "chosen": chosen,
            "promoted": promoted,
            "probe": question,
            "probe_answer": published.answer,
        },
    )
