"""torchrun that ends with the exit code of the process it ran.

torchrun itself ends with 1 whatever its workers said. A launcher then cannot tell "interrupted, run me again" (75) from "wrong"
(1), and a preempted job is given up instead of recovered. Takes torchrun's own options:

    python -m tenet.torchrun --nnodes 2 --node-rank 0 --nproc-per-node 8 ... -m tenet.cli pretrain --preset 1b --run runs/first
"""

from __future__ import annotations

import sys

from tenet.errors import DONE, FAILED, INTERRUPTED


def main(arguments: list[str] | None = None) -> int:
    """Run the workers.

    Args:
        arguments: torchrun's; the command line's when left out.

    Returns:
        0, or what the first worker that failed ended with; 75 after a signal, which the workers got too.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import get_args_parser, run

    parser = get_args_parser()
    # It would take the command's own `--run` for the start of its `--run-path` and refuse it as ambiguous.
    parser.allow_abbrev = False
    try:
        run(parser.parse_args(arguments))
    except ChildFailedError as error:
        _, first = error.get_first_failure()
        print(f"tenet: a worker ended with exit code {first.exitcode}", file=sys.stderr)
        # Below 0: killed by that signal (out of memory is 9); launchers know only 0 to 255.
        return first.exitcode if first.exitcode > 0 else FAILED
    except SignalException as error:
        print(f"tenet: {error}; run the same command to go on", file=sys.stderr)
        return INTERRUPTED
    return DONE


if __name__ == "__main__":
    sys.exit(main())
