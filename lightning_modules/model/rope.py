"""Rotary embeddings that reach further than they were trained: what Llama 3.1 and YaRN (arXiv:2309.00071) do to the
frequencies, and how a `config.json` says it. No torch here; the decoder computes it.

Both divide the slow frequencies, which have not gone full circle within the context that was trained on, and keep the
fast ones. They differ in what lies between, and YaRN also makes attention sharper.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from lightning_modules.model.errors import ModelFolderError

Json = dict[str, Any]


@dataclass(frozen=True)
class RopeScaling:
    """Llama 3.1's stretching of the rotary wavelengths, by which a model of 8k positions reads 128k.

    Args:
        factor: long wavelengths become this many times as long.
        low_freq_factor: wavelengths above `original_max_position_embeddings / low_freq_factor` are long.
        high_freq_factor: those below `original_max_position_embeddings / high_freq_factor` stay; between the two it is
            interpolated.
        original_max_position_embeddings: positions that the model was trained on before.
    """

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_max_position_embeddings: int
    rope_type: Literal["llama3"] = "llama3"

    def __post_init__(self) -> None:
        _above_zero(self)
        if self.low_freq_factor >= self.high_freq_factor:
            raise ValueError(
                f"model.rope_scaling.low_freq_factor is {self.low_freq_factor} and high_freq_factor is {self.high_freq_factor}: "
                "the first must be smaller"
            )

    def kept(self, theta: float, width: int) -> list[float]:
        """How much of each of the width / 2 frequencies stays as it is, from 0 (it is divided by `factor`) to 1."""
        turns = [self.original_max_position_embeddings * theta ** (-i / width) / (2 * math.pi) for i in range(0, width, 2)]
        return [_ramp(one, self.low_freq_factor, self.high_freq_factor) for one in turns]

    @property
    def sharper(self) -> float:
        """What cosines and sines are multiplied by."""
        return 1.0


@dataclass(frozen=True)
class YarnScaling:
    """YaRN: between the frequencies of `beta_fast` and `beta_slow` turns it is interpolated by place, and cosines and
    sines are multiplied, which makes attention logits that much sharper, squared.

    Args:
        factor: slow frequencies are divided by it; the context that is reached is about so many times as long.
        original_max_position_embeddings: positions that the model was trained on before.
        beta_fast, beta_slow: turns within those positions, from which on a frequency stays, and up to which it is
            divided.
        attention_factor: of cosines and sines; none is the paper's 0.1 ln(factor) + 1.
        truncate: the two places are whole numbers.
    """

    factor: float
    original_max_position_embeddings: int
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    attention_factor: float | None = None
    truncate: bool = True
    rope_type: Literal["yarn"] = "yarn"

    def __post_init__(self) -> None:
        _above_zero(self)
        if self.factor < 1:
            raise ValueError(f"model.rope_scaling.factor is {self.factor}; YaRN stretches by 1 or more")
        if self.beta_slow >= self.beta_fast:
            raise ValueError(
                f"model.rope_scaling.beta_slow is {self.beta_slow} and beta_fast is {self.beta_fast}: the first must be smaller"
            )

    def kept(self, theta: float, width: int) -> list[float]:
        """How much of each of the width / 2 frequencies stays as it is, from 0 (it is divided by `factor`) to 1."""
        first, last = (
            width * math.log(self.original_max_position_embeddings / (2 * math.pi * turns)) / (2 * math.log(theta))
            for turns in (self.beta_fast, self.beta_slow)
        )
        if self.truncate:
            first, last = math.floor(first), math.ceil(last)
        first, last = max(first, 0), min(last, width - 1)
        last += 0.001 if first == last else 0
        return [1 - _ramp(place, first, last) for place in range(width // 2)]

    @property
    def sharper(self) -> float:
        """What cosines and sines are multiplied by."""
        return 0.1 * math.log(self.factor) + 1 if self.attention_factor is None else self.attention_factor


Scaling = RopeScaling | YarnScaling
#: What a `config.json` must say of each kind, and what it may.
KEYS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "default": ((), ()),
    "llama3": (("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"), ()),
    "yarn": (
        ("factor", "original_max_position_embeddings"),
        ("beta_fast", "beta_slow", "attention_factor", "mscale", "mscale_all_dim", "truncate"),
    ),
}


def from_hf(hf: Json, positions: int) -> tuple[float, Scaling | None]:
    """Base of the rotary frequencies, and their scaling. transformers reads `rope_scaling` before `rope_parameters`.

    Args:
        hf: a `config.json`.
        positions: its `max_position_embeddings`.

    Raises:
        ModelFolderError: names what cannot be computed.
    """
    given = {key: hf[key] for key in ("rope_scaling", "rope_parameters") if hf.get(key)}
    for key, value in given.items():
        if not isinstance(value, dict) or any(isinstance(item, dict) for item in value.values()):
            raise ModelFolderError(
                f"config.json has {key} {short(value)}; one kind of rotary embedding for all layers can be computed"
            )
    theta, kind = _agreed(hf, given)
    rope: Json = {key: value for key, value in next(iter(given.values()), {}).items() if value is not None}
    asked, known = KEYS.get(kind, ((), ()))
    strange = set(rope) - {"rope_type", "type", "rope_theta", "partial_rotary_factor", *asked, *known}
    if kind not in KEYS or strange or rope.get("partial_rotary_factor") not in (None, 1, 1.0):
        raise ModelFolderError(
            f"config.json scales its rotary embedding ({short(rope)}); plain RoPE, Llama 3's rope_type llama3 and yarn can be computed"
        )
    if kind == "default":
        return theta, None
    rope = {"original_max_position_embeddings": positions, **rope}
    if missing := [key for key in asked if key not in rope]:
        raise ModelFolderError(f"config.json has a rotary embedding of rope_type {kind} without {', '.join(missing)}")
    try:
        return theta, _yarn(rope) if kind == "yarn" else _llama3(rope)
    except ValueError as error:
        raise ModelFolderError(f"config.json: {error}") from None


def _agreed(hf: Json, given: dict[str, Json]) -> tuple[float, str]:
    """Base and kind, where all that speak of them say the same."""
    thetas = {
        number(source["rope_theta"], "rope_theta") for source in (*given.values(), hf) if source.get("rope_theta") is not None
    }
    kinds = {source.get("rope_type", source.get("type", "default")) for source in given.values()}
    keys = sorted({key for asked, known in KEYS.values() for key in asked + known})
    if len(thetas) > 1 or len(kinds) > 1 or len({tuple(map(repr, map(source.get, keys))) for source in given.values()}) > 1:
        raise ModelFolderError(
            f"config.json says two things of its rotary embedding (rope_theta {hf.get('rope_theta')}, {short(given)}); keep the right one in a copy"
        )
    return next(iter(thetas), 10_000.0), str(next(iter(kinds), "default"))


def _llama3(rope: Json) -> RopeScaling:
    values: Json = {key: _whole(rope, key) for key in KEYS["llama3"][0]}
    return RopeScaling(**values)


def _yarn(rope: Json) -> YarnScaling:
    """`mscale` and `mscale_all_dim` (DeepSeek's spelling) are an attention factor as a ratio of two."""
    values: Json = {key: _whole(rope, key) for key in KEYS["yarn"][0]}
    values |= {key: number(rope[key], key) for key in ("beta_fast", "beta_slow", "attention_factor") if key in rope}
    if "truncate" in rope:
        if not isinstance(rope["truncate"], bool):
            raise ModelFolderError(f"config.json has truncate {rope['truncate']!r}; it must be true or false")
        values["truncate"] = rope["truncate"]
    scales = [rope.get("mscale") or 0, rope.get("mscale_all_dim") or 0]
    if all(scales) and "attention_factor" not in rope:
        over, under = (0.1 * number(one, "mscale") * math.log(values["factor"]) + 1 for one in scales)
        values["attention_factor"] = over / under
    return YarnScaling(**values)


def to_hf(scaling: Scaling | None) -> Json:
    """What a `config.json` says of the scaling; what is at its default is left to the reader."""
    if scaling is None:
        return {"rope_type": "default"}
    return {key: value for key, value in vars(scaling).items() if value is not None and (key, value) != ("truncate", True)}


def number(value: Any, key: str) -> float:
    """A number above 0.

    Raises:
        ModelFolderError: names the key.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
        raise ModelFolderError(f"config.json has {key} {value!r}; it must be a number above 0")
    return float(value)


def short(value: Any) -> str:
    """A value in a message."""
    text = repr(value)
    return text if len(text) <= 120 else text[:117] + "..."


def _whole(rope: Json, key: str) -> float | int:
    value = number(rope[key], key)
    return int(value) if key == "original_max_position_embeddings" else value


def _ramp(value: float, low: float, high: float) -> float:
    return min(1.0, max(0.0, (value - low) / (high - low)))


def _above_zero(scaling: Scaling) -> None:
    for name, value in vars(scaling).items():
        if isinstance(value, (int, float)) and not isinstance(value, bool) and value <= 0:
            raise ValueError(f"model.rope_scaling.{name} is {value}; it must be above 0")
