"""`tenet`: one word a stage, and a few to look at what they made.

Nothing heavy is imported before it is needed: `tenet --help`, `show` and `plan` answer at once.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
from functools import cache

from tenet.errors import ConfigError, TenetError
from tenet.flags import dashed

HELP = """tenet: ten steps from raw text to an assistant that answers over the Bedrock Runtime API

  tenet run --preset tiny --run runs/demo          all ten steps, then the reports, then an answer
  tenet new my_assistant --documents DIR           a subject of your own: rows, principles, goals and tasks from your documents
  tenet run --domain my_assistant --preset tiny --run runs/mine
  tenet STAGE --preset tiny --run runs/demo        one step (finished: returns at once; killed: goes on)
{stages}
  tenet data check FILE|NAME                       what a file of rows is, what is refused, one row as the model sees it
  tenet constitution check FILE                    principles that repeat, contradict, or that nothing exercises
  tenet corpus inspect runs/demo [--find TEXT]     what each filter removed and why; where a text went
  tenet corpus card runs/demo                      the data card as a page and as a Croissant data set
  tenet corpus rebuild CARD --run runs/again       a corpus again from its card: equal by hash, or what differs
  tenet corpus sweep --held FILE --out runs/sweep  what each filter and source is worth, in bits per byte
  tenet evaluate --model DIR --tasks core --limit 200 --run runs/theirs     any model on the public tasks
  tenet evaluate list | check FILE | compare A B | long   tasks and suites; one as the model sees it; is B better than A
  tenet score --model REWARD --data pairs.jsonl --out scores.jsonl
  tenet feedback --a DIR --b DIR --prompts FILE --out feedback   two answers side by side, blind, on a local page; report, export
  tenet compare-answers --a DIR --b DIR --prompts FILE --judge URL|DIR|checks --out compared   paired win rate by a judge
  tenet show runs/demo [--plan]                    what was done and how it came out; planned against actual
  tenet verify runs/demo                           every file against its hash, every model folder against transformers
  tenet watch runs/demo                            the same while it runs: step, loss, tokens/s, time left, cost so far
  tenet compare runs/a runs/b                      figures, settings and curves of several runs side by side
  tenet lineage runs/demo                          from the served model back to documents and licences
  tenet report runs/demo [--stage pretrain]        execute the notebooks, write report.html and index.html
  tenet rollback --run runs/demo                   serve the weights before the current ones
  tenet sky config < outputs.json                  SkyPilot's configuration from `pulumi stack output --json`
  tenet sky objects < outputs.json                 what the stack's Kubernetes cluster must hold, for kubectl apply
  tenet sky check                                  the launch files in sky/, before anything is rented
  tenet sky slurm sky/pretrain.yaml                a launch file for a Slurm cluster
  tenet sky kubernetes sky/pretrain.yaml           a launch file for pods that share a volume
  tenet netcheck                                   bandwidth between processes, under tenet.torchrun
  tenet ask --run runs/demo "What does CreateBucket of Amazon S3 do?"
  tenet redteam --endpoint URL --goals FILE        attack any endpoint (or --model DIR) and report; nothing is trained
  tenet serve --model DIR --tls self-signed --chat serve any model folder; the first start makes keys and says how to use them
  tenet chat --endpoint URL                        talk to an endpoint in the terminal
  tenet deploy --model DIR --stack outputs.json    verify, upload, move the pointer, wait, roll back if it does not answer
  tenet rollback --stack outputs.json              serve the version before, in the cloud
  tenet import-to-bedrock --model DIR --stack outputs.json   start a Custom Model Import of the same folder
  tenet completion bash|zsh                        completion of all of these words and flags; --help says where it goes

Options of every stage
  --preset NAME|FILE   size: {presets} (default tiny)
  --domain NAME|DIR    subject: a built-in domain, or a folder that `tenet new` wrote (default: the preset's)
  --run DIR            run folder (default runs/PRESET)
  --seed N             one number that all randomness comes from (default 0)
  --config FILE        YAML with some of the stage's settings, on top of the preset
  --KEY VALUE          one setting, e.g. tenet pretrain --optim.lr 3e-3   (tenet STAGE --help lists them)
  --print-config       show the settings that would be used and stop
  --dry-run            check everything, say what would run and stop
  --fresh              set a finished or half-finished folder aside and start anew

Exit codes: 0 done, 75 interrupted (run the same command to go on), 2 wrong configuration (nothing was started), 1 failed.
"""


def help_text() -> str:
    """The page that `tenet --help` prints."""
    from tenet.pipeline.table import STAGES
    from tenet.settings.preset import PRESETS

    lines = "\n".join(f"      {s.step:>2}  {s.name:<15} {s.about}" for s in STAGES.values())
    return HELP.format(stages=lines, presets=", ".join(sorted(p.stem for p in PRESETS.glob("*.yaml"))))


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    # Read by OpenMP when torch is loaded: threads that wait go to sleep soon instead of burning their slice. With
    # anything else running on the machine, two spinning threads are up to four times slower than two that yield
    # (docs/log.md).
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    try:
        return _dispatch(words)
    except TenetError as error:
        if not getattr(error, "relayed", False):  # of several processes the one that it happened to says so
            print(f"tenet: {error}", file=sys.stderr)
        return error.exit_code
    except ModuleNotFoundError as error:  # an environment that only serves has no use for the other words
        missing = (error.name or "").partition(".")[0]
        if missing in ("", "tenet", "lightning_modules"):
            raise
        print(
            f"tenet: {' '.join(words[:1])} needs the package {missing}, which is not installed here; `make install` installs all that the ten "
            "steps need",
            file=sys.stderr,
        )
        return 1
    except BrokenPipeError:  # `tenet plan | head`: the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("tenet: interrupted; run the same command to go on", file=sys.stderr)
        return 75


def entry() -> None:
    """Console script: the process ends with the exit code."""
    sys.exit(main())


def _dispatch(words: list[str]) -> int:
    from tenet.cli.commands import COMMANDS, release_command
    from tenet.pipeline.table import STAGES

    if not words or words[0] in ("-h", "--help", "help"):
        print(help_text())
        return 0
    command, rest = words[0], words[1:]
    if command == "deploy" and any(word.split("=")[0] == "--stack" for word in rest):
        return release_command([dashed(word) for word in rest])
    if command == "completion":
        from tenet.cli.completion import completion_command

        return completion_command(rest)
    if command == "sky":  # the launch room checks commands that files and pages tell people to type
        from tenet.launch import words as launch_words

        launch_words.know(flags_of)
    if command in COMMANDS:
        return COMMANDS[command]([dashed(word) for word in rest])
    if command == "redteam":
        from tenet.cli.redteam import probe_command, probes

        if probes(rest):
            return probe_command([dashed(word) for word in rest])
    if command == "corpus":
        from tenet.cli.corpus.corpus_tools import corpus_command, wanted

        if wanted(rest):
            return corpus_command([dashed(word) for word in rest])
    if command == "evaluate":
        from tenet.cli import evaluate_tools

        if evaluate_tools.wanted(rest):
            return evaluate_tools.evaluate_command([dashed(word) for word in rest])
    if command in STAGES:
        from tenet.cli.stage import stage_command

        return stage_command(command, rest)
    import difflib

    close = difflib.get_close_matches(command, [*STAGES, *COMMANDS, "completion"], 1)
    raise ConfigError(f"{command!r} is not a command{f'; did you mean {close[0]}?' if close else ''}; `tenet --help` lists them")


@cache
def flags_of(command: str) -> frozenset[str] | None:
    """Flags that a command's own help shows; None where there is no such command."""
    shown = io.StringIO()
    try:
        with contextlib.redirect_stdout(shown), contextlib.redirect_stderr(io.StringIO()):
            if main([*command.split(), "--help"]) != 0:
                return None
    except SystemExit as ended:  # argparse: 0 after its help, 2 after a word that it does not know
        if ended.code:
            return None
    return frozenset(re.findall(r"(?<![\w-])--?[A-Za-z][\w-]*(?:\.[\w-]+)*", shown.getvalue()))
