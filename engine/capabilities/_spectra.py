"""What sound is measured by: formants by linear prediction, and distances between spectra."""

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_toeplitz
from scipy.signal import welch

Floats = NDArray[np.float64]

PRE_EMPHASIS = 0.97
FRAME_SECONDS, HOP_SECONDS = 0.030, 0.010
POLES_PER_KHZ = 1
"""Poles for each kHz of the sampling rate, and two more: a resonance in every kHz, and the slope (Markel 1976)."""
WIDEST = 600.0
"""Hz: a pole of a larger bandwidth shapes the slope and is no formant."""
LOWEST = 150.0
"""Hz: what lies below is the fundamental."""
SPECTRUM_SECONDS = 0.016
"""Window of the spectra that are compared: so short that pitch is smoothed out and formants stay."""
FLOOR_DB = 50.0
"""How far below its largest a spectrum is looked at: what is quieter is noise of the levels."""


def formants(wave: NDArray[np.floating], rate: int, n: int = 2) -> Floats:
    """The lowest ``n`` formants of a steady voice in Hz, nan for those that are not found.

    Linear prediction by the autocorrelation method, the autocorrelation averaged over Hamming windows of 30 ms of the
    pre-emphasised wave; formants are the poles (Markel & Gray 1976, *Linear prediction of speech*).
    """
    found = np.full(n, np.nan)
    emphasised = wave[1:].astype(np.float64) - PRE_EMPHASIS * wave[:-1]
    length, hop = round(FRAME_SECONDS * rate), round(HOP_SECONDS * rate)
    order = round(POLES_PER_KHZ * rate / 1000) + 2
    frames = np.lib.stride_tricks.sliding_window_view(emphasised, length)[::hop] * np.hamming(length)
    r = np.array([(frames[:, : length - k] * frames[:, k:]).sum() for k in range(order + 1)])
    if not np.isfinite(r).all() or r[0] <= 1e-9 * len(frames):
        return found
    r[0] *= 1 + 1e-9
    poles = np.roots(np.concatenate(([1.0], -solve_toeplitz(r[:-1], r[1:]))))
    poles = poles[poles.imag > 0]
    frequency, width = np.angle(poles) * rate / (2 * np.pi), -np.log(np.abs(poles)) * rate / np.pi
    kept = np.sort(frequency[(width < WIDEST) & (frequency > LOWEST)])[:n]
    found[: len(kept)] = kept
    return found


def power(wave: NDArray[np.floating], rate: int) -> Floats:
    """Mean power spectrum of a wave brought to power 1, from ``LOWEST`` up."""
    length = round(SPECTRUM_SECONDS * rate)
    scaled = wave / max(float(np.sqrt(np.square(wave, dtype=np.float64).mean())), 1e-9)
    frequency, spectrum = welch(scaled, rate, nperseg=length)
    return np.asarray(spectrum[frequency >= LOWEST], np.float64)


def distance_db(one: Floats, other: Floats) -> float:
    """Log-spectral distance in dB (Gray & Markel 1976): the root mean square difference of two spectra in dB.

    Each is looked at down to ``FLOOR_DB`` below its own largest value.
    """
    a, b = (10 * np.log10(np.maximum(s, s.max() * 10 ** (-FLOOR_DB / 10)) + 1e-20) for s in (one, other))
    return float(np.sqrt(np.square(a - b).mean()))
