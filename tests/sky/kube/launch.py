"""Launch files as `sky launch --infra kubernetes` does it, one after the other in one process, and write down what
SkyPilot says of each.

What its API server would do is called here, so that nothing is left running. On a cluster whose nodes are there in name
only no pod starts, so every launch ends with an error; which one is what the tests read.

    python -m tests.sky.kube.launch OUT.json FILE...
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

#: What a caller gives; each file takes those that it knows.
ENVS = {"RUN": "first", "RUNS_BUCKET": "runs", "WEIGHTS_BUCKET": "runs", "LUSTRE": "fs@tcp:/a", "RUNS": "/fsx/checkpoints"}
#: Nodes of each file that takes several.
NODES = 2


def main(out: str, files: list[str]) -> None:
    """One line of OUT for each file."""
    from sky import check

    check.check(clouds=("kubernetes", "aws"), quiet=True)
    Path(out).write_text(json.dumps({Path(file).stem: launch(Path(file)) for file in files}))


def launch(path: Path) -> str:
    """What SkyPilot ends the launch with."""
    from sky.utils import dag_utils

    import sky
    from sky import execution

    given = [(name, "value") for name in _wanted(path, "secrets")]
    envs = [(name, ENVS[name]) for name in _wanted(path, "envs") if name in ENVS]
    dag = dag_utils.load_chain_dag_from_yaml(str(path), envs, given)
    for task in dag.tasks:
        task.set_resources_override({"cloud": sky.Kubernetes()})
        if task.num_nodes == 1 and "torchrun" in (task.run or ""):
            task.num_nodes = NODES
    try:
        execution.launch(dag, cluster_name=path.stem)
    except Exception as error:  # of many kinds, and the text is what a person reads
        return f"{type(error).__name__}: {error}"
    return ""


def _wanted(path: Path, kind: str) -> list[str]:
    import yaml

    tasks: list[dict[str, Any]] = [task for task in yaml.safe_load_all(path.read_text()) if isinstance(task, dict)]
    return list(dict.fromkeys(name for task in tasks for name in task.get(kind) or {}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
