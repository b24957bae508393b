"""Ticks a person reads at a glance: 10k, 100k, 1M; and enough of them on a log axis of less than a decade."""

import math

_SUFFIXES = ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def format_count(value: float, billions: str = "B") -> str:
    """1500 -> 1.5k, 2000000 -> 2M, 3e9 -> 3B; beyond a thousand T in powers of ten."""
    if abs(value) >= 1e15:
        exponent = math.floor(math.log10(abs(value)))
        digits = value / 10**exponent
        return f"10^{exponent}" if math.isclose(digits, 1) else f"{digits:.3g}·10^{exponent}"
    for factor, suffix in _SUFFIXES:
        if abs(value) >= factor * 0.9995:
            return f"{value / factor:.3g}{billions if suffix == 'G' else suffix}"
    return f"{value:.3g}"


def format_number(value: float) -> str:
    """Plain, without trailing zeros."""
    return f"{value:.4g}".replace("-", "−")


def log_ticks(lowest: float, highest: float, most: int = 7) -> list[float]:
    """Positions on a log axis in ``lowest``..``highest`` (positive): 1-2-5 by decade, only decades, or even steps."""
    assert 0 < lowest <= highest
    first, last = math.floor(math.log10(lowest)), math.ceil(math.log10(highest))
    for digits in ((1, 2, 5), (1, 3), (1,)):
        found = [d * 10.0**e for e in range(first, last + 1) for d in digits]
        found = [t for t in found if lowest <= t * (1 + 1e-9) and t <= highest * (1 + 1e-9)]
        if len(found) <= most:
            return found if len(found) >= 3 else linear_ticks(lowest, highest, most)
    every = -(-len(found) // most)
    return found[::every]


def linear_ticks(lowest: float, highest: float, most: int = 7) -> list[float]:
    """Round positions in ``lowest``..``highest``, a step of 1, 2 or 5 times a power of ten apart."""
    if highest <= lowest:
        return [lowest]
    rough = (highest - lowest) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(s * power for s in (1, 2, 5, 10) if s * power >= rough * (1 - 1e-9))
    start = math.ceil(lowest / step - 1e-9)
    end = math.floor(highest / step + 1e-9)
    return [round(i * step, 12) for i in range(start, end + 1)]


def format_parameter(value: float) -> str:
    """Three digits of a fitted number; powers of ten as a person writes them: 2.09·10^6."""
    if value and not 1e-3 <= abs(value) < 1e5:
        exponent = math.floor(math.log10(abs(value)))
        return f"{value / 10**exponent:.3g}·10^{exponent}"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
