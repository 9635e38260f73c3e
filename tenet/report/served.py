"""What a run serves, in one reading: the model card and the bill of materials both start from it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tenet.errors import TenetError
from tenet.files import read_json
from tenet.report.data import STAGES, STEPS, Stage, load


@dataclass(frozen=True)
class Served:
    """The model at the end of a run.

    Args:
        name: run folder's name.
        stages: every finished stage that can be read.
        chosen: stage whose weights are served, or the last one that made a model.
        version: of the weights store; empty where nothing was deployed.
        weights: its files as run.json lists them (path, bytes, sha256).
        card: corpus/card.json.
    """

    name: str
    stages: dict[str, Stage]
    chosen: str
    version: str
    weights: list[dict[str, Any]]
    card: dict[str, Any]

    @property
    def record(self) -> dict[str, Any]:
        """run.json of the last finished stage."""
        return list(self.stages.values())[-1].record

    @property
    def made_by(self) -> list[Stage]:
        """The training stages up to the served weights, first to last."""
        order = STAGES[STAGES.index("pretrain") : STAGES.index(self.chosen) + 1]
        return [stage for name, stage in self.stages.items() if name in order and stage.record.get("tokens")]


def served(run: Path) -> Served | None:
    """What a run serves; None when no stage has made a model yet."""
    stages = {}
    for _, name, _, _ in STEPS:
        if (run / name / "run.json").exists():
            try:
                stages[name] = load(run, name, verify=False)
            except TenetError:
                continue  # the index names it
    deployment = run / "deploy" / "deployment.json"
    content = read_json(deployment) if "deploy" in stages and deployment.exists() else {}
    made = [name for name, stage in stages.items() if _weights(stage)]
    chosen = str(content.get("chosen") or (made[-1] if made else ""))
    if chosen not in stages:
        return None
    card = run / "corpus" / "card.json"
    return Served(
        run.resolve().name,
        stages,
        chosen,
        str(content.get("version") or ""),
        _weights(stages[chosen]),
        read_json(card) if card.exists() else {},
    )


def _weights(stage: Stage) -> list[dict[str, Any]]:
    return [entry for entry in stage.record.get("outputs", []) if entry["path"].startswith("model/")]
