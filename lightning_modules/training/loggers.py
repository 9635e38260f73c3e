"""Where a fit's metrics go beside metrics.csv: TensorBoard always, MLflow and W&B when asked for.

    tensorboard --logdir runs/demo                      # the writer is tensorboardX; the viewer is TensorBoard's own package
    TENET_LOGGERS=mlflow,wandb tenet pretrain ...

An environment variable and no setting: where numbers are shown changes no result, so it must not change what a run is.
Each service is told its own address in its own way (MLFLOW_TRACKING_URI, WANDB_MODE, ...). MLflow 3 writes no plain
files any more, so it needs its address. Free of torch until a logger is made.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

VARIABLE = "TENET_LOGGERS"
#: Further loggers, by the name of their package.
FURTHER = ("mlflow", "wandb")
FOLDER = "logs"


def chosen() -> list[str]:
    """The further loggers that are asked for.

    Raises:
        ValueError: no such logger, its package is not installed, or it has no address.
    """
    names = [name.strip() for name in os.environ.get(VARIABLE, "").split(",") if name.strip()]
    for name in names:
        if name not in FURTHER:
            raise ValueError(f"{VARIABLE} is {os.environ[VARIABLE]!r}: {name} is not known; there are {', '.join(FURTHER)}")
        if importlib.util.find_spec(name) is None:
            raise ValueError(f"{VARIABLE} asks for {name}, which is not installed; `pip install 'tenet[{name}]'` or leave it out")
    if "mlflow" in names and not os.environ.get("MLFLOW_TRACKING_URI"):
        raise ValueError(
            f"{VARIABLE} asks for mlflow and MLFLOW_TRACKING_URI is not set; set it to a server or e.g. sqlite:///mlflow.db"
        )
    return names


def loggers(folder: Path, start: int = 0, name: str = "") -> list[Any]:
    """Lightning loggers of one fit; on several processes only the first one writes.

    Args:
        folder: the stage's folder; files go below `logs/`.
        start: optimiser steps that are done; what was logged after it is drawn anew.
        name: part of the stage.

    Raises:
        ValueError: see `chosen`.
    """
    from lightning.pytorch.loggers import TensorBoardLogger

    asked = chosen()
    place, run = folder / FOLDER, "-".join(filter(None, (*folder.parts[-2:], name))).replace(".partial", "")
    purge = {"purge_step": start + 1} if start else {}
    made: list[Any] = [TensorBoardLogger(place, "tensorboard", version=name, default_hp_metric=False, **purge)]
    if "mlflow" in asked:
        from lightning.pytorch.loggers import MLFlowLogger

        made.append(MLFlowLogger("tenet", run, os.environ["MLFLOW_TRACKING_URI"]))
    if "wandb" in asked:
        from lightning.pytorch.loggers import WandbLogger

        project = os.environ.get("WANDB_PROJECT", "tenet")
        # `tenet run` fits many modules in one process; each is a run of its own.
        made.append(WandbLogger(run, save_dir=place, project=project, reinit="create_new"))
    return made
