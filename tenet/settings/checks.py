"""Refusals that many settings share: each names key, value and way out, before anything is loaded."""

from __future__ import annotations

from typing import Any, Literal

#: A count of rows: so many, or all that there are.
Count = int | Literal["all"]


def at_least(section: str, config: Any, low: float, *names: str) -> None:
    """Refuse numbers below a limit.

    Raises:
        ValueError: names the first one.
    """
    for name in names:
        value = getattr(config, name)
        if not value >= low:  # NaN is below every limit
            raise ValueError(f"{section}.{name} is {value}; it must be at least {low:g}")


def share(section: str, config: Any, *names: str) -> None:
    """Refuse numbers outside of 0 to 1.

    Raises:
        ValueError: names the first one.
    """
    for name in names:
        value = getattr(config, name)
        if not 0 <= value <= 1:
            raise ValueError(f"{section}.{name} is {value}; it must lie between 0 and 1")


def some_rows(section: str, config: Any, *names: str) -> None:
    """Refuse a measurement on no rows.

    Raises:
        ValueError: names the first one.
    """
    for name in names:
        value = getattr(config, name)
        if value != "all" and not value >= 1:
            raise ValueError(f"{section}.{name} is {value}, which measures nothing; give 1 or more, or all")
