"""`tenet redteam --model DIR` and `--endpoint URL`: attack a model that nobody trains here, and report. No run, no fix,
no gate."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tenet.errors import ConfigError
from tenet.model_folders import check_model_folder
from tenet.settings.checks import Count

if TYPE_CHECKING:
    from tenet.assistant.assistant import Assistant

EXAMPLE = (
    "examples:\n"
    "  tenet redteam --model runs/demo/finetune/model --domain my_assistant --out probe\n"
    "  tenet redteam --endpoint http://127.0.0.1:8080 --model-id tenet.assistant-v1:0 --goals goals.yaml --out probe"
)


def probes(words: Sequence[str]) -> bool:
    """Do these words ask for a report on a model from elsewhere, without a run?"""
    given = {word.partition("=")[0] for word in words}
    return "--endpoint" in given or ("--model" in given and "--run" not in given and "--preset" not in given)


def probe_command(words: Sequence[str]) -> int:
    """Attack a model folder or an endpoint, write what came of it and print the figures."""
    chosen = _parser().parse_args(list(words))
    if bool(chosen.model) == bool(chosen.endpoint):
        raise ConfigError("tenet redteam: give --model DIR or --endpoint URL, one of them")
    most = _count(chosen.most_goals)
    if chosen.max_tokens < 1:
        raise ConfigError(f"--max-tokens is {chosen.max_tokens}; it must be 1 or more")
    from tenet.redteam.goals_file import load_goals
    from tenet.redteam.probe import probe

    goals = load_goals(_goals(chosen.goals, chosen.domain))
    out = Path(chosen.out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"--out {out}: is there already and not empty; name another folder")
    from tenet.serving.clients.bedrock import BedrockAssistant

    endpoint: str = chosen.endpoint
    assistant: Assistant = BedrockAssistant(endpoint, chosen.model_id) if endpoint else _local(Path(chosen.model))
    found = probe(assistant, goals, max_tokens=chosen.max_tokens, most_goals=most, seed=chosen.seed)
    found.write(out)
    print(found.text())
    print(f"\nanswers, failure modes and figures: {out}")
    return 0


def _count(given: str) -> Count:
    if given == "all" or (given.isdigit() and int(given)):
        return "all" if given == "all" else int(given)
    raise ConfigError(f"--most-goals is {given!r}; give 1 or more, or all")


def _goals(given: str, domain: str) -> Path:
    if given:
        return Path(given)
    if not domain:
        raise ConfigError("tenet redteam: name a file of goals with --goals, or a domain that has one with --domain")
    from tenet.domains.loading import load_domain

    found = load_domain(domain)
    if found.goals is None:
        raise ConfigError(f"--domain {domain}: {found.folder} has no goals.yaml; name a file of goals with --goals")
    return found.goals


def _local(folder: Path) -> Assistant:
    from tenet.assistant.local import LocalAssistant

    check_model_folder(folder, "--model")
    return LocalAssistant.from_folder(folder)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tenet redteam",
        description="Attack a model from elsewhere and report: every attack on every goal, nothing is trained.\n\n" + EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", default="", help="Hugging Face folder")
    parser.add_argument(
        "--endpoint", default="", help="URL of a Bedrock endpoint; keys come from the environment, as boto3 finds them"
    )
    parser.add_argument("--model-id", default="tenet.assistant-v1:0", help="model that answers there")
    parser.add_argument("--goals", default="", help="goals.yaml, or a list of rows: JSONL, CSV (docs/safety.md)")
    parser.add_argument("--domain", default="", help="take this domain's goals")
    parser.add_argument("--most-goals", default="all", help="of each split, harmful and harmless: so many, or all")
    parser.add_argument("--max-tokens", type=int, default=256, help="longest answer")
    parser.add_argument("--seed", type=int, default=0, help="wordings of the attacks come from it")
    parser.add_argument("--out", default="redteam-report", help="folder to write: rows.jsonl, modes.json, summary.json")
    return parser
