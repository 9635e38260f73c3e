"""`tenet corpus inspect | card | rebuild | sweep | vocabulary | quality | toxicity`: look into a finished corpus, make one
again from its card, find out what its parts are worth, train the models that a filter asks."""

from __future__ import annotations

import argparse
import dataclasses
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tenet.cli.corpus import corpus_experiments
from tenet.errors import FAILED, ConfigError
from tenet.settings.corpus import COMMON_KINDS, DOMAIN_KIND

WORDS = ("inspect", "card", "rebuild", "sweep", "vocabulary", "quality", "toxicity")
INSPECT = """examples
  tenet corpus inspect runs/mine                                   what went in, what each filter removed and why
  tenet corpus inspect runs/mine --find "the morning of the 4th"   where a text went: split, or filter and reason
  tenet corpus inspect runs/mine --of removed --filter quality -n 5
  tenet corpus inspect runs/mine --of train -n 3 --json
  tenet corpus inspect runs/mine --threshold gopher_short_doc=30   what another threshold would keep, without reading again
"""
TRAIN = """examples
  tenet corpus quality --good books/ --bad scraped.jsonl --out models/quality
  tenet corpus quality --labelled judged.jsonl --out models/quality          rows with `text` and `label` or `score`
  tenet corpus toxicity --labelled moderated.jsonl --out models/toxicity     rows with `text` and `labels`: {name: 0 or 1}
"""
REBUILD = """examples
  tenet corpus rebuild runs/mine --run runs/again                  the same settings, seed and subject; 1 if a hash differs
  tenet corpus rebuild published/card.json --run runs/again --sources /data/books /data/articles.parquet
"""


def wanted(words: list[str]) -> bool:
    """Are these words of this module, and not the stage's own flags?"""
    return bool(words) and words[0] in WORDS


def source_flags(words: Sequence[str]) -> list[str]:
    """`--sources PATH|NAME ...` as the setting that it stands for; YAML and JSON go on as they are.

    Raises:
        ConfigError: a name that is no file, folder, kind of source or data set.
    """
    words = list(words)
    flags = [i for i, word in enumerate(words) if word == "--sources" or word.startswith("--sources=")]
    if not flags:
        return words
    begin = flags[0]
    given = [words[begin].partition("=")[2]] if "=" in words[begin] else []
    end = begin + 1
    while end < len(words) and not words[end].startswith("--"):
        given.append(words[end])
        end += 1
    if not given or given[0].lstrip().startswith(("[", "{")):
        return words
    return [*words[:begin], "--sources", json.dumps([_source(name) for name in given]), *words[end:]]


def _source(name: str) -> dict[str, str]:
    if Path(name).expanduser().exists():
        return {"kind": "folder", "name": name}
    if name in (*COMMON_KINDS, DOMAIN_KIND) or re.fullmatch(r"[a-z_]+", name):  # a domain may bring the kind
        return {"kind": name}
    if found := re.fullmatch(r"([\w.-]+/[\w.-]+)(?::([\w.-]+))?", name):
        return {"kind": "huggingface", "name": found[1], "split": found[2] or "train"}
    raise ConfigError(
        f"--sources {name!r}: no such file or folder, no kind of source ({', '.join(COMMON_KINDS)}, domain), no data set (owner/name)"
    )


def corpus_command(words: list[str]) -> int:
    """Entry of the command line."""
    parser = argparse.ArgumentParser("tenet corpus", description="Look into a finished corpus, or make it again.")
    actions = parser.add_subparsers(dest="action", required=True)
    raw = argparse.RawDescriptionHelpFormatter
    look = actions.add_parser("inspect", help="rows, reasons, samples; where a text went", epilog=INSPECT, formatter_class=raw)
    look.add_argument("run", type=Path, metavar="RUN", help="run folder, or its corpus folder")
    look.add_argument("--find", default="", metavar="TEXT", help="an id, or words of the text: where did it go?")
    look.add_argument("--of", default="", metavar="PLACE", help="samples of train, valid, test or removed")
    look.add_argument("--filter", default="", help="with --of removed: of one filter")
    look.add_argument("--reason", default="", help="with --of removed: of one reason (its beginning is enough)")
    look.add_argument("--threshold", default="", metavar="RULE=VALUE", help="what would another threshold of a rule keep?")
    look.add_argument("-n", "--count", type=int, default=5, help="how many are shown (default 5)")
    look.add_argument("--seed", type=int, default=0, help="of the draw")
    look.add_argument("--json", action="store_true", help="print JSON")
    card = actions.add_parser(
        "card",
        help="card.html, croissant.json and bom.cdx.json of a corpus",
        epilog="examples\n  tenet corpus card runs/mine",
        formatter_class=raw,
    )
    card.add_argument("run", type=Path, metavar="RUN", help="run folder, or its corpus folder")
    card.add_argument("--out", type=Path, default=None, help="folder for them (default RUN/card/corpus)")
    again = actions.add_parser("rebuild", help="make a corpus again from its card", epilog=REBUILD, formatter_class=raw)
    again.add_argument("card", type=Path, metavar="RUN|CARD", help="run folder, or card.json")
    again.add_argument("--run", type=Path, required=True, help="a new run folder")
    again.add_argument("--domain", default="", help="folder of the subject, where it is none that is built in")
    again.add_argument(
        "--sources", nargs="+", default=[], metavar="PATH", help="where the sources of kind folder lie now, in their order"
    )
    corpus_experiments.add_parsers(actions)
    quality = actions.add_parser("quality", help="train a quality classifier", epilog=TRAIN, formatter_class=raw)
    quality.add_argument("--good", type=Path, help="JSON lines with `text`, or a folder of texts, as they should be")
    quality.add_argument("--bad", type=Path, help="the same, as they should not be")
    quality.add_argument("--threshold", type=float, default=0.5, help="with --labelled: least score of a good text")
    toxic = actions.add_parser("toxicity", help="train a tagger for toxic text", epilog=TRAIN, formatter_class=raw)
    for one in (quality, toxic):
        one.add_argument("--labelled", type=Path, help="JSON lines of labelled texts")
        one.add_argument("--out", type=Path, required=True, help="a new folder: the model and its card")
        one.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args(words)
    command = {
        "inspect": _inspect,
        "card": _card,
        "rebuild": _rebuild,
        "sweep": lambda chosen: corpus_experiments.run_sweep(chosen, _source),
        "vocabulary": corpus_experiments.run_vocabulary,
        "quality": _quality,
        "toxicity": _toxicity,
    }
    return command[chosen.action](chosen)


def _quality(chosen: argparse.Namespace) -> int:
    from tenet.corpus.filters.quality import Classifier, judged, texts_of, train

    if chosen.labelled and not (chosen.good or chosen.bad):
        good, bad = judged(chosen.labelled, chosen.threshold)
    elif chosen.good and chosen.bad and not chosen.labelled:
        good, bad = texts_of(chosen.good), texts_of(chosen.bad)
    else:
        raise ConfigError("give --good and --bad, or --labelled alone")
    card = train(good, bad, _new(chosen.out), chosen.seed)
    print(json.dumps(card, indent=2, ensure_ascii=False))
    model = Classifier(chosen.out)
    for name, some in (("good", good), ("bad", bad)):
        pulled = ", ".join(f"{word} {pull:+.2f}" for word, pull in model.explain("\n".join(some[:20]), 8))
        print(f"what the words of {name} texts pull (above 0: up): {pulled}")
    print(f"use it: corpus.filters.quality_model: {chosen.out}")
    return 0


def _toxicity(chosen: argparse.Namespace) -> int:
    from tenet.corpus.filters.toxicity import train
    from tenet.files import read_jsonl

    if not chosen.labelled:
        raise ConfigError("give --labelled FILE: JSON lines with `text` and `labels`")
    print(json.dumps(train(read_jsonl(chosen.labelled), _new(chosen.out), chosen.seed), indent=2, ensure_ascii=False))
    print(f"use it: corpus.filters.toxicity_model: {chosen.out}")
    return 0


def _new(folder: Path) -> Path:
    if folder.exists():
        raise ConfigError(f"--out {folder} is there already; name a new folder")
    return folder


def _inspect(chosen: argparse.Namespace) -> int:
    from tenet.corpus.cards import inspection

    folder = inspection.corpus_folder(chosen.run)
    if chosen.threshold:
        return _threshold(folder, chosen)
    if chosen.find and chosen.of:
        raise ConfigError("--find looks for one text, --of shows samples; leave one of them out")
    if chosen.find:
        hits, total = inspection.find(folder, chosen.find, chosen.count)
    elif chosen.of or chosen.filter or chosen.reason:
        place = chosen.of or "removed"
        hits = inspection.samples(folder, place, chosen.filter, chosen.reason, chosen.count, chosen.seed)
        total = len(hits)
    else:
        card = _whole_card(folder)
        print(json.dumps(card, indent=2, ensure_ascii=False) if chosen.json else overview(card))
        return 0
    if chosen.json:
        print(json.dumps([dataclasses.asdict(hit) for hit in hits], indent=2, ensure_ascii=False))
        return 0
    for hit in hits:
        print(f"{hit.place}{f' ({hit.why})' if hit.why else ''}: {hit.id}\n    {hit.source}, {hit.licence}\n    {hit.excerpt}")
    missing = "" if (folder / inspection.PLACES["removed"]).is_file() else " (texts of removed documents were not kept)"
    print(f"{total:,} found{f', {len(hits):,} shown' if total > len(hits) else ''}{missing if chosen.find else ''}")
    return 0


def _whole_card(folder: Path) -> dict[str, Any]:
    """The card of a corpus.

    Raises:
        ConfigError: an earlier version wrote it, without what is shown now.
    """
    from tenet.files import read_json

    card: dict[str, Any] = read_json(folder / "card.json")
    if "domains" not in card or "opted_out" not in card:
        raise ConfigError(f"{folder / 'card.json'} is of an earlier version; make the corpus again (`tenet corpus --fresh`)")
    return card


def _card(chosen: argparse.Namespace) -> int:
    from tenet.corpus.cards.croissant import RECORDS, croissant
    from tenet.corpus.cards.inspection import corpus_folder
    from tenet.files import read_json, write_json, write_text
    from tenet.report.pages.corpus_bom import corpus_bom
    from tenet.report.pages.datacard import data_card

    folder = corpus_folder(chosen.run)
    run = folder.parent if folder.name == "corpus" else folder
    card, out = _whole_card(folder), chosen.out or run / "card" / "corpus"
    sizes = {path: (folder / path).stat().st_size for path in RECORDS if (folder / path).is_file()}
    record = read_json(folder / "run.json") if (folder / "run.json").is_file() else {}
    write_text(out / "card.html", data_card(card, run.name))
    write_json(out / "croissant.json", croissant(card, run.name, sizes, record.get("end", "")[:10]))
    write_text(out / "bom.cdx.json", corpus_bom(card, run.name, record))
    print(f"{out / 'card.html'}\n{out / 'croissant.json'} (its paths are below {folder})\n{out / 'bom.cdx.json'}")
    return 0


def _threshold(folder: Path, chosen: argparse.Namespace) -> int:
    from tenet.corpus.cards.findings import moved

    rule, _, value = chosen.threshold.partition("=")
    try:
        to = float(value)
    except ValueError:
        raise ConfigError(f"--threshold {chosen.threshold!r}: write RULE=NUMBER, e.g. gopher_short_doc=30") from None
    found = moved(folder, rule, to)
    if chosen.json:
        print(json.dumps({**dataclasses.asdict(found), "limit": found.limit._asdict()}, indent=2))
        return 0
    limit = found.limit
    print(f"{rule}: {limit.number} {limit.side} {limit.threshold:g} breaks it; with {to:g} instead, of {found.asked:,} documents")
    print(f"    {found.broken:,} break it now, {found.broken_then:,} then")
    for ids, what in ((found.back, "would pass (and go on to the filters behind)"), (found.gone, "would be removed")):
        shown = ", ".join(ids[: chosen.count]) + (", ..." if len(ids) > chosen.count else "")
        print(f"    {len(ids):,} {what}{f': {shown}' if ids else ''}")
    return 0


def overview(card: dict[str, Any]) -> str:
    """The card as a page of text: in, out and removed of each filter, sources and licences."""
    documents, size = card["documents"], card["bytes"]
    lines = [
        f"{documents['kept']:,} of {documents['read']:,} documents kept ({size['kept']:,} of {size['read']:,} bytes)",
        "tokens: " + ", ".join(f"{split} {count:,}" for split, count in card["tokens"].items()),
        "",
        f"{'filter':<20}{'in':>12}{'out':>12}  removed",
    ]
    for row in card["filters"]:
        reasons = ", ".join(f"{count:,} {reason or 'without a reason'}" for reason, count in row["reasons"].items())
        lines.append(f"{row['filter']:<20}{row['documents_in']:>12,}{row['documents_out']:>12,}  {reasons or '-'}")
    lines += ["", f"{'source':<40}{'documents':>12}{'bytes':>16}{'kept':>12}{'bytes':>16}"]
    lines += [
        f"{row['source'][:39]:<40}{row['documents']:>12,}{row['bytes']:>16,}{row['documents_kept']:>12,}{row['bytes_kept']:>16,}"
        for row in card["sources"]
    ]
    lines += ["", "licences of what is kept: " + (", ".join(sorted({row["licence"] for row in card["licences"]})) or "none")]
    told = card["languages"]
    shares = [f"{code} {row['documents']:,}" for code, row in list(told["languages"].items())[:8]]
    lines.append(f"languages ({told['of']}, by {told['by']}): {', '.join(shares)}")
    for source, kinds in card["personal_data"].items():
        lines.append(f"masked in {source}: " + ", ".join(f"{count:,} {kind}" for kind, count in kinds.items()))
    if card["repaired"]:
        lines.append("repaired: " + ", ".join(f"{count:,} {kind}" for kind, count in card["repaired"].items()))
    for row in card.get("mix", []):
        lines.append(f"mix: {row['source']} {row['share']:.1%} asked, {row['epochs']:.2f} passes over {row['there']:,} bytes")
    if (domains := card["domains"])["domains"]:
        largest = ", ".join(f"{row['domain']} {row['documents']:,}" for row in domains["largest"][:8])
        lines.append(f"web domains: {domains['domains']:,}, {domains['documents']:,} documents with an address; {largest}")
    if card["opted_out"]:
        lines.append("asked to be left out: " + ", ".join(f"{count:,} of {host}" for host, count in card["opted_out"].items()))
    files = card["files"]
    if files["skipped"]:
        lines.append("not read: " + ", ".join(f"{count:,} x {reason}" for reason, count in files["skipped"].items()))
    lines += [f"doubt: {doubt}" for doubt in card["doubts"]]
    return "\n".join(lines)


def _rebuild(chosen: argparse.Namespace) -> int:
    from tenet.corpus.cards.rebuilding import differences, read_recipe
    from tenet.pipeline.run import run_stage
    from tenet.runs.progress import StageProgress

    recipe = read_recipe(chosen.card, chosen.domain, chosen.sources)
    if (chosen.run / "corpus").exists():
        raise ConfigError(f"--run {chosen.run} has a corpus already; name a new folder")
    with StageProgress("1 corpus") as progress:
        run_stage(chosen.run, "corpus", _preset(recipe), seed=recipe.seed, progress=progress)
    different = differences(recipe, chosen.run / "corpus")
    for line in different:
        print(f"different: {line}")
    print(f"{len(recipe.hashes) - len(different)} of {len(recipe.hashes)} hashes are equal")
    return FAILED if different else 0


def _preset(recipe: Any) -> Any:
    """The smallest preset with what the corpus depends on put in."""
    from tenet.settings.preset import load_preset

    tiny = load_preset("tiny")
    context = recipe.context
    return dataclasses.replace(
        tiny,
        domain=recipe.domain,
        corpus=recipe.config,
        model=dataclasses.replace(tiny.model, max_position_embeddings=context),
        pretrain=dataclasses.replace(tiny.pretrain, context=min(tiny.pretrain.context, context)),
    )
