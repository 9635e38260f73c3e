"""torchrun that ends with the exit code of the process it ran.

torchrun itself ends with 1 whatever its workers said. A launcher then cannot tell "interrupted, run me again" (75) from
"wrong" (1), and a preempted job is given up instead of recovered. Takes torchrun's own options:

    python -m tenet.torchrun --nnodes 2 --node-rank 0 --nproc-per-node 8 ... -m tenet.cli pretrain --preset 1b --run
    runs/first

Started by SkyPilot, it takes from its variables what no option says: nodes, this node's rank, the first node's address,
a process for each GPU.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from tenet.errors import DONE, FAILED, INTERRUPTED

#: Where the processes meet on the first node, unless PET_MASTER_PORT or --master-port says otherwise.
PORT = "29500"


def from_sky(environment: Mapping[str, str]) -> dict[str, str]:
    """torchrun's own variables (PET_ and an option's name), read from SkyPilot's; none where SkyPilot did not start
    this.

    Args:
        environment: SKYPILOT_NODE_IPS (one a line, the first node's first), _NODE_RANK, _NUM_NODES and
            _NUM_GPUS_PER_NODE; NPROC, where it is not empty, is the number of processes of a node. Without GPUs that is
            one.
    """
    if "SKYPILOT_NODE_IPS" not in environment:
        return {}
    processes = environment.get("NPROC") or str(max(1, int(environment.get("SKYPILOT_NUM_GPUS_PER_NODE") or 0)))
    found = {
        "PET_NNODES": environment["SKYPILOT_NUM_NODES"],
        "PET_NODE_RANK": environment["SKYPILOT_NODE_RANK"],
        "PET_NPROC_PER_NODE": processes,
        "PET_MASTER_ADDR": environment["SKYPILOT_NODE_IPS"].split()[0],
        "PET_MASTER_PORT": PORT,
    }
    return {key: value for key, value in found.items() if key not in environment}


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

    os.environ.update(from_sky(os.environ))
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
