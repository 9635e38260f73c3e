"""Numbers with their units as people read them: time, money, memory, energy, mass."""

from __future__ import annotations

NOT_MEASURED = "n/a"


def duration(seconds: float | None) -> str:
    """`0.4 s`, `12 s`, `3 min 05 s`, `2 h 07 min`."""
    if seconds is None:
        return NOT_MEASURED
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def short(value: float) -> str:
    """A count with its SI letter: 8.03B, 15.6T, 3.95e25 beyond."""
    for limit, letter in ((1e15, ""), (1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= limit:
            return f"{value:.2e}".replace("e+", "e") if not letter else f"{value / limit:.3g}{letter}"
    return f"{value:.3g}"


def long_time(seconds: float) -> str:
    """Minutes and hours as elsewhere, days above two of them."""
    return f"{seconds / 86_400:,.1f} days" if seconds >= 2 * 86_400 else duration(seconds)


def money(dollars: float) -> str:
    """Cents below 100 dollars, millions above one of them."""
    if dollars >= 1e6:
        return f"${dollars / 1e6:,.1f}M" if dollars >= 1e7 else f"${dollars / 1e6:.2f}M"
    return f"${dollars:,.0f}" if dollars >= 100 else f"${dollars:.2f}"


def gib(value: float) -> str:
    """Bytes as GiB."""
    return f"{value / 2**30:.1f}" if value >= 2**30 / 20 else f"{value / 2**30:.3f}"


def kilowatt_hours(kwh: float) -> str:
    """Wh, kWh or MWh."""
    return _scaled(kwh * 1000, (("Wh", 1.0), ("kWh", 1e3), ("MWh", 1e6)))


def mass(kilograms: float) -> str:
    """g, kg or t."""
    return _scaled(kilograms * 1000, (("g", 1.0), ("kg", 1e3), ("t", 1e6)))


def _scaled(value: float, units: tuple[tuple[str, float], ...]) -> str:
    unit, scale = next((u for u in reversed(units) if value >= u[1]), units[0])
    found = value / scale
    return f"{found:,.0f} {unit}" if found >= 100 else f"{found:.3g} {unit}"
