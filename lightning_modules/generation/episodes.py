"""Episodes of several turns: the model answers, somebody observes, the model goes on.

Tokens are never made anew from text: what was sampled stays as it was sampled, what is observed is appended as ids, and
which is which is kept beside them. So the trainer's forward over an episode sees the very ids that the sampler saw, and
the loss leaves out what the model did not say. Every turn is a request of its own to the engine; episodes wait for none
of the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from lightning_modules.generation.engine import SlotEngine
from lightning_modules.generation.protocol import Completion, Sampling
from lightning_modules.model.decoder import Decoder

#: Between the random streams of an episode's turns; a position in a stream is far below it.
TURN_STRIDE = 7_368_787


class Episode(Protocol):
    """One course of a conversation, in token ids."""

    @property
    def longest(self) -> int:
        """Most tokens, opening included."""
        ...

    def observe(self, turn: Completion) -> list[int] | None:
        """What the model reads before its next turn, up to where it begins to speak; None when the episode is over.

        Args:
            turn: what it has just said, its closing token included.
        """
        ...

    def earned(self) -> dict[str, float]:
        """What has been paid so far, by name."""
        ...


@dataclass
class _Course:
    """An episode under way; `turn` is the one being sampled."""

    prompt: Sequence[int]
    episode: Episode
    sampling: Sampling
    whole: Completion = field(default_factory=lambda: Completion(turns=0))
    turn: Completion = field(default_factory=Completion)

    def room(self, context: int) -> int:
        """Tokens that are left for a turn."""
        return min(context, self.episode.longest) - len(self.prompt) - len(self.whole.ids)

    def submit(self, engine: SlotEngine, context: int) -> int:
        """Ask for the next turn; the number of the request."""
        sampling = replace(
            self.sampling,
            seed=self.sampling.seed + TURN_STRIDE * self.whole.turns,
            max_tokens=min(self.sampling.max_tokens, self.room(context)),
        )
        self.turn = Completion()
        return engine.submit([*self.prompt, *self.whole.ids], sampling)

    def said(self, context: int) -> bool:
        """Take the turn that was sampled; whether there is another one."""
        turn, whole = self.turn, self.whole
        whole.ids += turn.ids
        whole.logprobs += turn.logprobs
        whole.sampled += [True] * len(turn.ids)
        whole.turns += 1
        whole.finish = turn.finish
        observed = self.episode.observe(turn)
        whole.earned = self.episode.earned()
        if observed is None:
            return False
        if self.room(context) <= len(observed):
            whole.finish = "length"
            return False
        whole.ids += observed
        whole.sampled += [False] * len(observed)
        return True


def play(
    model: Decoder,
    prompts: Sequence[Sequence[int]],
    episodes: Sequence[Sequence[Episode]],
    sampling: Sampling,
    seeds: Sequence[int],
    max_slots: int = 128,
) -> list[list[Completion]]:
    """Play many episodes, several from each prompt.

    Args:
        prompts: token ids of the openings.
        episodes: of each prompt, equally many.
        sampling: of each turn; turn t of episode j of prompt i draws from stream `seeds[i] + j + TURN_STRIDE * t`.
        max_slots: turns decoded at once.

    Returns:
        for each prompt its episodes, in order: ids behind the opening, of which `sampled` are the model's.

    Raises:
        ValueError: an opening leaves no room for an answer.
    """
    context = model.config.max_position_embeddings
    grid = [
        [_Course(prompt, episode, replace(sampling, seed=seed + j)) for j, episode in enumerate(group)]
        for prompt, group, seed in zip(prompts, episodes, seeds, strict=True)
    ]
    flat = [course for group in grid for course in group]
    if not flat:
        return []
    longest = min(context, max(course.episode.longest for course in flat))
    engine = SlotEngine(model, min(max_slots, len(flat)), longest, prefill_tokens=16_384)
    running = {course.submit(engine, longest): course for course in flat}
    while running:
        for token in engine.step():
            course = running[token.request]
            course.turn.ids.append(token.id)
            course.turn.logprobs.append(token.logprob)
            if token.finish:
                course.turn.finish = token.finish
                del running[token.request]
                if course.said(longest):
                    running[course.submit(engine, longest)] = course
    return [[course.whole for course in group] for group in grid]
