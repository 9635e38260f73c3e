"""Step 1: from sources to tokens, a tokenizer, conversations, preferences and verifiable requests, with a card that says how.

Reading and filtering run as a datatrove pipeline and resume by task; everything after it takes seconds at demo size, is made
of files written whole, and gives the same bytes when it is made again.
"""

from __future__ import annotations

import dataclasses
import gzip
import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

from lightning_modules.data.chat import ChatTokenizer
from tenet.corpus import card, shards, sources, tokenizer
from tenet.corpus.selection import Document, Selection, heldout_services, select, size
from tenet.domains.aws_api import conversations, preferences, requests, service_models
from tenet.domains.aws_api.facts import of_split, order_key
from tenet.domains.aws_api.service_models import Split
from tenet.errors import ConfigError, StageError
from tenet.files import write_bytes, write_json, write_jsonl, write_text
from tenet.runs.summary import Figure, Summary
from tenet.runs.workspace import Workspace
from tenet.settings.corpus import CorpusConfig

#: Rows of the validation and test splits, as a share of what training may have: enough for an interval of a few points.
HELD_ROWS = 0.125
SPLITS: tuple[Split, ...] = ("train", "valid", "test")
FILTERS = ("quality", "repetition", "contamination")


def run(config: CorpusConfig, ws: Workspace) -> Summary:
    """Make the corpus."""
    # K swaps this: a source list of one's own, else the domain's.
    config = dataclasses.replace(config, sources=config.sources or (ws.domain.sources if ws.domain else ()))
    _check(config)
    for leftover in ws.dir.rglob(".*.tmp"):  # half a file of a killed run would be counted as an output
        leftover.unlink()
    ws.progress(1, 100, "reading evaluation rows")
    found, all_read = _documents(config, ws)
    documents = found.splits
    rows = _write_rows(config, ws)
    chat = _tokenizer(config, ws, [d["text"] for d in documents["train"]], rows)
    manifest = _write_shards(ws, documents, chat)
    _write_documents(ws, documents)
    content = _card(config, found, all_read, manifest, rows)
    write_json(ws.dir / "card.json", content)
    write_jsonl(
        ws.dir / "removed.jsonl", [card.removed_row(entry) for entry in sorted(found.removed, key=lambda e: (e[2]["id"], e[0]))]
    )
    from tenet.corpus import pipeline

    pipeline.clear(ws.dir / "checkpoints" / "documents")
    ws.progress(100, 100, "done")
    return _summary(content)


def _check(config: CorpusConfig) -> None:
    """Everything that can be refused without reading a text."""
    if not config.sources:
        raise ConfigError("corpus.sources is empty; name at least one, e.g. {kind: botocore}")
    if not 0 < sum(config.heldout) < 0.5 or min(config.heldout) <= 0:
        raise ConfigError(f"corpus.heldout is {config.heldout}; both shares must be above 0 and together below 0.5")
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
    for source in config.sources:
        sources.check_source(source)


def _documents(config: CorpusConfig, ws: Workspace) -> tuple[Selection, list[Document]]:
    """Read, filter, compare. Returns what is kept, and every document that was read."""
    from tenet.corpus import pipeline

    if config.evaluation:
        from tenet.evaluate.tasks import evaluation_texts

        texts = list(evaluation_texts(config.evaluation))
    else:
        texts = []
    folder = pipeline.filter_documents(config, ws, texts)
    kept = list(pipeline.kept_documents(folder))
    dropped = [
        (name, document["metadata"].pop("filter_reason", ""), document) for name, document in pipeline.removed_documents(folder)
    ]

    def step(name: str) -> None:
        ws.check()
        ws.progress(42, 100, name)

    found = select(
        kept,
        seed=ws.seed,
        heldout=config.heldout,
        near_duplicate=config.near_duplicate,
        ngram=config.decontaminate,
        service_cap=config.service_cap,
        max_bytes=config.max_bytes,
        step=step,
    )
    found.removed = dropped + found.removed
    for split, documents in found.splits.items():
        if not documents:
            raise StageError(
                f"corpus: no documents for the {split} split; add a source, or raise corpus.heldout ({config.heldout}) "
                "or corpus.max_bytes"
            )
    return found, kept + [document for _, _, document in dropped]


# --- rows ------------------------------------------------------------------------------------------------------------


def _write_rows(config: CorpusConfig, ws: Workspace) -> dict[str, list[dict[str, Any]]]:
    """Conversations, preferences and requests about the AWS API, each in its split."""
    ws.progress(55, 100, "conversations, preferences, requests")
    operations = service_models.operations(sources.services_of(config.sources))
    result: dict[str, list[dict[str, Any]]] = {}
    for split in SPLITS:
        ws.check()
        chosen = of_split(operations, split, config.heldout)
        share = 1.0 if split == "train" else HELD_ROWS
        result[f"instructions/{split}"] = conversations.instruction_rows(
            chosen, split, ws.seed, round(config.instructions * share) or None
        )
        if split != "valid":
            result[f"preferences/{split}"] = preferences.preference_rows(
                chosen, ws.seed, round(config.preferences * share) or None
            )
            result[f"requests/{split}"] = requests.request_rows(chosen, ws.seed, round(config.requests * share) or None)
    for name, rows in result.items():
        write_jsonl(ws.dir / f"{name}.jsonl", rows)
    return result


def _tokenizer(config: CorpusConfig, ws: Workspace, texts: list[str], rows: dict[str, list[dict[str, Any]]]) -> ChatTokenizer:
    """Train on the training text and on the training conversations as the template writes them, or copy a finished tokenizer."""
    ws.check()
    ws.progress(65, 100, "tokenizer")
    folder, context = ws.dir / "tokenizer", ws.setting("model.max_position_embeddings")
    if config.tokenizer == "train":
        # Without the conversations a request costs 140 tokens instead of 111: documents hold little JSON schema.
        chat = [json.dumps([row.get("tools", ""), row["messages"]], ensure_ascii=False) for row in rows["instructions/train"]]
        trained = tokenizer.train_tokenizer([*sorted(texts), *chat], config.vocab_size)
        tokenizer.write_tokenizer(trained, folder, context=context)
    elif config.tokenizer == "smollm2":
        tokenizer.smollm2_tokenizer(folder)
    else:
        tokenizer.copy_tokenizer(Path(config.tokenizer), folder, context)
    return ChatTokenizer.from_folder(folder)


# --- documents -------------------------------------------------------------------------------------------------------


def _write_shards(ws: Workspace, documents: dict[Split, list[Document]], chat: ChatTokenizer) -> dict[str, Any]:
    """Training text in a seeded shuffle, held-out text in the order of its ids."""
    entries = []
    for split in SPLITS:
        ordered = sorted(
            documents[split], key=lambda d: order_key(ws.seed + 3, d["id"]) if split == "train" else d["id"].encode()
        )
        documents[split] = ordered

        def each(done: int, split: Split = split, total: int = len(ordered)) -> None:
            ws.check()
            ws.progress(
                (75 if split == "train" else 92) + 17 * (done / total) * (split == "train"),
                100,
                f"tokens of {split}: {done} of {total}",
            )

        entries.append(shards.write_shard(ws.dir / "tokens" / f"{split}.ds", [d["text"] for d in ordered], chat, each))
    return shards.write_manifest(ws.dir / "tokens", entries, ws.dir / "tokenizer" / "tokenizer.json", chat)


def _write_documents(ws: Workspace, documents: dict[Split, list[Document]]) -> None:
    """The text itself: training documents gzipped, held-out ones plain, and the test text that the compression baseline reads."""
    lines = "".join(json.dumps(document, ensure_ascii=False) + "\n" for document in documents["train"])
    write_bytes(ws.dir / "documents" / "train.jsonl.gz", gzip.compress(lines.encode(), compresslevel=5, mtime=0))
    for split in SPLITS[1:]:
        write_jsonl(ws.dir / "heldout" / f"{split}.jsonl", documents[split])
    write_text(ws.dir / "heldout" / "test.txt", "\n\n".join(document["text"] for document in documents["test"]))


# --- card ------------------------------------------------------------------------------------------------------------


def _card(
    config: CorpusConfig,
    found: Selection,
    all_read: list[Document],
    manifest: dict[str, Any],
    rows: dict[str, list[dict[str, Any]]],
) -> dict[str, Any]:
    kept = [document for documents in found.splits.values() for document in documents]
    order = [*FILTERS, *found.entered]
    held = heldout_services((d["metadata"]["service"] for d in all_read if d["metadata"]["service"]), config.heldout)
    tokens = {shard["name"]: shard for shard in manifest["shards"]}
    return {
        "documents": {"read": len(all_read), "kept": len(kept), **{split: len(d) for split, d in found.splits.items()}},
        "bytes": {"read": sum(map(size, all_read)), "kept": sum(map(size, kept))},
        "tokens": {name: shard["tokens"] for name, shard in tokens.items()},
        "bytes_per_token": {name: round(shard["text_bytes"] / shard["tokens"], 4) for name, shard in tokens.items()},
        "filters": card.filter_rows(found.removed, order, len(all_read), sum(map(size, all_read))),
        "heldout": held,
        "heldout_overlap": {
            "value": round(found.heldout_overlap, 4),
            "about": f"mean share of a test document's words in runs of {config.decontaminate} that training text has too",
        },
        "evaluation": list(config.evaluation),
        "sources": card.source_rows(all_read),
        "licences": card.licence_rows(kept),
        "rows": {name: len(items) for name, items in rows.items()},
        "tokenizer": {"from": config.tokenizer, "entries": manifest["vocab_size"], "sha256": manifest["tokenizer_sha256"]},
    }


def _summary(content: dict[str, Any]) -> Summary:
    gone = {row["filter"]: row["documents_in"] - row["documents_out"] for row in content["filters"]}
    tokens, documents, held = content["tokens"]["train"], content["documents"], content["heldout"]
    licences = sorted({row["licence"] for row in content["licences"]})
    return Summary(
        headline=(
            f"{documents['kept']:,} of {documents['read']:,} documents kept, {tokens:,} training tokens; "
            f"{len(held['test'])} services held out for the test ({', '.join(licences)})"
        ),
        figures=[
            Figure("training tokens", tokens, "tokens"),
            Figure(
                "documents kept",
                documents["kept"],
                "documents",
                baseline=documents["read"],
                better="neither",
                note="baseline: documents read",
            ),
            Figure(
                "bytes per token",
                content["bytes_per_token"]["train"],
                "bytes",
                baseline=1.0,
                note="baseline: a token for each byte",
            ),
            Figure("duplicates removed", gone["exact duplicate"] + gone["near duplicate"], "documents", better="neither"),
            Figure("near duplicates removed", gone["near duplicate"], "documents", better="neither"),
            Figure("contaminated removed", gone["contamination"] + gone["held-out overlap"], "documents", better="neither"),
            Figure("held-out services", len(held["valid"]) + len(held["test"]), "services", better="neither"),
        ],
        tokens=tokens,
    )
