"""The learning rate as a pure function of the step, so that resuming needs no scheduler state."""

import math

from engine.study import ResolvedTraining


def lr_factor(step: int, training: ResolvedTraining) -> float:
    """Multiplier of the peak rate for the update that follows ``step`` finished ones, in 0..1.

    Warm-up is linear and never zero. WSD (Hu 2024, MiniCPM) holds the peak and decays linearly over the last
    ``decay_steps``; cosine (Loshchilov & Hutter 2017) decays from the end of the warm-up.
    """
    n, warmup, floor = training.n_steps, training.warmup_steps, training.final_lr_fraction
    if step < warmup:
        return (step + 1) / (warmup + 1)
    if training.schedule == "constant":
        return 1.0
    if training.schedule == "wsd":
        start = n - training.decay_steps
        if step < start:
            return 1.0
        return floor + (1.0 - floor) * (n - step) / (training.decay_steps + 1)
    if training.schedule == "cosine":
        position = (step - warmup + 1) / max(1, n - warmup + 1)
        return floor + (1.0 - floor) * 0.5 * (1.0 + math.cos(math.pi * min(1.0, position)))
    raise ValueError(f"unknown schedule {training.schedule!r}")
