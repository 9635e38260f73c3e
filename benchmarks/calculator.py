"""Whether policy optimisation learns in conversations of several turns: a calculator as the environment.

    python -m benchmarks.calculator                       # three seeds
    python -m benchmarks.calculator --seeds 1 --rounds 10

A decoder of 0.3 million parameters, random weights, is fine-tuned on some conversations (a call of the tool, its result, the
answer) until it is right in part; from there GRPO goes on, paid by the environment alone. What the tool says is read and not
learnt. Sums that are measured on are held out by hash; accuracy is of sampled conversations.
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import random
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

from lightning_modules.config import ComputeConfig, GuardLimits, OptimConfig, PolicyObjective
from lightning_modules.data.chat import END_OF_TEXT, TOOL_TAGS, TURN_END, TURN_START, ChatTokenizer
from lightning_modules.data.conversations import ConversationBatches
from lightning_modules.data.packing import sequence
from lightning_modules.data.steps import StepLoader
from lightning_modules.generation.experience import Reward
from lightning_modules.generation.protocol import Completion, Sampling
from lightning_modules.generation.rollouts import ExperienceLoader, RolloutConfig
from lightning_modules.model.config import ModelConfig
from lightning_modules.model.decoder import Decoder
from lightning_modules.modules.policy import RlhfModule
from lightning_modules.modules.sft import FinetuneModule
from lightning_modules.training.trainer import fit
from tenet.posttrain.calculator import TOOL, Calculator
from tenet.posttrain.environments import Conversations
from tenet.posttrain.reward_parts import ByEnvironment
from tenet.posttrain.rewards import sampled
from tenet.rows import Row

LONGEST, TURNS, EVERYTHING = 160, 3, 10**9
TUNING, RATE = OptimConfig(lr=2e-3, warmup=0.05, decay=0.0), OptimConfig(lr=2e-4, warmup=0.0, decay=0.0)
OFF = GuardLimits(kl=0, entropy=0, length=0, truncated=0)


def sums(seed: int, count: int, held: bool) -> list[Row]:
    """Two numbers of two digits each; a hash says which are held out."""
    draw, out = random.Random(seed), list[Row]()
    while len(out) < count:
        a, b, sign = draw.randrange(10, 100), draw.randrange(10, 100), draw.choice("+-*")
        if (hashlib.sha256(f"{a}{sign}{b}".encode()).digest()[0] < 64) == held:
            value = {"+": a + b, "-": a - b, "*": a * b}[sign]
            out.append(
                {"id": f"{a}{sign}{b}", "prompt": [{"role": "user", "content": f"What is {a} {sign} {b}?"}], "answer": value}
            )
    return out


def shown(row: Row) -> list[Row]:
    """A conversation as it should go."""
    call = {"type": "function", "function": {"name": "calculate", "arguments": {"expression": row["id"]}}}
    told = [{"role": "tool", "content": str(row["answer"])}, {"role": "assistant", "content": str(row["answer"])}]
    return [*row["prompt"], {"role": "assistant", "content": "", "tool_calls": [call]}, *told]


def tokenizer() -> ChatTokenizer:
    """Byte-level BPE of such conversations; digits stay single."""
    special = [END_OF_TEXT, TURN_START, TURN_END]
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    made.decoder = decoders.ByteLevel()
    texts = [
        str(TOOL),
        "What is 1 + 2? - *",
        '{"name": "calculate", "arguments": {"expression": "1"}}',
        "tool_response system user assistant",
    ]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(
        texts * 4, trainers.BpeTrainer(vocab_size=500, special_tokens=special, initial_alphabet=alphabet, show_progress=False)
    )
    made.add_tokens([AddedToken(tag, special=False, normalized=False) for tag in TOOL_TAGS])
    return ChatTokenizer(made)


def tuned(text: ChatTokenizer, seed: int, steps: int) -> Decoder:
    """Random weights, fine-tuned."""
    shape = ModelConfig(
        vocab_size=text.vocab_size, hidden_size=96, intermediate_size=256, num_layers=3, num_heads=4, num_kv_heads=4, head_dim=24,
        max_position_embeddings=LONGEST,
    )  # fmt: skip
    model = Decoder(shape).initialise(seed)
    learnt = [sequence(*example) for row in sums(seed, 300, False) for example in text.examples(shown(row), [TOOL])]
    _fit(FinetuneModule(model, TUNING, steps), StepLoader(ConversationBatches(learnt, seed, 8, 2 * LONGEST), steps), steps)
    return model


def optimise(model: Decoder, making: Conversations, seed: int, rounds: int) -> dict[str, float]:
    """GRPO in conversations; the largest distance of trainer and sampler that was seen, and tokens by who made them."""
    asked, pay = making.opened(sums(seed + 50, 2000, False)), ByEnvironment()
    counts = {"sampled": 0.0, "observed": 0.0}

    def score(numbers: Sequence[int], answers: Sequence[Sequence[Completion]]) -> list[list[Reward]]:
        for answer in (answer for group in answers for answer in group):
            counts["sampled"] += sum(answer.sampled)
            counts["observed"] += len(answer.ids) - sum(answer.sampled)
        return [[Reward(judged.value) for judged in group] for group in pay([asked[n] for n in numbers], answers)]

    sampling = Sampling(max_tokens=40, temperature=1.0, stop_ids=making.tokenizer.stop_ids)
    loader = ExperienceLoader(
        model, copy.deepcopy(model).requires_grad_(False), [making.tokenizer.prompt(row["prompt"], row["tools"]) for row in asked],
        score, RolloutConfig(rounds=rounds, prompts=8, group=8, minibatches=2, no_signal="drop"), PolicyObjective(), seed=seed,
        sampling=sampling, episodes=lambda row: making(asked[row]),
    )  # fmt: skip
    _fit(RlhfModule(model, RATE, len(loader), PolicyObjective(), longest=TURNS * 40, guards=OFF), loader, len(loader), 2)
    return counts


def _fit(module: Any, loader: Any, steps: int, grain: int = 1) -> None:
    with tempfile.TemporaryDirectory() as folder:
        fit(
            module, loader, steps=steps, folder=Path(folder), compute=ComputeConfig(threads=1), stop=threading.Event(),
            tell=lambda *_: None, checkpoint_every=EVERYTHING, log_every=2, grain=grain,
        )  # fmt: skip
    module.eval()


def accuracy(model: Decoder, making: Conversations, count: int = 200) -> tuple[float, float]:
    """Share of held-out sums that are right, and mean turns, of sampled conversations."""
    held = making.opened(sums(7, count, True))
    sampling = Sampling(max_tokens=40, temperature=1.0, stop_ids=making.tokenizer.stop_ids)
    answers = [group[0] for group in sampled(model, making.tokenizer, held, sampling, making)]
    return sum(a.earned.get("score", 0.0) for a in answers) / count, sum(a.turns for a in answers) / count


def main() -> None:
    """Print a line a seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--start", type=int, default=120, help="steps of fine-tuning before")
    parser.add_argument("--rounds", type=int, default=40)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    text = tokenizer()
    making = Conversations(text, Calculator, TURNS, LONGEST)
    for seed in range(1, chosen.seeds + 1):
        begun = time.process_time()
        model = tuned(text, seed, chosen.start)
        before, between = accuracy(model, making), time.process_time()
        counts = optimise(model, making, seed, chosen.rounds)
        taken, after = time.process_time() - between, accuracy(model, making)
        print(
            f"seed {seed}: sampled accuracy {before[0]:.3f} to {after[0]:.3f}, turns {before[1]:.2f} to {after[1]:.2f}; "
            f"{counts['sampled']:,.0f} tokens learnt from, {counts['observed']:,.0f} observed; fine-tuning {between - begun:.0f}, "
            f"policy optimisation {taken:.0f} CPU s",
            flush=True,
        )


if __name__ == "__main__":
    main()
