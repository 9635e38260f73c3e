"""Token shards: `NAME.ds` holds the tokens of all documents in a row, `NAME.ds.index` where each document ends,
`manifest.json` what they must be.

The format is datatrove's (little-endian uint16, or uint32 above 65,536 entries; uint64 exclusive end offsets). The
writer is our own: `tokenizers` encodes a batch on all cores by itself, and the documents come shuffled, so one pass is
enough.
"""

from __future__ import annotations

import hashlib
import os
from array import array
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lightning_modules.data.chat import ChatTokenizer
from tenet.errors import StageError
from tenet.files import read_json, sha256, write_json

MANIFEST = "manifest.json"
#: Documents encoded at once: enough to keep all cores busy, few enough to keep memory flat.
BATCH = 512


def token_type(vocab_size: int) -> np.dtype[Any]:
    """Smallest little-endian type that holds every token."""
    return np.dtype("<u2") if vocab_size <= 65_536 else np.dtype("<u4")


def write_shard(
    path: Path, texts: Sequence[str], tokenizer: ChatTokenizer, each: Callable[[int], None] = lambda done: None
) -> dict[str, Any]:
    """Encode texts, each closed by the end-of-text token, and write them with their index.

    Args:
        path: `NAME.ds`.
        texts: in the order in which they are to be read; sliced, so they may lie on disk.
        tokenizer: what looks like a special token in a text stays text.
        each: called after every batch with the number of texts done.

    Returns:
        the shard's row of the manifest.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    kind, ends, total, size = token_type(tokenizer.vocab_size), array("Q"), 0, 0
    digest = hashlib.sha256()
    temporary = path.with_name(f".{path.name}.tmp")
    with open(temporary, "wb") as file:
        for start in range(0, len(texts), BATCH):
            some = texts[start : start + BATCH]
            size += sum(len(text.encode()) for text in some)
            for ids in _encode(some, tokenizer):
                total += len(ids) + 1
                ends.append(total)
                block = np.array([*ids, tokenizer.end_of_text], dtype=kind).tobytes()
                digest.update(block)
                file.write(block)
            each(min(start + BATCH, len(texts)))
        file.flush()
        os.fsync(file.fileno())
    index = np.array(ends, dtype="<u8").tobytes()
    index_path = path.with_name(path.name + ".index")
    index_temporary = index_path.with_name(f".{index_path.name}.tmp")
    index_temporary.write_bytes(index)
    os.replace(index_temporary, index_path)
    os.replace(temporary, path)
    return {
        "name": path.stem,
        "file": path.name,
        "sha256": digest.hexdigest(),
        "index_sha256": hashlib.sha256(index).hexdigest(),
        "tokens": total,
        "documents": len(texts),
        "text_bytes": size,
    }


def counted(texts: Sequence[str], tokenizer: ChatTokenizer) -> list[int]:
    """Tokens of each text, without the one that ends it."""
    return [len(ids) for start in range(0, len(texts), BATCH) for ids in _encode(texts[start : start + BATCH], tokenizer)]


def _encode(texts: Sequence[str], tokenizer: ChatTokenizer) -> Iterator[list[int]]:
    reserved = {token.content for token in tokenizer.tokenizer.get_added_tokens_decoder().values()}
    risky = [any(token in text for token in reserved) for text in texts]
    plain = tokenizer.tokenizer.encode_batch_fast(
        [t for t, r in zip(texts, risky, strict=True) if not r], add_special_tokens=False
    )
    encoded = iter(plain)
    for text, careful in zip(texts, risky, strict=True):
        yield tokenizer.encode(text) if careful else next(encoded).ids


def write_manifest(
    folder: Path, shards: Sequence[dict[str, Any]], tokenizer_file: Path, tokenizer: ChatTokenizer
) -> dict[str, Any]:
    """Say what the shards of a folder must be."""
    manifest = {
        "dtype": token_type(tokenizer.vocab_size).name,
        "vocab_size": tokenizer.vocab_size,
        "end_of_text": tokenizer.end_of_text,
        "tokenizer_sha256": sha256(tokenizer_file),
        "shards": list(shards),
    }
    write_json(folder / MANIFEST, manifest)
    return manifest


def read_shard(path: Path, verify: bool = False) -> tuple[npt.NDArray[Any], npt.NDArray[np.uint64]]:
    """Memory-mapped tokens of a shard and the exclusive end of each document.

    Args:
        path: `NAME.ds`; the manifest lies beside it.
        verify: hash the whole file too; sizes are always checked.

    Raises:
        StageError: a file is missing, cut short, or not the one in the manifest.
    """
    manifest = read_json(path.parent / MANIFEST)
    entry = next((shard for shard in manifest["shards"] if shard["file"] == path.name), None)
    if entry is None:
        raise StageError(f"{path}: not in {path.parent / MANIFEST}; it was made by another run, use one of its own shards")
    kind, index_path = np.dtype(manifest["dtype"]).newbyteorder("<"), path.with_name(path.name + ".index")
    for file, expected in ((path, entry["tokens"] * kind.itemsize), (index_path, entry["documents"] * 8)):
        found = file.stat().st_size if file.is_file() else -1
        if found != expected:
            state = "is missing" if found < 0 else f"has {found} bytes instead of {expected}"
            raise StageError(f"{file}: {state}; run `tenet corpus --fresh` to make the shards anew")
    for file, digest in ((path, entry["sha256"]), (index_path, entry["index_sha256"])) if verify else ():
        if sha256(file) != digest:
            raise StageError(f"{file}: differs from its hash in {MANIFEST}; run `tenet corpus --fresh` to make the shards anew")
    ends = np.fromfile(index_path, dtype="<u8")
    if entry["documents"] and (int(ends[-1]) != entry["tokens"] or bool((np.diff(ends.astype(np.int64)) <= 0).any())):
        raise StageError(
            f"{index_path}: its offsets do not rise to {entry['tokens']}; run `tenet corpus --fresh` to make the shards anew"
        )
    return np.memmap(path, dtype=kind, mode="r"), ends
