"""`tenet data check`: before anything is trained, what a file of rows is, what of it cannot be used, and one row as the
model will see it."""

from __future__ import annotations

import argparse
import json
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tenet.errors import BAD_CONFIG, ConfigError
from tenet.rows import KINDS, Kind, Row, Table, group_of, guess_kind, split
from tenet.verifiers import Verifier, registry

EXAMPLES = """examples
  tenet data check conversations.jsonl
  tenet data check pairs.parquet --kind preferences --model runs/demo/finetune/model --context 512
  tenet data check owner/name:train --json          a public data set, with its split
"""
#: Refusals and characters of a row that are shown.
SHOWN, LONGEST = 10, 3000
#: Around what is trained on, where a row is shown.
OPEN, CLOSE = "\u27e6", "\u27e7"


def data_command(words: list[str]) -> int:
    """Entry of the command line; 2 where more is refused than may be."""
    parser = argparse.ArgumentParser("tenet data", description="Look at data before training on it.")
    actions = parser.add_subparsers(dest="action", required=True)
    check = actions.add_parser(
        "check", help="format, rows, lengths, refusals, and one row as the model sees it",
        description="Says which shape a file or a public data set has, how many rows it makes, how long they are, what is refused and why "
        "(file and line), and shows one row as the model will see it, the trained tokens between " + OPEN + " and " + CLOSE + ".",
        epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    check.add_argument(
        "data",
        metavar="FILE|NAME",
        help=".jsonl .json .csv .parquet, each also .gz or .zst; a folder of them; or owner/name on the hub",
    )
    check.add_argument(
        "--kind", choices=("auto", *KINDS), default="auto", help="what the rows are for (default: told by their columns)"
    )
    check.add_argument(
        "--model", type=Path, default=None, help="folder whose tokenizer and chat template are used: lengths in tokens"
    )
    check.add_argument("--context", type=int, default=0, help="with --model: how many rows are longer than this many tokens")
    check.add_argument("--most-refused", type=float, default=0.05, help="share of the records that may be refused (default 0.05)")
    check.add_argument("--domain", default="", help="domain whose own verifiers prompts may name")
    check.add_argument("--json", action="store_true", help="print the findings as JSON")
    chosen = parser.parse_args(words)
    if chosen.context and not chosen.model:
        raise ConfigError("--context counts tokens and needs --model DIR, whose tokenizer counts them")
    if not 0 <= chosen.most_refused <= 1:
        raise ConfigError(f"--most-refused is {chosen.most_refused}; it is a share from 0 to 1")
    found = look(chosen.data, chosen.kind, chosen.model, chosen.context, chosen.most_refused, _verifiers(chosen.domain))
    print(json.dumps(found, indent=2, ensure_ascii=False) if chosen.json else as_text(found), flush=True)
    by_template = found.get("refused_by_template", {"count": 0})
    if by_template["count"]:
        raise ConfigError(
            f"{chosen.data}: the chat template refuses {by_template['count']} rows, e.g. {by_template['first'][0]}; training would end there"
        )
    if found["too_much_refused"]:
        raise ConfigError(
            f"{chosen.data}: {found['refused']} of {found['refused'] + found['rows']} records make no row of {found['kind']}; at most "
            f"{chosen.most_refused:.0%} may (--most-refused; `most_refused` of a stage)"
        )
    return BAD_CONFIG if not found["rows"] else 0


def _verifiers(domain: str) -> dict[str, Verifier]:
    if not domain:
        return registry({})
    from tenet.domains.loading import load_code, load_domain

    return registry(load_code(load_domain(domain)).verifiers)


def look(
    data: str,
    kind: Kind | str = "auto",
    model: Path | None = None,
    context: int = 0,
    most_refused: float = 0.05,
    verifiers: Mapping[str, Verifier] | None = None,
) -> dict[str, Any]:
    """What there is to say of a data set, in the order in which it is printed."""
    from tenet.posttrain.datasets import HH_NAMES, open_table

    if kind == "auto":
        kind = "preferences" if data in HH_NAMES else guess_kind(data, verifiers)
    chosen: Kind = next(one for one in KINDS if one == kind)
    table = open_table(data, chosen, 1.0, verifiers)
    tokenizer = load_tokenizer(model)
    found: dict[str, Any] = {
        "data": data, "sha256": table.sha256, "kind": kind, "format": table.format, "rows": len(table.rows), "refused": len(table.refused),
        "most_refused": most_refused, "too_much_refused": table.refused_share > most_refused, "reasons": _reasons(table),
        "unused": table.unused, "licences": {name or "not stated": count for name, count in table.licences.items()},
    }  # fmt: skip
    if not table.rows:
        return found
    found["different_prompts"] = len({group_of(row) for row in table.rows})
    found["held_out"] = _held(table)
    found["characters"] = _spread([len(text_of(row)) for row in table.rows])
    if kind == "ratings":
        found["liked"] = sum(row["liked"] for row in table.rows)
    if kind == "prompts":
        found["verifiers"] = dict(Counter(row["verifier"]["kind"] if "verifier" in row else "none" for row in table.rows))
    unseen: list[str] = []
    if model is not None:
        lengths = [length for row in table.rows if (length := _length(tokenizer, row, unseen)) is not None]
        if lengths:
            found["tokens"] = _spread(lengths)
        if context:
            found["longer_than_context"] = {"context": context, "rows": sum(length > context for length in lengths)}
    found["refused_by_template"] = {"count": len(unseen), "first": unseen[:3]}
    found["seen_with"] = (
        f"tokenizer and template of {model}" if model else "the project's ChatML template, bytes for tokens (no --model)"
    )
    shown = next((row for row in table.rows[:100] if _length(tokenizer, row, []) is not None), None)
    if shown is not None:
        found["row"] = {"id": shown["id"], "text": marked(tokenizer, shown)}
    return found


def _reasons(table: Table) -> list[dict[str, Any]]:
    """Refusals by reason, the most frequent first, each with its first places."""
    places: dict[str, list[str]] = {}
    for one in table.refused:
        places.setdefault(one.reason, []).append(f"{one.file}:{one.line}")
    ordered = sorted(places.items(), key=lambda item: -len(item[1]))
    return [{"reason": reason, "count": len(where), "first": where[:3]} for reason, where in ordered]


def _held(table: Table) -> str:
    try:
        train, test = split(table.rows)
    except ConfigError as error:
        return str(error)
    return f"{len(test)} of {len(train) + len(test)} rows at a share of 10 %"


def _spread(values: Sequence[int]) -> dict[str, int]:
    ordered = sorted(values)
    return {
        "shortest": ordered[0],
        "median": round(statistics.median(ordered)),
        "p95": ordered[int(0.95 * (len(ordered) - 1))],
        "longest": ordered[-1],
    }


def text_of(row: Row) -> str:
    """All that is said in a row."""
    spoken = ("messages", "prompt", "chosen", "rejected", *(("answer",) if "liked" in row else ()))
    turns = [turn for key in spoken for turn in row.get(key) or ()]
    return row["text"] if "text" in row and not turns else "\n".join(str(turn["content"]) for turn in turns)


def _length(tokenizer: Any, row: Row, unseen: list[str]) -> int | None:
    """Tokens of a row; None, and why, where the chat template refuses it."""
    try:
        return sum(len(ids) for ids, _ in pieces(tokenizer, row))
    except ValueError as error:
        unseen.append(f"{row['id']}: {error}")
        return None


# --- as the model sees it ----------------------------------------------------------------------------------------------


def load_tokenizer(folder: Path | None) -> Any:
    """Of a model folder; without one, bytes and the special tokens of ChatML under the project's template."""
    from lightning_modules.data.chat import ChatTokenizer

    if folder is not None:
        try:
            return ChatTokenizer.from_folder(folder)
        except (FileNotFoundError, ValueError) as error:
            raise ConfigError(f"--model {folder}: {error}") from None
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    from lightning_modules.data.chat import END_OF_TEXT, TURN_END, TURN_START

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: i for i, letter in enumerate(letters)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([END_OF_TEXT, TURN_START, TURN_END])
    return ChatTokenizer(tokenizer)


def pieces(tokenizer: Any, row: Row) -> list[tuple[list[int], bool]]:
    """A row in token ids as training sees it, cut where learning begins and ends. A pair: prompt, chosen, rejected."""
    if "chosen" in row:
        from tenet.posttrain.training import pair_tree

        tree = pair_tree(tokenizer, row)
        return [(list(tree.prompt), False), *((list(answer), True) for answer in tree.answers)]
    if "liked" in row:
        from tenet.posttrain.training import rating_tree

        tree = rating_tree(tokenizer, row)
        return [(list(tree.prompt), False), (list(tree.answers[0]), True)]
    if "messages" in row:
        ids, learned = tokenizer.conversation(row["messages"], row.get("tools"))
        cut: list[tuple[list[int], bool]] = []
        for one, trained in zip(ids, learned, strict=True):
            if not cut or cut[-1][1] != trained:
                cut.append(([], trained))
            cut[-1][0].append(one)
        return cut
    if "prompt" in row:
        return [(tokenizer.prompt(row["prompt"], row.get("tools")), False)]
    return [(tokenizer.encode(row["text"]), True)]


def marked(tokenizer: Any, row: Row) -> str:
    """The row as text, what is trained on between the marks."""
    shown = [(tokenizer.decode(ids, keep_special=True), trained) for ids, trained in pieces(tokenizer, row)]
    whole = "".join(f"{OPEN}{text}{CLOSE}" if trained else text for text, trained in shown)
    if "chosen" in row:
        whole = whole.replace(CLOSE + OPEN, f"{CLOSE}\n--- rejected:\n{OPEN}", 1)
    if "liked" in row:
        whole += f"\n--- {'liked' if row['liked'] else 'not liked'}"
    if "verifier" in row:
        whole += "\n--- judged by: " + json.dumps(row["verifier"], ensure_ascii=False)
    return (
        whole
        if len(whole) <= LONGEST
        else f"{whole[: LONGEST // 2]}\n... {len(whole) - LONGEST} characters left out ...\n{whole[-LONGEST // 2 :]}"
    )


def as_text(found: Mapping[str, Any]) -> str:
    """The findings for a terminal."""
    lines = [f"{found['data']}: {found['rows']} rows of {found['kind']}"]
    add = lines.append
    if found["sha256"]:
        add(f"  sha256     {found['sha256']}")
    add(f"  format     {found['format'] or 'none that makes such rows'}")
    add(f"  refused    {found['refused']} of {found['rows'] + found['refused']}")
    for one in found["reasons"][:SHOWN]:
        more = f" and {one['count'] - 1} more" if one["count"] > 1 else ""
        add(f"    {one['first'][0]}{more}: {one['reason']}")
    if len(found["reasons"]) > SHOWN:
        add(f"    ... and {len(found['reasons']) - SHOWN} other reasons (all with --json)")
    for name, count in found["unused"].items():
        add(f"  not used   {name}: {count}")
    if not found["rows"]:
        return "\n".join(lines)
    add(f"  licences   {', '.join(f'{name}: {count}' for name, count in found['licences'].items())}")
    add(f"  prompts    {found['different_prompts']} different ones; held out: {found['held_out']}")
    if "liked" in found:
        add(f"  liked      {found['liked']}, not liked: {found['rows'] - found['liked']}")
    if "verifiers" in found:
        add(f"  verifiers  {', '.join(f'{name}: {count}' for name, count in found['verifiers'].items())}")
    for unit in ("characters", "tokens"):
        if unit in found:
            add(f"  {unit:<10} " + ", ".join(f"{name} {value}" for name, value in found[unit].items()))
    if over := found.get("longer_than_context"):
        add(f"  too long   {over['rows']} of {found['rows']} rows have more than {over['context']} tokens and would be left out")
    if found["refused_by_template"]["count"]:
        add(f"  template   refuses {found['refused_by_template']['count']} rows: {found['refused_by_template']['first'][0]}")
    if "row" in found:
        add(f"  row {found['row']['id']}, {found['seen_with']}; trained tokens between {OPEN} and {CLOSE}:")
        lines += ["    " + line for line in found["row"]["text"].splitlines()]
    return "\n".join(lines)
