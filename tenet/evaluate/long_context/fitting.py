"""A prompt of exactly so many tokens.

The filler grows in whole pieces (sentences, lines, words) until one more would be too many; what is then missing is
made up by short words of one token each, in a line of their own after the filler. Every count is one of the whole
prompt, by the tokenizer that will read it, since tokens merge across the borders of pieces. A prompt of 200,000 tokens
takes four to six such counts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from tenet.errors import ConfigError

if TYPE_CHECKING:
    from lightning_modules.data.chat import ChatTokenizer

#: Tokens of a prompt as it is asked.
Count = Callable[[str], int]
#: A prompt, from the number of filler pieces and the padding.
Build = Callable[[int, str], str]
#: Where one of them costs one token, it can pad; most vocabularies hold the first.
PADS = (" and", " so", " on", " a", " i", " .", " 1", ".", "a", "\n")
#: So many tokens may be left to padding before another piece is looked for, or this share of the length where that is
#: more: 200 of 200,000.
ENOUGH, SHARE = 24, 1000
#: By how much the filler may grow from one count to the next: what is known of few pieces says little of many.
GROWTH = 16


def chat_count(tokenizer: ChatTokenizer) -> Count:
    """Counts a prompt as the only turn of a conversation, with all that the chat template puts around it."""
    return lambda text: len(tokenizer.prompt([{"role": "user", "content": text}]))


def fit(build: Build, length: int, count: Count, what: str = "the prompt") -> str:
    """The prompt that `build` makes with exactly `length` tokens.

    Raises:
        ConfigError: it is longer without any filler, or no padding comes out even.
    """
    least = count(build(0, ""))
    if least > length:
        raise ConfigError(f"{what} has {least} tokens without any filler; ask for {least} or more, not {length}")
    pieces, tokens = _pieces(build, length, count, least)
    # A piece less gives the padding more room, where it does not come out even.
    for fewer in range(min(3, pieces + 1)):
        tokens = count(build(pieces - fewer, "")) if fewer else tokens
        if (text := _padded(build, pieces - fewer, tokens, length, count, least)) is not None:
            return text
    raise ConfigError(
        f"{what} cannot be made to have exactly {length} tokens: none of the padding words costs one token with this tokenizer; "
        "ask for another length"
    )


def _pieces(build: Build, length: int, count: Count, least: int) -> tuple[int, int]:
    """The most pieces that fit, or a few fewer, and the tokens that they make."""
    below, above = (0, least), (0, 0)
    enough = max(ENOUGH, length // SHARE)
    aim, guess = length - enough // 2, 8
    while True:
        tokens = count(build(guess, ""))
        if tokens > length:
            above = (guess, tokens)
        else:
            below = (guess, tokens)
        if length - below[1] <= enough or above[0] == below[0] + 1:
            return below
        if above[0]:
            step = (aim - below[1]) * (above[0] - below[0]) // (above[1] - below[1])
            guess = min(max(below[0] + step, below[0] + 1), above[0] - 1)
        else:
            step = (aim - below[1]) * below[0] // max(1, below[1] - least) if below[0] else 1
            guess = below[0] + max(1, min(step, GROWTH * max(1, below[0])))


def _padded(build: Build, pieces: int, tokens: int, length: int, count: Count, least: int) -> str | None:
    """The prompt with so many padding words that the length is right, or None where no word comes out even."""
    if tokens == length:
        return build(pieces, "")
    for pad in PADS:
        four, nine = (count(build(0, pad * times)) - least for times in (4, 9))
        if nine - four != 5:
            continue
        # The line that the padding stands in has a token or two of its own.
        many = length - tokens - (nine - 9)
        for _ in range(4):
            if many < 1:
                break
            found = count(text := build(pieces, pad * many))
            if found == length:
                return text
            many += length - found
    return None
