"""WaveNet: dilated causal convolutions over raw sound (van den Oord 2016), built at any size from one dial."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from engine.errors import StudyError
from engine.families import families
from engine.families.base import (
    Asked,
    Counts,
    DataShape,
    Family,
    Made,
    ParamGroup,
    Shape,
    TrainingHints,
    rate_scales,
)
from engine.i18n import mark, tr
from engine.study import RunSpec, Scalar, TableSpec

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from engine.sources.base import Prepared


class WavenetSpec(TableSpec, frozen=True, kw_only=True):
    """How far back the model hears; the width follows the size."""

    dilations: Annotated[
        int,
        msgspec.Meta(
            title=mark("Dilations"),
            description=mark(
                "Layers of a cycle; they look back 1, 2, 4, … samples, each twice as far as the one before."
            ),
            ge=1,
            le=16,
        ),
    ] = 8
    cycles: Annotated[
        int,
        msgspec.Meta(title=mark("Cycles"), description=mark("How often the dilations are gone through."), ge=1, le=32),
    ] = 1


def non_embedding(channels: int, n_layers: int) -> int:
    """Exact count: matrices and biases of the layers, and the layer that the skip connections lead to.

    The tables of levels and of conditions are left out, and what makes scores of the levels.
    """
    layer = channels * (4 * channels + 2 + 2 * channels + 2)
    unused = channels * (channels + 1)  # the last layer has only a skip connection
    return n_layers * layer - unused + channels * (channels + 1)


@families.register("wavenet")
class Wavenet(Family):
    """Gated dilated causal convolutions with residual and skip connections, a softmax over mu-law levels."""

    name = "wavenet"
    version = 1
    title = mark("WaveNet: causal convolutions over sound")
    Spec = WavenetSpec
    modalities = frozenset({"audio"})

    def resolve(self, spec: WavenetSpec, size: int, data: DataShape, context: int) -> dict[str, Scalar]:
        """The number of channels whose parameters come closest to ``size`` in ratio."""
        if data.vocab_size < 2:
            raise StudyError(tr("data: the family wavenet needs sound in levels, and this source gives none."))
        n_layers = spec.dilations * spec.cycles
        channels = _nearest_channels(n_layers, size)
        n = non_embedding(channels, n_layers)
        if abs(math.log(n / size)) > math.log(2):
            raise StudyError(
                tr(
                    "ladder.sizes: no wavenet with these settings has about {size:,} parameters; "
                    "the nearest has {n:,}.",
                    size=size,
                    n=n,
                )
            )
        return {
            "vocab_size": data.vocab_size,
            "n_conditions": data.n_classes,
            "channels": channels,
            "dilations": spec.dilations,
            "cycles": spec.cycles,
        }

    def counts(self, shape: Shape, context: int) -> Counts:
        """FLOPs are 6 per weight of a matrix; the taps that look back have nothing to look at in the first samples."""
        channels, vocab_size, n_layers = int(shape["channels"]), int(shape["vocab_size"]), _n_layers(shape)
        n = non_embedding(channels, n_layers)
        tables = vocab_size * (2 * channels + 1) + int(shape["n_conditions"]) * 2 * channels * n_layers
        square = channels * channels
        looked_back = sum(2 * square * max(0, context - 2 ** (i % int(shape["dilations"]))) for i in range(n_layers))
        weights = n_layers * 4 * square + channels * vocab_size + looked_back / context
        # Kept for backward, as autograd's saved tensors show: what each layer reads, both halves of its gate and their
        # product; before and after both SiLUs; the log-probabilities; levels and targets as int64.
        floats = n_layers * 4 * channels + 4 * channels + vocab_size + 4
        return Counts(n + tables, n, 6.0 * weights, 4.0 * floats)

    def width(self, shape: Shape) -> int:
        return int(shape["channels"])

    def build(self, shape: Shape, seed: int, *, training: TrainingHints | None = None) -> "nn.Module":
        from engine.families._wavenet import Wave, initialise

        # Yang 2022, table 8: the output's weights keep their size and its multiplier falls as 1 / width.
        base_width = self.width(shape)
        if training is not None and training.lr_rule == "mup":
            base_width = training.base_width
        return initialise(Wave(shape, base_width / self.width(shape)), seed, base_width)

    def n_choices(self, shape: Shape) -> int:
        return int(shape["vocab_size"])

    def ask(self, model: "nn.Module", batch: "Mapping[str, Tensor]") -> Asked:
        """``condition`` (batch,) is what is heard, where the data say."""
        return Asked((batch["inputs"], batch.get("condition")), batch["targets"].flatten())

    def loss_unit(self, shape: Shape) -> str:
        return mark("nats per sample")

    def param_groups(self, model: "nn.Module", shape: Shape, rule: str, base_width: int) -> list[ParamGroup]:
        """``mup`` scales the rate of hidden matrices by base / width, ``width`` all by min(2, base / width)."""
        rest, hidden = rate_scales(rule, base_width / self.width(shape))
        matrices: list[nn.Parameter] = []
        tables: list[nn.Parameter] = []
        biases: list[nn.Parameter] = []
        for name, parameter in model.named_parameters():
            leaf = name.rpartition(".")[2]
            kind = biases if parameter.ndim < 2 else tables if leaf in _TABLES else matrices
            kind.append(parameter)
        return [
            ParamGroup(matrices, hidden, decay=True, matrix=True),
            ParamGroup(tables, rest, decay=True),
            ParamGroup(biases, rest, decay=False),
        ]

    def example(self, shape: Shape, batch_size: int, context: int) -> "dict[str, Tensor]":
        """Random levels, and conditions where there are any."""
        import torch

        batch = super().example(shape, batch_size, context)
        if shape["n_conditions"]:
            batch["condition"] = torch.randint(0, int(shape["n_conditions"]), (batch_size,))
        return batch

    def samples(
        self, model: "nn.Module", spec: RunSpec, prepared: "Prepared", device: "torch.device"
    ) -> "Sequence[Made]":
        """Half a second of each of the first three conditions, or of what there is."""
        from engine.families._wavenet_samples import spoken

        return spoken(model, spec.seed, prepared)

    def features(self, model: "nn.Module", inputs: "Tensor") -> "Tensor":
        """The sum of the skip connections, its mean over samples, with no condition given."""
        from engine.families._wavenet import Wave

        assert isinstance(model, Wave)
        return model.skipped(inputs, None).float().view(model.channels, -1, len(inputs)).mean(dim=1).t()

    def goes_with_code(self, shape: Shape) -> bool:
        return True

    def export_hf(self, model: "nn.Module", shape: Shape, folder: Path, tokenizer: Any) -> None:
        """A folder with the network's code, since transformers has no such model, of equal logits."""
        from engine.families._hub import write_own
        from engine.families._wavenet import Wave

        assert isinstance(model, Wave)
        classes = {"AutoModel": "WaveNet"}
        constants = {"output_multiplier": model.output_multiplier}
        write_own(folder, "_hub_wavenet", classes, model.state_dict(), shape, constants)


_TABLES = ("embedding", "output", "condition")
"""Parameters with one side that does not grow with the width."""


def _n_layers(shape: Mapping[str, Any]) -> int:
    return int(shape["dilations"]) * int(shape["cycles"])


def _nearest_channels(n_layers: int, size: int) -> int:
    """The channels closest to ``size`` in ratio: either side of the root of 6 L c^2 + 4 L c = size."""
    root = (-4 * n_layers + math.sqrt(16 * n_layers**2 + 24 * n_layers * size)) / (12 * n_layers)
    low = max(1, math.floor(root))
    return min((low, low + 1), key=lambda c: abs(math.log(non_embedding(c, n_layers) / size)))
