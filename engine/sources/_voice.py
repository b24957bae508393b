"""A source-filter synthesiser (Fant 1960, Klatt 1980) of many clips at once: pulses and breath through resonators.

It steps through time, all clips beside each other, so that formants may move and no clip costs a loop of its own:
2,000 clips of a quarter of a second at 8 kHz take about half a second of one core.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Kind = Literal["man", "woman", "child"]
Content = Literal["vowels", "words", "tones"]
Floats = NDArray[np.float64]

KINDS: tuple[Kind, ...] = ("man", "woman", "child")
VOWELS = ("i", "ɑ", "u", "æ", "ɝ", "ɛ", "ʊ", "ɔ", "ɪ", "ʌ")
"""In IPA, those furthest apart first."""
_FORMANTS: dict[Kind, tuple[tuple[float, float, float], ...]] = {
    "man": (
        *((270, 2290, 3010), (730, 1090, 2440), (300, 870, 2240), (660, 1720, 2410), (490, 1350, 1690)),
        *((530, 1840, 2480), (440, 1020, 2240), (570, 840, 2410), (390, 1990, 2550), (640, 1190, 2390)),
    ),
    "woman": (
        *((310, 2790, 3310), (850, 1220, 2810), (370, 950, 2670), (860, 2050, 2850), (500, 1640, 1960)),
        *((610, 2330, 2990), (470, 1160, 2680), (590, 920, 2710), (430, 2480, 3070), (760, 1400, 2780)),
    ),
    "child": (
        *((370, 3200, 3730), (1030, 1370, 3170), (430, 1170, 3260), (1010, 2320, 3320), (560, 1820, 2160)),
        *((690, 2610, 3570), (560, 1410, 3310), (680, 1060, 3180), (530, 2730, 3600), (850, 1590, 3360)),
    ),
}
FORMANTS = {kind: np.asarray(rows, np.float64) for kind, rows in _FORMANTS.items()}
"""Mean F1 to F3 in Hz of each of ``VOWELS``, (10, 3): Peterson & Barney 1952, table II."""
FOURTH = {"man": 3500.0, "woman": 4100.0, "child": 4500.0}
"""F4 in Hz, one for all vowels (Klatt 1980 for men); those above half the sampling rate are left out."""
BANDWIDTHS = np.array([60.0, 90.0, 150.0, 250.0])
"""Of F1 to F4 in Hz (Klatt 1980)."""
LOCI = np.array([[240.0, 720.0, 2200.0], [240.0, 1800.0, 2700.0], [240.0, 2800.0, 3000.0]])
"""Where F1 to F3 come from after b, d and g (F2: Delattre, Liberman & Cooper 1955)."""
TRANSITION_SECONDS, BURST_SECONDS, ONSET_SECONDS = 0.020, 0.006, 0.008
TILT = 0.92
"""Pole of the filter that makes pulses fall by 6 dB an octave: the glottis's 12 less the 6 of radiation."""
JITTER = 0.01
"""Std of the logarithm of a period around the voice's."""
DECLINATION = 0.1
"""Share by which the fundamental falls over a clip."""
FRAME_SECONDS = 0.0025
"""How often moving formants are set anew."""
HARMONICS = 24
TONES = ("pure", "odd", "full")
"""Tones of one partial, of odd harmonics, and of all, falling as 1 / number."""


def voices(
    rng: np.random.Generator,
    formants: Floats,
    fourth: Floats,
    f0: Floats,
    breath: Floats,
    n_samples: int,
    rate: int,
    consonant: NDArray[np.int64] | None = None,
) -> Floats:
    """Waves (n, n_samples), the largest value of each 1.

    ``formants`` are (n, 3) and ``fourth`` (n,) in Hz, ``f0`` in Hz, ``breath`` the std of the noise beside pulses of
    height 1; ``consonant`` (n,) is 0, 1 or 2 for b, d and g, in which the vowel then begins.
    """
    n = len(formants)
    noise = rng.standard_normal((n_samples, n)) * breath
    jitter = np.exp(JITTER * rng.standard_normal((n_samples, n)))
    onset = np.minimum(1.0, np.arange(n_samples) / (ONSET_SECONDS * rate))
    loci = None if consonant is None else LOCI[consonant]
    if loci is not None:
        noise[: round(BURST_SECONDS * rate)] += 0.3 * rng.standard_normal((round(BURST_SECONDS * rate), n))
    frame = max(1, round(FRAME_SECONDS * rate))
    phase, period_f, glottis, late = rng.random(n), f0.copy(), np.zeros(n), np.zeros(n)
    gain, near, far = _resonators(formants, fourth, rate)
    one_ago, two_ago = np.zeros((4, n)), np.zeros((4, n))
    out = np.empty((n_samples, n))
    for t in range(n_samples):
        if loci is not None and t % frame == 0:
            moved = formants + (loci - formants) * np.exp(-t / (TRANSITION_SECONDS * rate))
            gain, near, far = _resonators(moved, fourth, rate)
        phase += period_f / rate
        pulse, late = late, np.zeros(n)
        begun = np.flatnonzero(phase >= 1)
        if len(begun):
            # A pulse lies between two samples and is shared by them, or its period could only be a whole number.
            phase[begun] -= 1
            ago = np.minimum(1.0, phase[begun] * rate / period_f[begun])
            pulse[begun] += ago
            late[begun] = 1 - ago
            period_f[begun] = f0[begun] * (1 - DECLINATION * t / n_samples) * jitter[t, begun]
        glottis = TILT * glottis + onset[t] * pulse + noise[t]
        signal = glottis
        for k in range(4):
            signal = gain[k] * signal + near[k] * one_ago[k] + far[k] * two_ago[k]
            two_ago[k], one_ago[k] = one_ago[k], signal
        out[t] = signal
    return np.ascontiguousarray((out / np.abs(out).max(axis=0)).T)


def tones(
    rng: np.random.Generator, kind: NDArray[np.int64], f0: Floats, breath: Floats, n_samples: int, rate: int
) -> Floats:
    """Waves (n, n_samples), the largest value of each 1, of ``TONES`` by number at a fundamental in Hz."""
    t = np.arange(n_samples) / rate
    out = breath[:, None] * rng.standard_normal((len(f0), n_samples))
    for k in range(1, HARMONICS + 1):
        heard = (k == 1) | ((kind == 1) & (k % 2 == 1)) | (kind == 2)
        heard &= k * f0 < rate / 2
        phase = 2 * np.pi * rng.random((len(f0), 1))
        out += (heard / k)[:, None] * np.sin(2 * np.pi * k * f0[:, None] * t + phase)
    out *= np.minimum(1.0, t / ONSET_SECONDS)
    return np.asarray(out / np.abs(out).max(axis=1, keepdims=True), np.float64)


def _resonators(formants: Floats, fourth: Floats, rate: int) -> tuple[Floats, Floats, Floats]:
    """Coefficients (4, n) of Klatt's second-order resonators, y = g x + a y1 + b y2, of gain 1 at 0 Hz."""
    f = np.column_stack([formants, fourth]).T
    r = np.exp(-np.pi * BANDWIDTHS / rate)[:, None]
    near, far = 2 * r * np.cos(2 * np.pi * f / rate), np.repeat(-(r**2), f.shape[1], axis=1)
    gain = 1 - near - far
    absent = f >= 0.49 * rate
    return np.where(absent, 1.0, gain), np.where(absent, 0.0, near), np.where(absent, 0.0, far)
