"""Fits that give the same result on any number of processes; `python -m tests.lightning_modules.fits FOLDER NAME...` is
one of them.

Batches are a function of the step and are dealt out by `ranks.own`, as the stages do. Losses of unequal length are on
purpose: a mean of means would be another loss.
"""

from __future__ import annotations

import copy
import sys
import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from lightning_modules.config import (
    ComputeConfig,
    GuardLimits,
    LoraConfig,
    OptimConfig,
    ParallelConfig,
    PolicyObjective,
    PreferenceObjective,
)
from lightning_modules.data.conversations import ConversationBatches
from lightning_modules.data.packing import Packed, Tree, pack, sequence
from lightning_modules.data.shards import PretrainBatches, TokenRows
from lightning_modules.data.steps import StepLoader
from lightning_modules.distributed import ranks
from lightning_modules.distributed.sharding import decoder_in
from lightning_modules.generation.experience import Reward
from lightning_modules.generation.protocol import Completion, Sampling
from lightning_modules.generation.rollouts import ExperienceLoader, RolloutConfig
from lightning_modules.model.lora import adapted, add_adapters, input_model
from lightning_modules.modules.dpo import PreferenceBatch, PreferenceModule, reference_logprobs
from lightning_modules.modules.policy import RlhfModule
from lightning_modules.modules.pretrain import PretrainModule
from lightning_modules.modules.reward import PairBatch, RewardModel, RewardModule
from lightning_modules.modules.sft import FinetuneModule
from lightning_modules.objectives.critic import ActorCritic
from lightning_modules.training.trainer import fit
from tests.lightning_modules.tiny import tiny_model

STEPS = 6
OPTIM = OptimConfig(lr=3e-3, muon_lr=1e-2, warmup=0.1, decay=0.3)
OFF = GuardLimits(kl=0, ratio=0, entropy=0, length=0, truncated=0)


def shard_of(folder: Path) -> TokenRows:
    """4,000 tokens in documents of 50."""
    path = folder / "train.ds"
    if not path.exists():
        np.random.default_rng(0).integers(1, 300, 4000).astype(np.uint16).tofile(path)
        np.arange(50, 4001, 50, dtype=np.uint64).tofile(folder / "train.ds.index")
    return TokenRows(path, 32)


def trees(answers: int, count: int = 12) -> list[Tree]:
    """Prompts with answers of very different lengths."""
    g = torch.Generator().manual_seed(answers)

    def ids(low: int, high: int) -> list[int]:
        return torch.randint(1, 300, (int(torch.randint(low, high, (1,), generator=g)),), generator=g).tolist()

    return [Tree(ids(2, 5), [ids(1, 20) for _ in range(answers)]) for _ in range(count)]


def pretrain(folder: Path, **shape: Any) -> tuple[Any, Any, int]:
    """8 rows a step, at most 4 in one pass."""
    batches = PretrainBatches(shard_of(folder), 1, 8, 4, True, ranks.rank(), ranks.world())
    module = PretrainModule(tiny_model(1, **shape), OPTIM, STEPS, 1e-4)
    return module, StepLoader(batches, STEPS * batches.accumulate), batches.accumulate


def pretrain_untied(folder: Path) -> tuple[Any, Any, int]:
    """Table and head apart: each is a unit of its own where weights are sharded."""
    return pretrain(folder, tie_word_embeddings=False)


def finetune(folder: Path) -> tuple[Any, Any, int]:
    """Two rows of conversations a step."""
    conversations = [sequence([*t.prompt, *t.answers[0]], [True] * len(t)) for t in trees(1, 20)]
    batches = ConversationBatches(conversations, 1, 2, 64, ranks.rank(), ranks.world())
    return FinetuneModule(tiny_model(2), OPTIM, STEPS), StepLoader(batches, STEPS), 1


def _pairs(step: int, pairs: Sequence[Tree]) -> tuple[list[int], Packed]:
    chosen = ranks.own([(5 * step + i) % len(pairs) for i in range(5)])
    return chosen, pack([pairs[i] for i in chosen], 64)


def reward(folder: Path) -> tuple[Any, Any, int]:
    """Five pairs a step: three for one of two processes, two for the other."""
    module = RewardModule(RewardModel(tiny_model(3), "mean"), OPTIM, STEPS, 0.01)
    # A head that is exactly 0 gives no gradient to the backbone, and the first steps of AdamW would be rounding blown
    # up.
    torch.nn.init.normal_(module.model.head.weight, std=0.1, generator=torch.Generator().manual_seed(0))
    return module, StepLoader(lambda step: PairBatch(_pairs(step, trees(2))[1], 0.1), STEPS), 1


def preference(folder: Path, objective: PreferenceObjective | None = None) -> tuple[Any, Any, int]:
    """Five pairs a step."""
    objective = objective or PreferenceObjective(beta=0.5)
    model, pairs = tiny_model(4), trees(2)
    known = reference_logprobs(model, pack(pairs, 64), 2 * len(pairs)).view(-1, 2)

    def batch(step: int) -> PreferenceBatch:
        chosen, packed = _pairs(step, pairs)
        thumbs = torch.tensor([i % 3 > 0 for i in chosen]) if objective.loss == "kto" else None
        return PreferenceBatch(packed, known[chosen].flatten(), thumbs)

    return PreferenceModule(model, OPTIM, STEPS, objective), StepLoader(batch, STEPS), 1


def ipo(folder: Path) -> tuple[Any, Any, int]:
    """Means over tokens."""
    return preference(folder, PreferenceObjective("ipo"))


def simpo(folder: Path) -> tuple[Any, Any, int]:
    """Without a reference."""
    return preference(folder, PreferenceObjective("simpo", beta=2.0))


def kto(folder: Path) -> tuple[Any, Any, int]:
    """Single answers, beside one to another prompt."""
    return preference(folder, PreferenceObjective("kto"))


class Echo:
    """An episode in which somebody repeats the last token, up to three turns; pays for how often the model said 33."""

    longest = 40

    def __init__(self) -> None:
        self.turns, self.paid = 0, 0.0

    def observe(self, turn: Completion) -> list[int] | None:
        """Two tokens, or the end after a token that three divides."""
        self.turns += 1
        self.paid += turn.ids.count(33) / 10
        return None if self.turns == 3 or turn.ids[-1] % 3 == 0 else [7, turn.ids[-1]]

    def earned(self) -> dict[str, float]:
        """So far."""
        return {"said": self.paid}


def rlhf(
    folder: Path, prompts: int = 6, objective: PolicyObjective | None = None, no_signal: Any = "keep", critic: bool = False,
    episodes: Any = None,
) -> tuple[Any, Any, int]:  # fmt: skip
    """Three rounds of two minibatches of three prompts. Where groups without a signal are not kept, rewards are coarse, so
    that there are some."""
    objective = objective or PolicyObjective()

    def worth(ids: Sequence[int]) -> float:
        return sum(i % 7 for i in ids) / 30 if no_signal == "keep" else float(sum(i % 7 for i in ids) > 24)

    def score(rows: Sequence[int], answers: Sequence[Sequence[Completion]]) -> list[list[Reward]]:
        return [[Reward(worth(a.ids), {"sum": float(sum(a.ids))}) for a in group] for group in answers]

    policy: Any = ActorCritic(tiny_model(5), objective.value_rate) if critic else tiny_model(5)
    module = RlhfModule(policy, OPTIM, STEPS, objective, kl=0.02, kl_in_loss=not critic, kl_target=0.01, longest=6, guards=OFF)
    config = RolloutConfig(rounds=STEPS // 2, prompts=prompts, group=4, minibatches=2, no_signal=no_signal)
    loader = ExperienceLoader(
        policy, copy.deepcopy(decoder_in(policy)), [[1, i, 2] for i in range(40, 60)], score, config, objective, seed=0,
        sampling=Sampling(max_tokens=6, temperature=1.0), kl_in_reward=lambda: module.kl_weight if critic else 0.0,
        episodes=episodes,
    )  # fmt: skip
    return module, loader, 1


def rlhf_turns(folder: Path) -> tuple[Any, Any, int]:
    """Episodes of up to three turns, of which two processes play a share."""
    return rlhf(folder, prompts=2, episodes=lambda row: Echo())


def rlhf_parts(folder: Path) -> tuple[Any, Any, int]:
    """One prompt a minibatch: two processes share its group of answers."""
    return rlhf(folder, prompts=2)


def rlhf_sequence(folder: Path) -> tuple[Any, Any, int]:
    """GSPO, with rounds refilled."""
    objective = PolicyObjective(ratio="sequence", aggregate="answer", scale="batch")
    return rlhf(folder, objective=objective, no_signal="refill")


def rlhf_dropped(folder: Path) -> tuple[Any, Any, int]:
    """CISPO with Dr. GRPO's aggregation; groups without a signal are left out."""
    return rlhf(folder, objective=PolicyObjective(clip="cispo", aggregate="constant"), no_signal="drop")


def ppo(folder: Path) -> tuple[Any, Any, int]:
    """A value head, and the divergence in the rewards."""
    return rlhf(folder, critic=True)


def with_lora(made: tuple[Any, Any, int]) -> tuple[Any, Any, int]:
    """The same fit with adapters in the place of full training; B is not 0, so that no gradient is."""
    module, loader, accumulate = made
    decoder = decoder_in(module.model)
    add_adapters(decoder, LoraConfig(rank=4), 1)
    for part in adapted(decoder):
        torch.nn.init.normal_(part.lora_b, std=0.1, generator=torch.Generator().manual_seed(2))
    if isinstance(loader, ExperienceLoader):
        loader.reference = input_model(decoder)
    return module, loader, accumulate


def lora(folder: Path) -> tuple[Any, Any, int]:
    """Fine-tuning of adapters."""
    return with_lora(finetune(folder))


def lora_rlhf(folder: Path) -> tuple[Any, Any, int]:
    """Policy optimisation of adapters and a value head; the reference is the policy without adapters."""
    return with_lora(rlhf(folder, critic=True))


KINDS: dict[str, Callable[[Path], tuple[Any, Any, int]]] = {
    f.__name__: f
    for f in (
        pretrain,
        pretrain_untied,
        finetune,
        reward,
        preference,
        rlhf,
        rlhf_parts,
        rlhf_turns,
        rlhf_sequence,
        rlhf_dropped,
        ppo,
        ipo,
        simpo,
        kto,
        lora,
        lora_rlhf,
    )
}


class _StopAt:
    """A loader that asks one process to stop at a step, as a signal would."""

    def __init__(self, loader: Any, micro_step: int, stop: threading.Event) -> None:
        self.loader, self.micro_step, self.stop = loader, micro_step, stop

    @property
    def refresh(self) -> Any:
        """What a sharded fit calls before each round of rollouts, where the loader makes some."""
        return self.loader.refresh

    @refresh.setter
    def refresh(self, work: Any) -> None:
        self.loader.refresh = work

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Any:
        for number, batch in enumerate(self.loader):
            if number == self.micro_step:
                self.stop.set()
            yield batch

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.loader.load_state_dict(state)


def run(kind: str, data: Path, folder: Path, shard: int = 1, stop_at: int = -1, **compute: Any) -> bool:
    """Fit one kind; the first process keeps the weights.

    Returns:
        whether it came to its end.
    """
    module, loader, accumulate = KINDS[kind](data)
    stop = threading.Event()
    if stop_at >= 0:
        loader = _StopAt(loader, stop_at * accumulate, stop)
    done = fit(
        module, loader, steps=STEPS, folder=folder, compute=ComputeConfig(accelerator="cpu", threads=1, **compute), stop=stop,
        tell=lambda *_: None, checkpoint_every=2, accumulate=accumulate, parallel=ParallelConfig(shard=shard), log_every=1,
        grain=2 if kind.startswith(("rlhf", "ppo")) else 1,
    )  # fmt: skip
    if done and ranks.is_first():
        save_file({name: p.detach().contiguous() for name, p in module.named_parameters()}, folder / "weights.safetensors")
    return done


def main() -> None:
    """FOLDER, then fits as KIND, KIND:shard, stop:KIND (asked of the last process alone), resume:KIND, or again:KIND
    (sharded, stopped, gone on with)."""
    folder = Path(sys.argv[1])
    ranks.join()
    for word in sys.argv[2:]:
        go = partial(run, data=folder)
        if word.startswith("stop:"):
            last = ranks.rank() == ranks.world() - 1
            assert not go(word[5:], folder=folder / "from_two", stop_at=3 if last else -1)
        elif word.startswith("again:"):
            assert not go(word[6:], folder=folder / "again", shard=2, stop_at=3)
            assert go(word[6:], folder=folder / "again", shard=2)
        elif word.startswith("resume:"):
            assert go(word[7:], folder=folder / "from_one")
        else:
            kind, _, how = word.partition(":")
            assert go(kind, folder=folder / word.replace(":", "_"), shard=2 if how else 1)


if __name__ == "__main__":
    main()
