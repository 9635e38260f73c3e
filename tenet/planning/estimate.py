"""How much each stage computes, from a preset alone; `planning/` turns that into memory, time and money.

Free of torch. Everything that a preset does not say is a constant with a name here, and `plan` prints it as an
assumption.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from lightning_modules.config import LoraConfig, ParallelConfig
from lightning_modules.model.config import ModelConfig
from tenet.settings.preset import Preset

#: Checkpoints compared; answers of a benchmark row, their tokens.
CHECKPOINTS, CHOICES, CHOICE_TOKENS = 5, 4, 128
#: Rows of an evaluation task where the preset takes all of them.
ALL_ROWS = 2_000
#: A forward pass is a third of forward and backward.
FORWARD = 1 / 3

ASSUMPTIONS = (
    "a forward pass is a third of a training step (2 N of 6 N FLOPs a token)",
    "a prompt is as long as the longest answer asked of it, within finetune.context",
    "a step of LoRA takes two thirds of a full one: frozen matrices get no gradients",
    "every revision allowed is drawn; a red-team round attacks before and after the fix",
    f"an evaluation row scores {CHOICES} answers of {CHOICE_TOKENS} tokens and makes one answer, on {CHECKPOINTS} checkpoints; "
    f"`rows: all` counts as {ALL_ROWS:,}",
)


@dataclass(frozen=True)
class Counts:
    """What the files of a run say about its work; the defaults stand where none are named.

    Args:
        principles: of the constitution.
        attacks: of a red-team round: every attack on every goal.
        assumed: which of the two are the defaults.
        left_out: stages of the preset that this run has not, since it lacks their part.
    """

    principles: int = 6
    attacks: int = 500
    assumed: tuple[str, ...] = ("principles", "attacks")
    left_out: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """The assumptions that they are."""
        said = []
        for name in ("principles", "attacks"):
            why = "assumed, no file of them is named" if name in self.assumed else "counted in the run's file"
            said.append(f"{getattr(self, name):,} {name} ({why})")
        if self.left_out:
            said.append(
                f"{', '.join(self.left_out)}: not planned, this run lacks their part (--domain, or a file in the settings)"
            )
        return said


#: Pairs of a reward model on frozen features, where the setting takes all that there are.
PAIRS = 8000


@dataclass(frozen=True)
class Work:
    """What one stage does.

    Args:
        stage: its name.
        trained, scored, generated: tokens that go forward and backward, forward alone, and that are made one at a time.
        context: tokens of one row, for the share of attention.
        batch: tokens of one optimiser step; 0 where nothing is trained.
        answers: answers that can be made at the same time; answer: tokens of each.
        lora: adapters that are trained in the place of the model.
    """

    stage: str
    trained: float = 0.0
    scored: float = 0.0
    generated: float = 0.0
    context: int = 1
    batch: float = 0.0
    answers: float = 0.0
    answer: int = 0
    lora: LoraConfig = field(default_factory=LoraConfig)

    @property
    def tokens(self) -> float:
        """All of them."""
        return self.trained + self.scored + self.generated

    def flops(self, model: ModelConfig) -> float:
        """FLOPs of the model; what is computed again to save memory is not counted."""
        return model.flops_per_token(self.context) * (self.lora.cost * self.trained + FORWARD * (self.scored + self.generated))

    def trained_parameters(self, model: ModelConfig) -> int:
        """What the optimiser moves, a head that is not the model's left out."""
        if not self.trained:
            return 0
        return model.adapter_parameters(self.lora) if self.lora.rank else model.parameters()


def prompt_tokens(preset: Preset, answer: int) -> int:
    """Length that a prompt is taken to have."""
    return max(1, min(answer, preset.finetune.context - answer))


def work(preset: Preset, tokens: float = 0.0, counts: Counts | None = None) -> list[Work]:
    """What every stage that computes has to do, in the order of the pipeline.

    Args:
        preset: whose settings say how much.
        tokens: pretraining tokens; 0 takes the preset's own.
        counts: principles, attacks and stages left out; None takes the defaults and leaves nothing out.
    """
    counts = counts or Counts()
    pre, fine = preset.pretrain, preset.finetune
    every = [
        Work("pretrain", trained=tokens or pre.tokens, context=pre.context, batch=pre.batch_tokens),
        Work(
            "finetune",
            trained=float(fine.steps * fine.batch_tokens),
            context=fine.context,
            batch=fine.batch_tokens,
            lora=fine.lora,
        ),
        _reward(preset),
        _rlhf(preset),
        _constitutional(preset, counts.principles),
        _redteam(preset, counts.attacks),
        _evaluate(preset),
    ]
    if "dpo" in preset.pipeline:
        every.insert(2, _dpo(preset))
    wanted = set(preset.pipeline) or {each.stage for each in every}
    return [each for each in every if each.stage in wanted - set(counts.left_out)]


def _dpo(preset: Preset) -> Work:
    """Both answers of each pair are trained on and scored once by the reference."""
    d = preset.dpo
    batch = 2.0 * d.batch_pairs * d.context
    return Work("dpo", d.steps * batch, d.steps * batch, context=d.context, batch=batch, lora=d.lora)


def _reward(preset: Preset) -> Work:
    """Both answers of each pair are trained on; where only a head learns, the decoder goes forward."""
    reward = preset.reward
    if reward.mode == "frozen":
        # Each pair is read once, in one row. How many a file has is not known before it is read.
        counts = [n if isinstance(n, int) else PAIRS for n in (reward.eval_rows, reward.train_rows)]
        return Work("reward", scored=float(sum(counts) * reward.context), context=reward.context)
    batch = 2.0 * reward.batch_pairs * reward.context
    pairs = reward.steps * batch
    return Work("reward", 0.0 if reward.freeze else pairs, pairs if reward.freeze else 0.0, context=reward.context, batch=batch)


def _rlhf(preset: Preset) -> Work:
    """Answers are made once, scored by the reference (and the reward models), then trained on; in an environment every
    turn that is allowed is taken."""
    rl = preset.rlhf
    together = float(rl.prompts * rl.group)
    turns = rl.environment.max_turns if rl.environment.kind else 1
    prompt, answer = prompt_tokens(preset, rl.max_tokens), turns * rl.max_tokens
    length = prompt + answer
    whole = rl.steps * together * length
    judges = 1 + reward_models(preset)
    # A prompt is computed once for its whole group; a later turn begins with all that was said before it.
    again = together * sum(prompt + turn * rl.max_tokens for turn in range(1, turns))
    prefill = rl.steps * (rl.prompts * prompt + again)
    made = rl.steps * together * answer
    batch = together / rl.minibatches * length
    return Work("rlhf", rl.epochs * whole, judges * whole + prefill, made, length, batch, together, answer, rl.lora)


def reward_models(preset: Preset) -> int:
    """Reward models that judge the answers of policy optimisation."""
    return sum(part.kind == "model" for part in preset.rlhf.parts())


def _constitutional(preset: Preset, principles: int) -> Work:
    """Answers, critiques and revisions are made; then a supervised and a preference part (policy trained, reference
    scored)."""
    c = preset.constitutional
    prompt = prompt_tokens(preset, c.max_tokens)
    # Each answer has one critique and at most `revisions` revisions; the evaluation answers before and after.
    drawn = principles * (c.prompts * (2.0 + c.revisions) + 2 * c.eval_prompts)
    return Work(
        "constitutional",
        trained=float((c.steps + c.preference_steps) * c.batch_tokens),
        scored=drawn * prompt + c.preference_steps * c.batch_tokens,
        generated=drawn * c.max_tokens,
        context=prompt + c.max_tokens,
        batch=c.batch_tokens,
        answers=float(principles * c.prompts),
        answer=c.max_tokens,
    )


def _redteam(preset: Preset, attacks: int) -> Work:
    r = preset.redteam
    prompt = prompt_tokens(preset, r.max_tokens)
    asked = 2.0 * r.rounds * attacks
    trained = float(r.rounds * r.steps * r.batch_tokens)
    length = prompt + r.max_tokens
    made = asked * r.max_tokens
    return Work("redteam", trained, asked * prompt, made, length, r.batch_tokens, attacks, r.max_tokens)


def _evaluate(preset: Preset) -> Work:
    e = preset.evaluate
    together = float(len(e.tasks) * (ALL_ROWS if e.rows == "all" else e.rows))
    scored = CHECKPOINTS * together * CHOICES * CHOICE_TOKENS
    made = CHECKPOINTS * together * e.max_tokens
    return Work("evaluate", 0.0, scored, made, CHOICE_TOKENS, 0.0, together, e.max_tokens)


def replicas(parallel: ParallelConfig, devices: int) -> int:
    """Copies of the sharded model that so many devices hold; 0 where they do not divide."""
    one = parallel.shard * parallel.tensor * parallel.context
    return devices // one if devices % one == 0 else 0
