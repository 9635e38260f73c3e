"""What of the settings of step 1 can be refused before any text is read."""

from __future__ import annotations

import importlib.util
import re
import shutil
from pathlib import Path

from tenet.corpus import sources
from tenet.corpus.dedup.budget import LEAST_MEMORY
from tenet.corpus.dedup.earlier import open_seen
from tenet.corpus.licences import CLASSES
from tenet.corpus.tokens import tokenizer
from tenet.corpus.tokens.mixing import check_mix
from tenet.errors import ConfigError
from tenet.settings.corpus import CorpusConfig, FiltersConfig

#: Shorter passages are phrases: what any two texts on a subject share.
LEAST_PASSAGE = 20


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
    if not 0 <= config.edited_copy <= 1:
        raise ConfigError(f"corpus.edited_copy is {config.edited_copy}; it is a share, from 0 (off) to 1")
    if config.passages and config.passages < LEAST_PASSAGE:
        raise ConfigError(f"corpus.passages is {config.passages}; at least {LEAST_PASSAGE} words (0 cuts none), 50 is usual")
    if not 0 <= config.paraphrase <= 1:
        raise ConfigError(f"corpus.paraphrase is {config.paraphrase}; it is a share, from 0 (off) to 1; 0.8 is usual")
    if config.memory_mb * 2**20 < LEAST_MEMORY:
        raise ConfigError(f"corpus.memory_mb is {config.memory_mb}; at least {LEAST_MEMORY // 2**20} are needed")
    for run in config.seen_in:
        open_seen(Path(run))
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
    _check_filters(config.filters)
    for source in config.sources:
        sources.check_source(source)
    check_mix(config.sources)


def _check_filters(filters: FiltersConfig) -> None:
    for name in filters.refuse_licences:
        if name not in CLASSES:
            raise ConfigError(f"corpus.filters.refuse_licences: {name!r} is no class of licences; there are {', '.join(CLASSES)}")
    for code in filters.languages:
        if not re.fullmatch("[a-z]{2,3}", code):
            raise ConfigError(f"corpus.filters.languages: {code!r} is no language code; give ISO 639-1's, e.g. en, de, zh")
    if filters.allow_urls and not filters.block_urls:
        raise ConfigError("corpus.filters.allow_urls takes back what block_urls blocks; name block_urls too")
    for key in ("block_urls", "allow_urls"):
        for name in getattr(filters, key):
            if not Path(name).exists():
                raise ConfigError(f"corpus.filters.{key}: {name!r}: no such file or folder; correct the path")
    if filters.language_model and not Path(filters.language_model).is_file():
        raise ConfigError(
            f"corpus.filters.language_model {filters.language_model!r}: no such file; leave it empty to use py3langid"
        )
    if filters.quality_model and not (Path(filters.quality_model) / "card.json").is_file():
        raise ConfigError(
            f"corpus.filters.quality_model {filters.quality_model!r} is no folder of a trained classifier; `tenet corpus quality` trains one"
        )
    if filters.toxicity_model and not (Path(filters.toxicity_model) / "card.json").is_file():
        raise ConfigError(
            f"corpus.filters.toxicity_model {filters.toxicity_model!r} is no folder of a trained tagger; `tenet corpus toxicity` trains one"
        )
    if not 0 <= filters.quality_threshold <= 1:
        raise ConfigError(f"corpus.filters.quality_threshold is {filters.quality_threshold}; it must lie between 0 and 1")
