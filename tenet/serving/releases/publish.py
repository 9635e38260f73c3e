"""Publish and roll back weights.

A version is served only after its copy in the store was hashed, loaded, and answered as the checkpoint does.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tenet.errors import ConfigError, StageError
from tenet.files import read_json
from tenet.serving.releases.open import open_store
from tenet.serving.releases.store import Manifest, Pointer, Store

#: What every version is asked, greedily, before it is served, where its subject brings no question of its own.
QUESTION = "Who are you?"
#: Without these a server cannot start.
REQUIRED = ("config.json", "tokenizer.json", "model.safetensors")


@dataclass(frozen=True)
class Probe:
    """How a model folder answers the fixed prompt.

    Args:
        ids: greedy tokens.
        logits: of the first token, the whole vocabulary.
    """

    ids: tuple[int, ...]
    logits: tuple[float, ...]

    def difference(self, other: Probe) -> float:
        """Largest difference of logits."""
        if len(self.logits) != len(other.logits):
            return float("inf")
        return max(abs(a - b) for a, b in zip(self.logits, other.logits, strict=True))


@dataclass(frozen=True)
class Published:
    """What `publish` found.

    Args:
        version: now served.
        files: compared with their hashes in the store.
        difference: largest difference of logits between the checkpoint and the copy.
        tokens: of the fixed answer, equal in both.
        answer: its text.
    """

    version: str
    files: int
    difference: float
    tokens: int
    answer: str


def probe(model_dir: Path, tokens: int, question: str = QUESTION) -> Probe:
    """Load a model folder and answer the fixed prompt.

    Raises:
        StageError: it does not load.
    """
    import torch

    from lightning_modules.data.chat import ChatTokenizer
    from lightning_modules.generation.engine import generate
    from lightning_modules.generation.protocol import Sampling
    from lightning_modules.model.hub import load_model

    try:
        model, text = load_model(model_dir), ChatTokenizer.from_folder(model_dir)
    except (OSError, ValueError, KeyError) as error:
        raise StageError(f"{model_dir}: does not load ({error}); it is not published") from error
    prompt = text.prompt([{"role": "user", "content": question}])
    with torch.inference_mode():
        logits = model.logits(model(torch.tensor([prompt]))[:, -1])[0].float()
    [[completion]] = generate(model, [prompt], Sampling(max_tokens=tokens, stop_ids=text.stop_ids))
    return Probe(tuple(completion.ids), tuple(logits.tolist()))


def publish(
    model_dir: Path,
    store: str | Path,
    keep: int = 3,
    probe_tokens: int = 16,
    expected: Mapping[str, str] | None = None,
    question: str = QUESTION,
) -> Published:
    """Copy a model folder into the store and serve it from there.

    Args:
        model_dir: Hugging Face folder.
        store: folder or s3://bucket/prefix.
        keep: versions to keep, the new one included.
        probe_tokens: length of the fixed answer.
        expected: file name -> SHA-256 that the stage recorded when it made the model.
        question: the fixed prompt.

    Raises:
        ConfigError: no model there, or `keep` below 1.
        StageError: a file or an answer differs; what was served before still is.
    """
    if keep < 1:
        raise ConfigError(f"deploy.keep is {keep}; at least 1 version must be kept")
    manifest = _manifest(model_dir)
    _check_expected(model_dir, manifest, expected or {})
    place = open_store(store)
    before = probe(model_dir, probe_tokens, question)
    place.add(model_dir, manifest)
    files, difference = _prove(place, manifest.version, before, probe_tokens, question)
    pointer = _advance(place.pointer(), manifest.version, keep)
    place.point(pointer)
    place.sweep(pointer)
    return Published(manifest.version, files, difference, len(before.ids), _text(model_dir, before))


def upload(model_dir: Path, place: Store, probe_tokens: int = 16) -> str:
    """Copy a model folder into a store and prove the copy, without serving it; returns its version.

    Raises:
        ConfigError: no model there.
        StageError: it does not load, or a file or an answer of the copy differs.
    """
    manifest = _manifest(model_dir)
    before = probe(model_dir, probe_tokens)
    place.add(model_dir, manifest)
    _prove(place, manifest.version, before, probe_tokens)
    return manifest.version


def _manifest(model_dir: Path) -> Manifest:
    missing = [name for name in REQUIRED if not (model_dir / name).is_file()]
    if missing:
        raise ConfigError(f"{model_dir / missing[0]}: no such file; give a folder in Hugging Face layout")
    return Manifest.of(model_dir)


def rollback(store: str | Path, to: str | None = None) -> str:
    """Serve an earlier (or, by name, any kept) version again, after its files were verified.

    Args:
        store: folder or s3://bucket/prefix.
        to: version; by default the one before the current.

    Returns:
        the version that is now served.

    Raises:
        ConfigError: there is no such version.
        StageError: its files are damaged.
    """
    place = open_store(store)
    pointer = place.need_pointer()
    if to is None:
        position = pointer.versions.index(pointer.current)
        if position == 0:
            raise ConfigError(f"{place.where}: {pointer.current} is the oldest version kept; there is nothing to roll back to")
        to = pointer.versions[position - 1]
    if to not in pointer.versions:
        raise ConfigError(f"--to {to}: not in {place.where}; kept are {', '.join(pointer.versions)}")
    verify(store, to)
    place.point(Pointer(to, pointer.versions))
    return to


def current(store: str | Path) -> str:
    """The version that is served.

    Raises:
        ConfigError: the store is empty.
    """
    return open_store(store).need_pointer().current


def verify(store: str | Path, version: str) -> int:
    """Hash every file of a version as it lies in the store; returns how many there are."""
    with tempfile.TemporaryDirectory() as cache:
        return checked(open_store(store), version, Path(cache))[1]


def weights(store: str | Path, cache: Path) -> Path:
    """A local folder with the verified weights that are served now.

    Args:
        store: folder or s3://bucket/prefix.
        cache: where a remote store's files are kept between starts.
    """
    place = open_store(store)
    return checked(place, place.need_pointer().current, cache)[0]


def checked(place: Store, version: str, cache: Path) -> tuple[Path, int]:
    """A version as a local folder whose files were compared with their hashes, and how many these are.

    Raises:
        StageError: names the file that is missing or differs.
    """
    folder = place.fetch(version, cache)
    manifest = Manifest.read(folder)
    if manifest.version != version:
        raise StageError(f"{place.where}/{version}: its manifest belongs to {manifest.version}; publish the version again")
    return folder, manifest.check(folder)


def _prove(place: Store, version: str, before: Probe, tokens: int, question: str = QUESTION) -> tuple[int, float]:
    """The copy has the same bytes and gives the same answer."""
    with tempfile.TemporaryDirectory() as cache:
        folder, files = checked(place, version, Path(cache))
        after = probe(folder, tokens, question)
    if after.ids != before.ids:
        raise StageError(
            f"{place.where}/{version}: the copy answers the fixed prompt differently from the checkpoint; it is not served"
        )
    return files, before.difference(after)


def _check_expected(model_dir: Path, manifest: Manifest, expected: Mapping[str, str]) -> None:
    for name, digest in expected.items():
        if manifest.files.get(name, (0, ""))[1] != digest:
            raise StageError(
                f"{model_dir / name}: missing or not the file that its stage made; run that stage again with --fresh"
            )


def _advance(old: Pointer | None, version: str, keep: int) -> Pointer:
    """The new version last; the oldest beyond `keep` fall off."""
    others = [v for v in (old.versions if old else ()) if v != version]
    return Pointer(version, (*(others[-(keep - 1) :] if keep > 1 else ()), version))


def _text(model_dir: Path, answer: Probe) -> str:
    from lightning_modules.data.chat import ChatTokenizer

    return ChatTokenizer.from_folder(model_dir).decode(answer.ids)


def expected_files(stage_dir: Path) -> dict[str, str]:
    """File name -> SHA-256 of a finished stage's `model/`, as its run.json recorded them."""
    outputs = read_json(stage_dir / "run.json")["outputs"]
    return {entry["path"].removeprefix("model/"): entry["sha256"] for entry in outputs if entry["path"].startswith("model/")}
