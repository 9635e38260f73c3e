"""`tenet feedback`: people compare two answers on a page of this machine; `report` says what came out, `export` makes
preference rows of it."""

from __future__ import annotations

import argparse
import ipaddress
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tenet.cli.answers.drawing import add_drawing, add_sides, check_drawing
from tenet.errors import DONE, INTERRUPTED, ConfigError

if TYPE_CHECKING:
    from tenet.feedback.ledger import Ledger

EXAMPLES = """examples
  tenet feedback --a runs/demo/finetune/model --b runs/demo/rlhf/model --prompts prompts.jsonl --out feedback
  tenet feedback --a runs/demo/rlhf/model --b http://127.0.0.1:8080 --prompts prompts.jsonl --out feedback --overlap 0.2
  tenet feedback report --out feedback
  tenet feedback export --out feedback --to preferences.jsonl
  tenet reward --data preferences.jsonl --run runs/mine
"""
GUIDELINES = (
    "Pick the answer that would help the one who asked more: first what is right, then what answers the question, then what is "
    "clear and no longer than it needs to be.\nTie: you would not care which one you got. Both bad: you would want neither.\n"
    "Which model wrote which answer is hidden, and the order is drawn anew for each pair."
)
#: Between the seeds of the two samples where one model gives both.
OTHER_SAMPLE = 500_009


def feedback_command(words: list[str]) -> int:
    """Entry of the command line."""
    if words[:1] == ["report"]:
        return _report(words[1:])
    if words[:1] == ["export"]:
        return _export(words[1:])
    chosen = _parser().parse_args(words)
    _check(chosen)
    from tenet.feedback.ledger import Ledger
    from tenet.feedback.web import listen

    listener = listen(chosen.host, chosen.port)  # before any answer is drawn: a busy port is told at once
    try:
        ledger = Ledger(Path(chosen.out), create=True)
        fill(ledger, chosen)
        return _serve(ledger, listener, chosen)
    finally:
        listener.close()


def fill(ledger: Ledger, chosen: argparse.Namespace) -> None:
    """Draw the answers and make the items, unless an earlier start has."""
    from lightning_modules.generation.protocol import Sampling
    from tenet.feedback.answering import draw_answers, unanswered
    from tenet.feedback.journal import Journal
    from tenet.feedback.prompt_set import read_prompts
    from tenet.feedback.sides import open_source

    prompts = read_prompts(chosen.prompts, chosen.limit, chosen.seed)
    settings = {
        "a": chosen.a,
        "b": chosen.b,
        "prompts": prompts.sha256,
        "limit": chosen.limit,
        "seed": chosen.seed,
        "overlap": chosen.overlap,
        "max_tokens": chosen.max_tokens,
        "temperature": chosen.temperature,
    }
    ledger.same("settings", settings)
    if ledger.items():
        return
    sampling = Sampling(max_tokens=chosen.max_tokens, temperature=chosen.temperature, seed=chosen.seed)
    other = Sampling(max_tokens=chosen.max_tokens, temperature=chosen.temperature, seed=chosen.seed + OTHER_SAMPLE)
    source = open_source(chosen.a, "--a")
    ledger.same("weights of a:", source.identity())
    first = draw_answers(source, prompts.rows, sampling, Journal(ledger.path.parent / "answers_a.jsonl"), print)
    source = open_source(chosen.b, "--b") if chosen.b else source
    ledger.same("weights of b:", source.identity())
    second = draw_answers(source, prompts.rows, other, Journal(ledger.path.parent / "answers_b.jsonl"), print)
    pairs = list(zip(prompts.rows, first, second, strict=True))
    kept = [(row, (a, b)) for row, a, b in pairs if a.given and b.given and a.whole.strip() != b.whole.strip()]
    left_out: dict[str, int] = {reason: count for reason, count in unanswered([first, second]).items()}
    left_out["identical"] = len(pairs) - len(kept) - sum(left_out.values())
    print(f"{len(kept)} pairs to judge; left out: " + (_counts(left_out) or "none"))
    if not kept:
        raise ConfigError(
            f"--prompts {chosen.prompts}: no pair to judge, all are left out ({_counts(left_out)}); give other prompts, other "
            "models, or a higher --temperature"
        )
    ledger.keep("left_out", left_out)
    ledger.keep("source", prompts.name)
    ledger.fill([row for row, _ in kept], [sides for _, sides in kept], chosen.overlap, chosen.seed)


def _serve(ledger: Ledger, listener: Any, chosen: argparse.Namespace) -> int:
    import secrets

    from tenet.feedback.tally import by_item
    from tenet.feedback.web import application, link, serve

    token = ledger.keep("token", secrets.token_urlsafe(18))
    guidelines = Path(chosen.guidelines).read_text(encoding="utf-8") if chosen.guidelines else GUIDELINES
    print(f"open {link(listener, token, chosen.annotator)}", flush=True)
    print("Several people can judge at once, each under a name of their own. Ctrl-C ends it; every verdict is saved.", flush=True)
    serve(application(ledger, token, guidelines.strip()), listener)
    items, judged = len(ledger.items()), len(by_item(ledger.judgements()))
    print(f"\n{judged} of {items} pairs judged. Next: tenet feedback report --out {chosen.out}")
    ledger.close()
    return DONE if judged == items else INTERRUPTED


def _report(words: list[str]) -> int:
    parser = argparse.ArgumentParser("tenet feedback report", description="What the judgements of a folder say.")
    parser.add_argument("--out", type=Path, required=True, help="folder of `tenet feedback`")
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap of the agreement (default 0)")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    chosen = parser.parse_args(words)
    from tenet.feedback.ledger import Ledger
    from tenet.feedback.tally import as_text, tally

    ledger = Ledger(chosen.out)
    settings = ledger.meta("settings") or {}
    found = tally(ledger.judgements(), len(ledger.items()), chosen.seed)
    names = {"a": settings.get("a", ""), "b": settings.get("b") or f"{settings.get('a', '')}, another sample"}
    if chosen.json:
        left_out = ledger.meta("left_out")
        print(json.dumps({"models": names, "left_out": left_out, **found.as_dict()}, indent=2, ensure_ascii=False))
    else:
        print(as_text(found, names))
    return DONE


def _export(words: list[str]) -> int:
    parser = argparse.ArgumentParser(
        "tenet feedback export",
        description="Preference rows of the pairs that have a winner, for `tenet reward` and `tenet dpo`.",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of `tenet feedback`")
    parser.add_argument("--to", type=Path, required=True, help="JSONL to write; never overwritten")
    chosen = parser.parse_args(words)
    from tenet.feedback.export import export
    from tenet.feedback.ledger import Ledger

    print(export(Ledger(chosen.out), chosen.to).text(chosen.to))
    return DONE


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in counts.items() if count)


def _check(chosen: argparse.Namespace) -> None:
    """Refuse what cannot be, before anything is loaded.

    Raises:
        ConfigError: names the flag, the value and the way out.
    """
    if not 0 <= chosen.overlap <= 1:
        raise ConfigError(f"--overlap is {chosen.overlap}; it is a share, from 0 (each pair once) to 1 (everybody judges all)")
    check_drawing(chosen)
    if not chosen.b and chosen.temperature == 0:
        raise ConfigError(
            "--temperature is 0 and there is no --b: both answers would be the same; give --temperature 0.7, or --b"
        )
    if not chosen.b and Path(chosen.a).is_file():
        raise ConfigError(f"--a {chosen.a}: a file holds one answer a prompt; name the other side with --b")
    if chosen.guidelines and not Path(chosen.guidelines).is_file():
        raise ConfigError(f"--guidelines {chosen.guidelines}: no such file; give a text file, or leave it out")
    if not _loopback(chosen.host):
        print(
            f"warning: --host {chosen.host} is reached from other machines, and the page speaks plain HTTP: whoever sees "
            "the traffic sees the token. Prefer an SSH tunnel to 127.0.0.1",
            flush=True,
        )


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "tenet feedback",
        description="People compare two answers, side by side and blind, on a page that this machine serves. Also: "
        "tenet feedback report, tenet feedback export.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_sides(parser, "; left out: two samples of --a are compared")
    parser.add_argument("--out", required=True, help="folder to write; the same command goes on with what is there")
    parser.add_argument("--port", type=int, default=8090, help="of the page (default 8090; 0 takes a free one)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default 127.0.0.1: this machine alone)")
    parser.add_argument("--annotator", default="", help="name in the link; without one the page asks")
    parser.add_argument("--overlap", type=float, default=0.1, help="share of the pairs that everybody judges (default 0.1)")
    parser.add_argument("--guidelines", default="", metavar="FILE", help="text of the guidelines box")
    add_drawing(parser, "answers, order and overlap", 0.7)
    return parser
