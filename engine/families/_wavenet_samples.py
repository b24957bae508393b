"""Sound made by a WaveNet, one sample after another, with what each layer heard kept in a queue (Le Paine 2016)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from engine.families._wavenet import Layer, Wave
from engine.families.base import Made
from engine.sources._audio import SILENCE, Clips, to_wave

if TYPE_CHECKING:
    from engine.sources.base import Prepared

SECONDS, CONDITIONS = 0.5, 3
"""Length and number of what is made to be listened to during training."""
BLOCK = 256
"""Samples whose random numbers are drawn at once."""

Floats = NDArray[np.float32]


class Player:
    """One step of many waves at once, in numpy on the CPU: a step is a few dozen small products, and starting them
    costs numpy a third of what it costs torch, on any device.

    Args:
        model: on any device, in any number format.
        condition: int64 (n,), or None for a model that has none.
        n: how many waves.
    """

    def __init__(self, model: Wave, condition: NDArray[np.int64] | None, n: int) -> None:
        channels = model.channels
        self._embedding = _numpy(model.embedding)
        # tanh(x) sigmoid(y) = tanh(x) (1 + tanh(y / 2)) / 2: one tanh serves both halves of a gate.
        halved = np.repeat(np.array([1, 0.5], np.float32), channels)[:, None]
        self._layers = []
        for layer in model.layers:
            assert isinstance(layer, Layer)
            taps = np.concatenate([_numpy(layer.now), _numpy(layer.past)], axis=1) * halved
            shift = np.repeat(_numpy(layer.bias)[:, None], n, axis=1)
            if condition is not None and layer.condition is not None:
                shift += _numpy(layer.condition)[condition].T
            queue = np.zeros((layer.dilation, channels, n), np.float32)
            self._layers.append((taps, shift * halved, _numpy(layer.out) / 2, _numpy(layer.out_bias)[:, None], queue))
        self._scale = np.float32(len(self._layers) ** -0.5)
        self._hidden = _numpy(model.hidden)
        self._hidden_bias = _numpy(model.hidden_bias)[:, None]
        self._output = _numpy(model.output) * model.output_multiplier
        self._output_bias = _numpy(model.output_bias)[:, None]
        self._channels, self._time = channels, 0

    def scores(self, levels: NDArray[np.integer]) -> Floats:
        """(vocab_size, n) scores of what comes after ``levels`` (n,) and all that was given before."""
        channels = self._channels
        x = np.ascontiguousarray(self._embedding[levels].T)
        skip = np.zeros_like(x)
        both = np.empty((2 * channels, x.shape[1]), np.float32)
        for taps, shift, out, out_bias, queue in self._layers:
            slot = queue[self._time % len(queue)]
            both[:channels], both[channels:] = x, slot
            slot[:] = x
            gates = np.tanh(taps @ both + shift)
            made = out @ (gates[:channels] * (1 + gates[channels:])) + out_bias
            skip += made[-channels:]
            if len(made) > channels:
                x += made[:channels]
        self._time += 1
        hidden = _silu(self._hidden @ _silu(skip * self._scale) + self._hidden_bias)
        return np.asarray(self._output @ hidden + self._output_bias, np.float32)


def generate(
    model: nn.Module, condition: NDArray[np.int64] | None, n: int, n_samples: int, seed: int
) -> NDArray[np.uint8]:
    """Levels (n, n_samples) that follow silence, each drawn from what the model says: a function of its arguments."""
    assert isinstance(model, Wave)
    player, rng = Player(model, condition, n), np.random.default_rng(seed)
    made = np.empty((n_samples, n), np.uint8)
    levels = np.full(n, SILENCE)
    for t in range(n_samples):
        if t % BLOCK == 0:
            noise = rng.gumbel(size=(BLOCK, model.vocab_size, n)).astype(np.float32)
        levels = (player.scores(levels) + noise[t % BLOCK]).argmax(axis=0)
        made[t] = levels
    return np.ascontiguousarray(made.T)


def spoken(model: nn.Module, seed: int, prepared: "Prepared") -> Sequence[Made]:
    """A few waves to listen to, the same question at every step; nothing where the data are no clips."""
    if not isinstance(prepared, Clips):
        return ()
    names = prepared.class_names[:CONDITIONS]
    condition = np.arange(len(names)) if names else None
    made = generate(model, condition, max(1, len(names)), round(SECONDS * prepared.rate), seed)
    return tuple(
        Made("audio", name, wave, prepared.rate) for name, wave in zip(names or ("",), to_wave(made), strict=True)
    )


def _silu(x: Floats) -> Floats:
    return np.asarray(x * (0.5 + 0.5 * np.tanh(0.5 * x)), np.float32)


def _numpy(parameter: Tensor) -> Floats:
    return np.ascontiguousarray(parameter.detach().float().cpu().numpy())
