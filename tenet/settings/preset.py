"""Every setting of every stage, typed. A preset (`presets/NAME.yaml`) is one `Preset`; files and flags go on top of it.

`load_preset` and `parser_for` share one parser, so that an unknown key, a wrong type or an impossible combination is an
error before anything starts, and names the key.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from lightning_modules.model.config import ModelConfig
from tenet.errors import ConfigError
from tenet.settings.build import build
from tenet.settings.corpus import CorpusConfig
from tenet.settings.evaluate import EvaluateConfig
from tenet.settings.plan import PlanConfig
from tenet.settings.safety import ConstitutionalConfig, RedteamConfig
from tenet.settings.serving import DeployConfig, ServeConfig
from tenet.settings.training import DpoConfig, FinetuneConfig, ModelCheckConfig, PretrainConfig, RewardConfig, RlhfConfig

PRESETS = Path(__file__).resolve().parents[2] / "presets"


@dataclass(frozen=True)
class Preset:
    """One size: every stage's settings.

    Args:
        name, about: what it is called and for what it is.
        model: shape of the model that pretraining makes.
        domain: what the assistant is about: a built-in domain's name or a folder that `tenet new` wrote; "" is no
            subject, then every stage's data is named in its section.
        pipeline: stages of a whole run in order; empty takes the usual ones, all ten steps.
    """

    name: str
    about: str
    model: ModelConfig
    domain: str = ""
    pipeline: tuple[str, ...] = ()
    corpus: CorpusConfig = field(default_factory=CorpusConfig)
    plan: PlanConfig = field(default_factory=PlanConfig)
    check: ModelCheckConfig = field(default_factory=ModelCheckConfig)
    pretrain: PretrainConfig = field(default_factory=PretrainConfig)
    finetune: FinetuneConfig = field(default_factory=FinetuneConfig)
    dpo: DpoConfig = field(default_factory=DpoConfig)
    reward: RewardConfig = field(default_factory=RewardConfig)
    rlhf: RlhfConfig = field(default_factory=RlhfConfig)
    constitutional: ConstitutionalConfig = field(default_factory=ConstitutionalConfig)
    redteam: RedteamConfig = field(default_factory=RedteamConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    deploy: DeployConfig = field(default_factory=DeployConfig)
    serve: ServeConfig = field(default_factory=ServeConfig)

    def __post_init__(self) -> None:
        if self.pretrain.context > self.model.max_position_embeddings:
            raise ValueError(
                f"pretrain.context is {self.pretrain.context}, longer than model.max_position_embeddings "
                f"({self.model.max_position_embeddings})"
            )


def preset_names() -> list[str]:
    """Presets in the repository, smallest first as the file system cannot know: by parameter count."""
    names = [path.stem for path in PRESETS.glob("*.yaml")]
    return sorted(names, key=lambda name: load_preset(name).model.parameters())


def load_preset(name: str) -> Preset:
    """Read and check `presets/NAME.yaml` (or the path of a YAML file).

    Raises:
        ConfigError: names the file and the key.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else PRESETS / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in PRESETS.glob("*.yaml")))
        raise ConfigError(f"--preset {name}: no such preset; there are {known}, or give the path of a YAML file")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML ({error})") from None
    return build(Preset, {"name": path.stem, **(content or {})}, str(path))


def replace_section(preset: Preset, section: str, config: Any) -> Preset:
    """The preset with one stage's settings replaced by those that flags gave."""
    return dataclasses.replace(preset, **{section: config})
