"""Step 1: from sources to tokens, a tokenizer and, where there is a domain, its rows, with a card that says how.

Reading and filtering run as a datatrove pipeline and resume by task; everything after it takes seconds at demo size, is
made of files written whole, and gives the same bytes when it is made again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from lightning_modules.data.chat import ChatTokenizer
from tenet.corpus import sources
from tenet.corpus.cards import addresses, card, findings, headline, sums
from tenet.corpus.cards.rebuilding import recipe
from tenet.corpus.contamination import ContaminationConfig, report
from tenet.corpus.dedup.earlier import FILE, SeenWriter
from tenet.corpus.documents import public, size
from tenet.corpus.preflight import check
from tenet.corpus.selection import Selection, select
from tenet.corpus.split import Split, order_key
from tenet.corpus.storage import output
from tenet.corpus.storage.stored import Store, Stored, Texts
from tenet.corpus.tokens import mixing, origins, shards, tokenizer
from tenet.domains.domain import Domain
from tenet.domains.loading import load_code
from tenet.domains.row_maker import row_maker
from tenet.errors import StageError
from tenet.files import write_json, write_jsonl
from tenet.posttrain.datasets import FOLDERS
from tenet.runs.summary import Summary
from tenet.runs.workspace import Workspace
from tenet.settings.corpus import DOMAIN_KIND, CorpusConfig, SourceConfig

Rows = dict[str, list[dict[str, Any]]]
#: (split=, seed=, heldout=, most=, documents=) -> kind -> rows. `most` has an entry for each kind, None takes all;
#: `documents` are those of every split.
MakeRows = Callable[..., Rows]
SPLITS: tuple[Split, ...] = ("train", "valid", "test")
#: Text of what was removed, with filter and reason.
REMOVED_TEXTS = Path("documents") / "removed.jsonl.gz"


@dataclasses.dataclass(frozen=True)
class Guest:
    """What this step takes from the domain: rows, what its sources are, and its word for what is held out together.

    Args:
        sources: those of the settings, the domain's own among them or in their place.
        make_rows: None: there are none.
        groups: "services", "documents", ...
        left_out: rows of each kind that belong to no split; filled while rows are made.
    """

    sources: tuple[Any, ...] = ()
    make_rows: MakeRows | None = None
    groups: str = "documents"
    left_out: dict[str, int] = dataclasses.field(default_factory=dict)


@contextlib.contextmanager
def _collected_seldom() -> Iterator[None]:
    """Python looks for cycles seldom, and not among what is there already: the rows and documents of this stage are
    hundreds of thousands of objects without a cycle, which it would go through again and again."""
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(100_000, 20, 100)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


@_collected_seldom()
def run(config: CorpusConfig, ws: Workspace) -> Summary:
    """Make the corpus."""
    guest = guest_of(config, ws.domain)
    config = dataclasses.replace(config, sources=guest.sources)
    check(config)
    for leftover in ws.dir.rglob(".*.tmp"):  # half a file of a killed run would be counted as an output
        leftover.unlink()
    ws.progress(0, 100, "reading evaluation rows")
    texts = _evaluation_texts(config)
    store = Store(ws.dir / "checkpoints" / "documents")
    found, all_read, notes, doubts = _documents(config, ws, texts, store)
    documents = found.splits
    rows = _write_rows(config, ws, guest.make_rows, documents)
    chat = _tokenizer(config, ws, documents["train"], rows)
    copies, portions = mixing.mix(documents["train"], config.sources, ws.seed + 5)
    named = [one.label or one.source.kind for one in sources.opened(config.sources)]
    manifest = _write_shards(ws, documents, copies, chat, named)
    _write_documents(ws, documents)
    removed = sorted(found.removed, key=lambda e: (e[2].id, e[0], e[2].key))
    output.write_rows(ws.dir / "removed.jsonl", map(card.removed_row, removed))
    if config.keep_removed:
        texts_of = ({**public(d), "filter": name, "reason": reason} for name, reason, d in removed)
        output.write_rows(ws.dir / REMOVED_TEXTS, texts_of)
    kept = [(split, "", document) for split in SPLITS for document in documents[split]]
    findings.write_numbers(ws.dir / findings.FILE, [*kept, *(("removed", name, document) for name, _, document in removed)])
    gone = ((document["id"], document["text"]) for name, _, document in found.removed if name == "contamination")
    contamination = report(gone, texts, ContaminationConfig(config.decontaminate, paraphrase=config.paraphrase))
    content = _card(config, found, all_read, manifest, rows, notes, doubts, guest.left_out)
    about = ws.domain.name if ws.domain else ""
    content["recipe"] = recipe(config, ws.seed, about, ws.setting("model.max_position_embeddings"), ws.dir)
    told = findings.languages([document for _, _, document in kept], config.filters, ws.seed)
    content |= {
        "passages_cut": dict(zip(("documents", "characters"), found.cut, strict=True)),
        "contamination": contamination,
        "repaired": findings.repaired(all_read),
        "personal_data": findings.masked(all_read),
        "languages": told.card(),
        "fertility": findings.fertility(told, lambda texts: shards.counted(texts, chat)),
    }
    content["mix"] = [dataclasses.asdict(portion) for portion in portions]
    sums.check(content)
    write_json(ws.dir / "card.json", content)
    if left_out := card.skipped_rows(notes):
        write_jsonl(ws.dir / "skipped.jsonl", left_out)
    from tenet.corpus import pipeline

    store.close()
    pipeline.clear(store.folder)
    ws.progress(100, 100, "done")
    return headline.summary(content, guest.groups)


def guest_of(config: CorpusConfig, domain: Domain | None) -> Guest:
    """The one place where this step meets the domain."""
    if domain is None:
        return Guest(sources=resolved(config.sources, ()))
    code = load_code(domain)
    for kind, reader in code.readers.items():
        sources.register(kind, reader, code.check_source)
    wanted = resolved(config.sources, domain.sources)
    left_out: dict[str, int] = {}
    return Guest(wanted, row_maker(domain, code, wanted, left_out), domain.words.groups, left_out)


def resolved(given: tuple[SourceConfig, ...], own: tuple[SourceConfig, ...]) -> tuple[SourceConfig, ...]:
    """The domain's sources where none are given, and in the place of `{kind: domain}`."""
    return tuple(one for source in given or own for one in (own if source.kind == DOMAIN_KIND else (source,)))


def preview(config: CorpusConfig, domain: Domain | None = None) -> list[str]:
    """What a dry run shows: every source opened, its files counted, one document of each.

    Raises:
        ConfigError: a setting or a source that the stage would refuse.
    """
    guest = guest_of(config, domain)  # registers the domain's kinds of source
    config = dataclasses.replace(config, sources=guest.sources)
    check(config)
    return sources.preview(config.sources)


def _evaluation_texts(config: CorpusConfig) -> list[tuple[str, str, str]]:
    """(task, row id, text) of all that must not be trained on."""
    if not config.evaluation:
        return []
    from tenet.evaluate.task_rows import evaluation_texts

    return list(evaluation_texts(config.evaluation))


def _documents(
    config: CorpusConfig, ws: Workspace, texts: list[tuple[str, str, str]], store: Store
) -> tuple[Selection, list[Stored], list[dict[str, Any]], list[str]]:
    """Read, filter, compare. Returns what is kept, every document that was read, what became of each file, and
    doubts."""
    from tenet.corpus import pipeline
    from tenet.corpus.rules import settle

    wanted = sources.opened(config.sources, config.most_refused)
    folder = pipeline.filter_documents(config, ws, wanted, texts)
    notes = pipeline.file_notes(folder)
    settled = settle(store.kept(), store.removed(pipeline.FILTERS), config.filters.language)
    all_read = settled.kept + [document for _, _, document in settled.removed]
    names = [source.label or source.source.kind for source in wanted]

    def step(name: str) -> None:
        ws.check()
        ws.progress(pipeline.READING, 100, name)

    def doubts(removed: list[tuple[str, str, Stored]]) -> list[str]:
        return card.doubts(removed, all_read, names, settled.foreign)

    if not settled.kept:
        raise StageError(_nothing_left("none of them passed the filters", all_read, doubts(settled.removed), notes))
    seen = SeenWriter(ws.dir / FILE, "")
    found = select(
        settled.kept,
        seed=ws.seed,
        heldout=config.heldout,
        near_duplicate=config.near_duplicate,
        ngram=config.decontaminate,
        edited_copy=config.edited_copy,
        passages=config.passages,
        seen_in=[Path(run) for run in config.seen_in],
        memory=config.memory_mb * 2**20,
        scratch=ws.dir / "checkpoints" / "duplicates",
        remember=seen.add,
        group_cap=config.group_cap,
        max_bytes=config.max_bytes,
        step=step,
    )
    seen.close()
    found.removed = settled.removed + found.removed
    for split, documents in found.splits.items():
        if not documents:
            raise StageError(_nothing_left(f"none is left for the {split} split", all_read, doubts(found.removed), notes))
    return found, all_read, notes, doubts(found.removed) + found.notes


def _nothing_left(what: str, read: list[Stored], doubts: list[str], notes: list[dict[str, Any]]) -> str:
    """Why there is no corpus, with the rule that took most and the setting that loosens it."""
    skipped = card.file_rows(notes)["skipped"]
    said = [f"corpus: {len(read):,} documents were read, {what}", *doubts]
    if skipped:
        said.append("skipped files: " + ", ".join(f"{count} x {reason}" for reason, count in list(skipped.items())[:5]))
    return "; ".join(said if len(said) > 1 else [*said, "add a source, or raise corpus.heldout or corpus.max_bytes"])


# --- rows ------------------------------------------------------------------------------------------------------------


def _write_rows(config: CorpusConfig, ws: Workspace, make: MakeRows | None, documents: dict[Split, list[Stored]]) -> Rows:
    """The domain's conversations, preferences and prompts, each in its split; none without a domain."""
    if make is None:
        return {}
    ws.progress(72, 100, "conversations, preferences, requests")
    wanted = {"conversations": config.instructions, "preferences": config.preferences, "prompts": config.requests}
    most = {kind: None if count == "all" else count for kind, count in wanted.items()}
    result: Rows = {}
    for split in SPLITS:
        ws.check()
        made = make(split=split, seed=ws.seed, heldout=config.heldout, most=most, documents=documents)
        result |= {f"{FOLDERS[kind]}/{split}": rows for kind, rows in made.items()}
    for name, rows in result.items():
        write_jsonl(ws.dir / f"{name}.jsonl", [_without_folder(row) for row in rows])
    return result


def _without_folder(row: dict[str, Any]) -> dict[str, Any]:
    """A prompt without the place of its verifier's code on this machine; whoever reads the rows knows the domain."""
    if "folder" not in row.get("verifier", {}):
        return row
    return {**row, "verifier": {key: value for key, value in row["verifier"].items() if key != "folder"}}


def _tokenizer(config: CorpusConfig, ws: Workspace, documents: list[Stored], rows: Rows) -> ChatTokenizer:
    """Train on the training text and on the training conversations as the template writes them, or copy a finished
    tokenizer."""
    ws.check()
    ws.progress(80, 100, "tokenizer")
    folder, context = ws.dir / "tokenizer", ws.setting("model.max_position_embeddings")
    if config.tokenizer == "train":
        # Without the conversations a request costs 140 tokens instead of 111: documents hold little JSON schema.
        chat = [
            json.dumps([row.get("tools", ""), row["messages"]], ensure_ascii=False) for row in rows.get("instructions/train", [])
        ]
        texts = Texts(sorted(documents, key=lambda document: (document.id, document.key)))
        trained = tokenizer.train_tokenizer(itertools.chain(texts, chat), config.vocab_size)
        tokenizer.write_tokenizer(trained, folder, context=context)
    elif config.tokenizer == "smollm2":
        tokenizer.smollm2_tokenizer(folder)
    else:
        tokenizer.copy_tokenizer(Path(config.tokenizer), folder, context)
    return ChatTokenizer.from_folder(folder)


# --- documents -------------------------------------------------------------------------------------------------------


def _write_shards(
    ws: Workspace, documents: dict[Split, list[Stored]], copies: list[int], chat: ChatTokenizer, named: list[str]
) -> dict[str, Any]:
    """Training text in a seeded shuffle, each document as often as the mix says; held-out text in the order of its
    ids."""
    entries = []
    for split in SPLITS:
        train = split == "train"
        times = {id(d): n for d, n in zip(documents[split], copies, strict=True)} if train else {}
        documents[split] = sorted(
            documents[split], key=lambda d: (order_key(ws.seed + 3, d.id) if train else d.id.encode(), d.key)
        )
        ordered = _repeated(documents[split], times, ws.seed + 3) if train else documents[split]
        if train:
            places = [d["metadata"].get("_source", 0) for d in ordered]
            origins.write_origins(ws.dir / "tokens", named, places, _further_copies(ordered))

        def each(done: int, split: Split = split, total: int = len(ordered)) -> None:
            ws.check()
            ws.progress(
                (86 if split == "train" else 95) + 9 * (done / total) * (split == "train"),
                100,
                f"tokens of {split}: {done} of {total}",
            )

        entries.append(shards.write_shard(ws.dir / "tokens" / f"{split}.ds", Texts(ordered), chat, each))
    return shards.write_manifest(ws.dir / "tokens", entries, ws.dir / "tokenizer" / "tokenizer.json", chat)


def _repeated(ordered: list[Stored], times: dict[int, int], seed: int) -> list[Stored]:
    """Documents as often as the mix says, every further copy at a place of its own; in `ordered`'s order where each is
    there once."""
    if all(count == 1 for count in times.values()):
        return ordered
    places = [
        (order_key(seed, d["id"] if not copy else f"{d['id']} copy {copy}"), d) for d in ordered for copy in range(times[id(d)])
    ]
    return [document for _, document in sorted(places, key=lambda place: place[0])]


def _further_copies(ordered: list[Stored]) -> list[bool]:
    """Of documents that the mix repeats, which have been there before."""
    seen: set[int] = set()
    again = []
    for document in ordered:
        again.append(id(document) in seen)
        seen.add(id(document))
    return again


def _write_documents(ws: Workspace, documents: dict[Split, list[Stored]]) -> None:
    """The text itself: training documents gzipped, held-out ones plain, and the test text that the compression baseline
    reads."""
    output.write_rows(ws.dir / "documents" / "train.jsonl.gz", map(public, documents["train"]))
    for split in SPLITS[1:]:
        output.write_rows(ws.dir / "heldout" / f"{split}.jsonl", map(public, documents[split]))
    output.write_texts(ws.dir / "heldout" / "test.txt", Texts(documents["test"]))


# --- card ------------------------------------------------------------------------------------------------------------


def _card(
    config: CorpusConfig,
    found: Selection,
    all_read: list[Stored],
    manifest: dict[str, Any],
    rows: Rows,
    notes: list[dict[str, Any]],
    doubts: list[str],
    across: dict[str, int],
) -> dict[str, Any]:
    from tenet.corpus.pipeline import active

    kept = [document for documents in found.splits.values() for document in documents]
    order = [*active(config), *found.entered]
    held = found.holdout.groups
    tokens = {shard["name"]: shard for shard in manifest["shards"]}
    return {
        "documents": {"read": len(all_read), "kept": len(kept), **{split: len(d) for split, d in found.splits.items()}},
        "bytes": {"read": sum(map(size, all_read)), "kept": sum(map(size, kept))},
        "tokens": {name: shard["tokens"] for name, shard in tokens.items()},
        "bytes_per_token": {name: round(shard["text_bytes"] / shard["tokens"], 4) for name, shard in tokens.items()},
        "filters": card.filter_rows(found.removed, order, len(all_read), sum(map(size, all_read))),
        "heldout": {split: names[: card.MOST_NAMED] for split, names in held.items()},
        "heldout_groups": {split: len(names) for split, names in held.items()},
        "heldout_how": headline.HOW[found.holdout.how],
        "heldout_overlap": {
            "value": round(found.heldout_overlap, 4),
            "about": f"mean share of a test document's words in runs of {config.decontaminate} that training text has too",
        },
        "evaluation": list(config.evaluation),
        "filter_settings": dataclasses.asdict(config.filters),
        "files": card.file_rows(notes),
        "doubts": doubts,
        "sources": card.with_fates(card.source_rows(all_read), kept, found.removed),
        "domains": addresses.domain_rows(kept),
        "opted_out": addresses.opted_out(notes),
        "licences": card.licence_rows(kept),
        "rows": {name: len(items) for name, items in rows.items()},
        "rows_across_the_split": across,
        "tokenizer": {"from": config.tokenizer, "entries": manifest["vocab_size"], "sha256": manifest["tokenizer_sha256"]},
    }
