"""What of the settings of step 1 can be refused before any text is read."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

from tenet.corpus import sources, tokenizer
from tenet.corpus.licences import CLASSES
from tenet.corpus.mixing import check_mix
from tenet.errors import ConfigError
from tenet.settings.corpus import CorpusConfig


def check(config: CorpusConfig) -> None:
    """Everything that can be refused without reading all of the text.

    Raises:
        ConfigError: names the key, the value and the way out.
    """
    if not config.sources:
        raise ConfigError("corpus.sources is empty; name at least one, e.g. {kind: folder, name: ./docs}")
    if not 0 < sum(config.heldout) < 0.5 or min(config.heldout) <= 0:
        raise ConfigError(f"corpus.heldout is {config.heldout}; both shares must be above 0 and together below 0.5")
    if config.max_bytes != "all" and config.max_bytes <= 0:
        raise ConfigError(f"corpus.max_bytes is {config.max_bytes}, which takes nothing; `all` takes all")
    for key in ("instructions", "preferences", "requests"):
        if (most := getattr(config, key)) != "all" and most < 0:
            raise ConfigError(f"corpus.{key} is {most}; 0 makes none, `all` makes all")
    if config.group_cap != "source" and not 0 < config.group_cap <= 1:
        raise ConfigError(f"corpus.group_cap is {config.group_cap}; it must be above 0 and at most 1 (no limit), or `source`")
    if not 0 <= config.most_refused <= 1:
        raise ConfigError(f"corpus.most_refused is {config.most_refused}; it is a share, from 0 to 1")
    if config.near_duplicate <= 0:
        raise ConfigError(
            f"corpus.near_duplicate is {config.near_duplicate}; it must be above 0 (above 1 switches the search off)"
        )
    if config.decontaminate < 1:
        raise ConfigError(
            f"corpus.decontaminate is {config.decontaminate}; it must be at least 1 (an empty corpus.evaluation switches it off)"
        )
    if config.workers < 1:
        raise ConfigError(f"corpus.workers is {config.workers}; it must be at least 1")
    if config.executor == "slurm" and shutil.which("sbatch") is None:
        raise ConfigError(
            "corpus.executor is slurm, but there is no sbatch on this machine; start from a login node, or use local"
        )
    if config.executor == "ray" and importlib.util.find_spec("ray") is None:
        raise ConfigError("corpus.executor is ray, but the package ray is not installed; `pip install ray`, or use local")
    if config.tokenizer == "train":
        tokenizer.check_size(config.vocab_size)
    elif config.tokenizer != "smollm2":
        tokenizer.load_tokenizer(Path(config.tokenizer))
    for name in config.filters.refuse_licences:
        if name not in CLASSES:
            raise ConfigError(f"corpus.filters.refuse_licences: {name!r} is no class of licences; there are {', '.join(CLASSES)}")
    for source in config.sources:
        sources.check_source(source)
    check_mix(config.sources)
