"""`card.html` of a corpus: what went in, what every step took and why, for somebody who has neither run nor terminal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tenet.report.render.html import Html, join, page, table, tag
from tenet.report.render.words import amount


def data_card(card: dict[str, Any], name: str) -> str:
    """The page."""
    documents, size = card["documents"], card["bytes"]
    lead = (
        f"{documents['kept']:,} of {documents['read']:,} documents kept, {size['kept']:,} of {size['read']:,} bytes; "
        f"{card['tokens']['train']:,} training tokens"
    )
    parts = [tag("h1", f"{name}: data card"), tag("p", lead)]
    if card["doubts"]:
        parts += [tag("h2", "What to doubt"), tag("ul", *(tag("li", doubt) for doubt in card["doubts"]))]
    parts += [tag("h2", title) if isinstance(title, str) else title for title in _sections(card)]
    return page(f"{name}: data card", join(parts))


def _sections(card: dict[str, Any]) -> Iterable[str | Html]:
    yield "Filters, in their order"
    rows = [(r["filter"], r["documents_in"], r["documents_out"], _counted(r["reasons"])) for r in card["filters"]]
    yield table(("filter", "documents in", "out", "removed, by reason"), rows)
    yield "Sources"
    yield table(
        ("source", "documents read", "bytes", "documents kept", "bytes", "removed, by filter", "SHA-256 of the text"),
        [
            (*_rows([r], "source documents bytes documents_kept bytes_kept")[0], _counted(r["removed"]), r["sha256"])
            for r in card["sources"]
        ],
    )
    yield "Licences of what is kept"
    yield table(("licence", "source", "documents", "bytes"), _rows(card["licences"], "licence source documents bytes"))
    told = card["languages"]
    yield f"Languages ({told['of']}, by {told['by']})"
    yield table(("language", "documents", "bytes"), [(c, r["documents"], r["bytes"]) for c, r in told["languages"].items()])
    if (domains := card["domains"])["domains"]:
        yield f"Web domains by size ({domains['domains']:,}; {domains['documents']:,} documents say their address)"
        rows = [(r["domain"], r["documents"], r["bytes"], ", ".join(r["licences"])) for r in domains["largest"]]
        yield table(("domain", "documents", "bytes", "licences"), rows)
    if card["opted_out"]:
        yield "Pages that asked to be left out, and were"
        yield table(("host", "pages"), list(card["opted_out"].items()))
    yield "What the tokenizer makes of it"
    fertile = [(key, r["bytes_per_token"], r["tokens_per_word"]) for by in card["fertility"].values() for key, r in by.items()]
    yield table(("source or language", "bytes a token", "tokens a word"), fertile)
    yield "Files"
    files = card["files"]
    yield table(("what", "how many"), [*files["read"].items(), *((f"not read: {k}", n) for k, n in files["skipped"].items())])
    masked = [(source, kind, count) for source, kinds in card["personal_data"].items() for kind, count in kinds.items()]
    if masked:
        yield "Personal data that was masked"
        yield table(("source", "kind", "times"), masked)
    hits = [(task, e["rows"], e["rows_hit"], e["documents_hit"]) for task, e in card["contamination"].items()]
    if hits:
        yield "Evaluation rows found in documents (those documents are removed)"
        yield table(("task", "rows", "rows found", "documents"), hits)
        yield from _matches(card["contamination"])
    if card["mix"]:
        yield "Mix"
        mixed = [(r["source"], amount(r["share"], "share"), r["there"], r["epochs"], r["bytes"]) for r in card["mix"]]
        yield table(("source", "share asked", "bytes there", "passes", "bytes in the mix"), mixed)
    yield "How it is made again"
    yield tag("p", "`tenet corpus rebuild card.json --run NEW` with the same sources gives these files:")
    yield table(("file", "SHA-256"), list(card["recipe"]["sha256"].items()))


def _matches(contamination: dict[str, Any]) -> Iterable[Html]:
    for task, entry in contamination.items():
        if entry["matches"]:
            rows = [(m["row"], m["document"], m["how"], m["text"]) for m in entry["matches"]]
            yield table(("row", "document", "how", "matched text"), rows, f"{task}: what stands in documents")


def _rows(entries: list[dict[str, Any]], keys: str) -> list[tuple[Any, ...]]:
    return [tuple(entry[key] for key in keys.split()) for entry in entries]


def _counted(reasons: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {reason.replace('_', ' ')}" for reason, count in reasons.items()) or "none"
