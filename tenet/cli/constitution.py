"""`tenet constitution check FILE`: read a constitution, say what it holds and what its author should know."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from tenet.errors import FAILED

EXAMPLES = """examples
  tenet constitution check my_assistant/constitution.yaml
  tenet constitution check principles.yaml --strict          1 where there is a problem: for CI
"""


def constitution_command(words: list[str]) -> int:
    """Entry of the command line."""
    parser = argparse.ArgumentParser(
        "tenet constitution",
        description="Check a constitution.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("what", choices=("check",), help="what to do")
    parser.add_argument("file", type=Path, help="YAML of principles (docs/safety.md)")
    parser.add_argument("--strict", action="store_true", help="end with 1 where there is a problem")
    parser.add_argument("--json", action="store_true", help="the findings as JSON")
    parsed = parser.parse_args(words)
    from tenet.constitution.lint import lint
    from tenet.constitution.principles import load_constitution

    constitution = load_constitution(parsed.file)
    found = lint(constitution)
    problems = [one for one in found if one.level == "problem"]
    if parsed.json:
        print(json.dumps([vars(one) for one in found], indent=2, ensure_ascii=False))
    else:
        for principle in constitution.principles:
            asked = len(principle.prompts.train) + len(principle.prompts.test) if principle.prompts else 0
            judged = "a rule" if principle.check else "a judge"
            print(f"{principle.priority:3} {principle.id}: {principle.principle} ({asked} wordings, judged by {judged})")
        for one in found:
            print(one)
        print(f"{len(constitution.principles)} principles, {len(problems)} problems, {len(found) - len(problems)} hints")
    return FAILED if problems and parsed.strict else 0
