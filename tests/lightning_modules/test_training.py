"""Fits: each module learns its task, a killed fit ends with the same weights, broken checkpoints are passed over."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_modules.config import ComputeConfig, OptimConfig, PreferenceObjective
from lightning_modules.data.packing import Packed, Tree, pack
from lightning_modules.data.steps import StepLoader, rows_of_step
from lightning_modules.model.decoder import Decoder
from lightning_modules.modules.dpo import PreferenceBatch, PreferenceModule, reference_logprobs
from lightning_modules.modules.reward import PairBatch, RewardModel, RewardModule, load_reward, save_reward
from lightning_modules.modules.sft import FinetuneModule
from lightning_modules.training.callbacks.resume import latest
from lightning_modules.training.trainer import fit
from tests.lightning_modules.tiny import raw_tokenizer, tiny_model

COMPUTE = ComputeConfig(accelerator="cpu", threads=1)
OPTIM = OptimConfig(lr=3e-3, muon_lr=1e-2, warmup=0.1, decay=0.3)


def copying(step: int) -> Packed:
    """Repeat the three tokens of the prompt."""
    g = torch.Generator().manual_seed(step)
    trees = []
    for _ in range(8):
        word = torch.randint(10, 60, (3,), generator=g).tolist()
        trees.append(Tree([1, *word, 2], [[*word, 3]]))
    return pack(trees, 32)


def train(
    module: Any, loader: Any, steps: int, folder: Path, stop: threading.Event | None = None, every: int = 10, grain: int = 1
) -> bool:
    return fit(
        module, loader, steps=steps, folder=folder, compute=COMPUTE, stop=stop or threading.Event(), tell=lambda *_: None,
        checkpoint_every=every, grain=grain,
    )  # fmt: skip


def weights(model: Decoder) -> bytes:
    return b"".join(p.detach().numpy().tobytes() for p in model.parameters())


def finetuned(folder: Path, steps: int = 60) -> Decoder:
    model = tiny_model(1)
    assert train(FinetuneModule(model, OPTIM, steps), StepLoader(copying, steps), steps, folder)
    return model


def test_fit_learns_and_logs(tmp_path: Path) -> None:
    finetuned(tmp_path)
    with open(tmp_path / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    losses = [float(row["train/loss"]) for row in rows if row["train/loss"]]
    assert losses[-1] < 0.7 * losses[0]
    assert float(rows[-1]["tokens_per_s"]) > 0


class _StopAfter(StepLoader[Packed]):
    """Asks the fit to stop while it is at a step."""

    def __init__(self, step: int, stop: threading.Event, steps: int) -> None:
        def fetch(number: int) -> Packed:
            if number == step:
                stop.set()
            return copying(number)

        super().__init__(fetch, steps)


def test_a_stopped_fit_ends_with_the_same_bytes(tmp_path: Path) -> None:
    whole = weights(finetuned(tmp_path / "whole"))
    stop = threading.Event()
    assert not train(FinetuneModule(tiny_model(1), OPTIM, 60), _StopAfter(33, stop, 60), 60, tmp_path / "cut", stop)
    assert latest(tmp_path / "cut" / "checkpoints").name == "step-00000034.ckpt"  # type: ignore[union-attr]
    model = tiny_model(99)  # other weights: they must come from the checkpoint
    assert train(FinetuneModule(model, OPTIM, 60), StepLoader(copying, 60), 60, tmp_path / "cut")
    assert weights(model) == whole
    with open(tmp_path / "cut" / "metrics.csv", newline="") as file:
        steps = [row["step"] for row in csv.DictReader(file)]
    assert len(steps) == len(set(steps))


def test_a_killed_fit_ends_with_the_same_bytes(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from tests.lightning_modules.test_training import finetuned, weights\n"
        "Path(sys.argv[1]).joinpath('weights').write_bytes(weights(finetuned(Path(sys.argv[1]), 150)))"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def start(folder: Path) -> subprocess.Popen[bytes]:
        folder.mkdir(exist_ok=True)
        return subprocess.Popen([sys.executable, "-c", script, str(folder)], env=environment)

    cut = tmp_path / "cut"
    process = start(cut)
    for _ in range(600):
        if list(cut.glob("checkpoints/step-*.sha256")):
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (cut / "weights").exists(), "the fit was over before it was killed"
    assert start(cut).wait() == 0
    assert start(tmp_path / "whole").wait() == 0
    assert (cut / "weights").read_bytes() == (tmp_path / "whole" / "weights").read_bytes()


def test_a_cut_checkpoint_is_passed_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = weights(finetuned(tmp_path / "whole"))
    stop = threading.Event()
    train(FinetuneModule(tiny_model(1), OPTIM, 60), _StopAfter(33, stop, 60), 60, tmp_path / "cut", stop)
    newest = latest(tmp_path / "cut" / "checkpoints")
    assert newest is not None
    data = next(newest.glob("*.distcp"))
    data.write_bytes(data.read_bytes()[:1000])
    older = latest(tmp_path / "cut" / "checkpoints")
    assert older is not None and older.name == "step-00000030.ckpt" and newest.name in capsys.readouterr().out
    model = tiny_model(99)
    train(FinetuneModule(model, OPTIM, 60), StepLoader(copying, 60), 60, tmp_path / "cut")
    assert weights(model) == whole


def test_reward_model_learns_and_survives_its_folder(tmp_path: Path) -> None:
    def batch(step: int) -> Packed:
        g = torch.Generator().manual_seed(step)
        pairs = []
        for _ in range(8):
            good = torch.randint(10, 60, (3,), generator=g).tolist()
            pairs.append(Tree([1, 2], [[*good, 70, 3], [*good, 71, 3]]))
        return pack(pairs, 32)

    model = RewardModel(tiny_model(4), "mean")
    assert train(RewardModule(model, OPTIM, 40, 0.01), StepLoader(lambda step: PairBatch(batch(step)), 40), 40, tmp_path)
    with torch.no_grad():
        scores = model.eval()(batch(1000), 16).view(-1, 2)
    assert (scores[:, 0] > scores[:, 1]).float().mean() == 1.0
    (tmp_path / "tokenizer").mkdir()
    raw_tokenizer().save(str(tmp_path / "tokenizer" / "tokenizer.json"))
    save_reward(model, tmp_path / "reward", tmp_path / "tokenizer", (2, 0), 0)
    with torch.no_grad():
        assert torch.allclose(load_reward(tmp_path / "reward")(batch(1000), 16).view(-1, 2), scores, atol=1e-6)


@pytest.mark.parametrize("pool", ["last", "mean"])
def test_reward_of_an_answer_does_not_depend_on_its_rival(pool: Any) -> None:
    model = RewardModel(tiny_model(4), pool)
    torch.nn.init.normal_(model.head.weight, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        together = model(pack([Tree([1, 2], [[5, 6], [7, 8, 9]]), Tree([3], [[4], [6]])], 16), 4)
        apart = torch.cat(
            [model(pack([Tree(t, [a])], 16), 1) for t, a in (([1, 2], [5, 6]), ([1, 2], [7, 8, 9]), ([3], [4]), ([3], [6]))]
        )
    assert torch.allclose(together, apart, atol=1e-5)


@pytest.mark.parametrize(
    "objective",
    [
        PreferenceObjective(beta=0.5),
        PreferenceObjective(beta=0.5, label_smoothing=0.1),
        PreferenceObjective("ipo", beta=0.1),
        PreferenceObjective("simpo", beta=2.0, gap=0.5),
    ],
    ids=["dpo", "cdpo", "ipo", "simpo"],
)
def test_preference_optimisation_moves_the_margin(objective: PreferenceObjective, tmp_path: Path) -> None:
    model = tiny_model(5)
    trees = [Tree([1, i], [[20, 3], [21, 3]]) for i in range(40, 48)]
    packed = pack(trees, 32)
    reference = reference_logprobs(model, packed, 16)
    before = reference.view(-1, 2)
    loader = StepLoader(lambda step: PreferenceBatch(packed, reference), 30)
    assert train(PreferenceModule(model, OPTIM, 30, objective), loader, 30, tmp_path)
    after = reference_logprobs(model, packed, 16).view(-1, 2)
    assert ((after[:, 0] - after[:, 1]) - (before[:, 0] - before[:, 1])).mean() > 1.0
    assert (after[:, 0] > before[:, 0]).all()  # the chosen answers did not become less likely


def test_single_ratings_part_what_was_liked_from_what_was_not(tmp_path: Path) -> None:
    model = tiny_model(5)
    liked = torch.tensor([True, False] * 4)
    trees = [Tree([1, i], [[20, 3] if up else [21, 3], [22, 3]]) for i, up in zip(range(40, 48), liked.tolist(), strict=True)]
    packed = pack(trees, 32)
    reference = reference_logprobs(model, packed, 16)
    loader = StepLoader(lambda step: PreferenceBatch(packed, reference, liked), 30)
    assert train(PreferenceModule(model, OPTIM, 30, PreferenceObjective("kto", beta=0.5)), loader, 30, tmp_path)
    moved = (reference_logprobs(model, packed, 16) - reference).view(-1, 2)[:, 0]
    assert moved[liked].min() > moved[~liked].max() + 1.0


def test_rows_of_step_is_the_same_everywhere() -> None:
    assert rows_of_step(3, 7, 5, 11) == rows_of_step(3, 7, 5, 11) != rows_of_step(4, 7, 5, 11)
