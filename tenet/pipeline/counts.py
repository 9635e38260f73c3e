"""What the files of a run say about its work before anything runs: principles, attacks, stages that are left out."""

from __future__ import annotations

from pathlib import Path

from tenet.constitution.principles import load_constitution
from tenet.domains.domain import Domain
from tenet.pipeline.chain import OWN, chain
from tenet.planning.estimate import Counts
from tenet.settings.preset import Preset


def counts(preset: Preset, domain: Domain | None) -> Counts:
    """Principles of the constitution and attacks on the goals that the settings name; the defaults of `Counts` where
    they name none.

    Raises:
        ConfigError: a file that cannot be read.
    """
    found: dict[str, int] = {}
    if file := _file(preset.constitutional.constitution, domain.constitution if domain else None):
        found["principles"] = len(load_constitution(file, prompts=False).principles)
    if file := _file(preset.redteam.goals, domain.goals if domain else None):
        from tenet.redteam.attacks import ATTACKS  # with numpy: a plan that names no goals does not wait for it
        from tenet.redteam.goals_file import load_goals
        from tenet.redteam.probe import chosen

        most = preset.redteam.most_goals
        goals = chosen(load_goals(file), lambda some: some if most == "all" else some[:most])
        found["attacks"] = len(goals) * len(ATTACKS)
    assumed = tuple(name for name in ("principles", "attacks") if name not in found)
    return Counts(**found, assumed=assumed, left_out=tuple(chain(preset, domain).left_out))


def _file(given: str, own: str | Path | None) -> str | Path | None:
    return own if given in ("", OWN) else given
