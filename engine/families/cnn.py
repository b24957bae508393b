"""Convolutional classifiers of images, plain or residual, built at any size from one dial."""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec

from engine.errors import StudyError
from engine.families import families
from engine.families._convolutions import convolutions
from engine.families.base import (
    Counts,
    DataShape,
    Family,
    Graph,
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

SMALLEST_MAP = 4
"""Pixels per side of the last stage's maps at least, where the number of stages follows the image: below, a kernel of 3
reads more padding than image."""
RESNET: Mapping[str, Scalar] = {"residual": True, "stem": "quarter", "downsample": "stride", "activation": "relu"}
"""The stacks that a ResNet of transformers computes too."""
LARGEST_CHANNELS = 2_048


class CnnSpec(TableSpec, frozen=True, kw_only=True):
    """What may be fixed by hand; the channels follow the size."""

    residual: Annotated[
        bool,
        msgspec.Meta(
            title=mark("Residual"),
            description=mark("Two convolutions to a block and a path around them (He 2016); without, a plain stack."),
        ),
    ] = False
    blocks: Annotated[
        int,
        msgspec.Meta(
            title=mark("Blocks per stage"),
            description=mark("Convolutions, or residual blocks, at each resolution."),
            ge=1,
            le=64,
        ),
    ] = 2
    stages: Annotated[
        Annotated[int, msgspec.Meta(ge=1, le=8)] | None,
        msgspec.Meta(
            title=mark("Stages"),
            description=mark(
                "Resolutions; each halves the last and doubles the channels. By default down to 4 pixels."
            ),
        ),
    ] = None
    downsample: Annotated[
        Literal["stride", "pool"],
        msgspec.Meta(
            title=mark("Downsampling"),
            description=mark("A convolution that takes every second place, or the maximum of two by two before it."),
        ),
    ] = "stride"
    stem: Annotated[
        Literal["full", "quarter"],
        msgspec.Meta(
            title=mark("First layer"),
            description=mark("At full resolution, or down to a quarter at once, as for photographs (He 2016)."),
        ),
    ] = "full"
    activation: Annotated[
        Literal["relu", "gelu"],
        msgspec.Meta(title=mark("Activation"), description=mark("What follows every hidden layer.")),
    ] = "gelu"
    """Measured on digits: 2 and 3 channels die with ReLU from a rate of 0.01 on, with GELU not up to 0.02."""


def parameters(shape: Mapping[str, Any]) -> int:
    """Exact count of weights and biases."""
    n_outputs = int(shape["n_outputs"])
    layers = convolutions(shape)
    return sum(c.n_weights + c.n_biases for c in layers) + n_outputs * (n_features(shape) + 1)


def n_features(shape: Mapping[str, Any]) -> int:
    """Channels of the last stage, which the head reads."""
    return int(shape["channels"]) << (int(shape["stages"]) - 1)


@families.register("cnn")
class Cnn(Family):
    """Convolutions with biases, h^l = sigma(W^l * h^(l-1) + b^l), the mean over the last maps, class scores."""

    name = "cnn"
    version = 1
    title = mark("CNN: convolutional classifier of images")
    Spec = CnnSpec
    modalities = frozenset({"images"})
    learns_classes = True
    has_units = True

    def resolve(self, spec: CnnSpec, size: int, data: DataShape, context: int) -> dict[str, Scalar]:
        """The channels whose parameters come closest to ``size`` in ratio; all of them count, there is no embedding."""
        if len(data.sample_shape) != 3 or data.n_classes < 2:
            raise StudyError(tr("data: the family cnn tells classes of images apart, and this source has none."))
        n_inputs, height, width = data.sample_shape
        fixed: dict[str, Scalar] = {"n_inputs": n_inputs, "height": height, "width": width, "n_outputs": data.n_classes}
        fixed |= {"residual": spec.residual, "blocks": spec.blocks, "downsample": spec.downsample, "stem": spec.stem}
        fixed |= {"activation": spec.activation, "stages": _stages(spec, min(height, width))}
        best = min(_candidates(fixed, size), key=lambda shape: abs(math.log(parameters(shape) / size)))
        n = parameters(best)
        if abs(math.log(n / size)) > math.log(2):
            raise StudyError(
                tr(
                    "ladder.sizes: no cnn with these settings has about {size:,} parameters; the nearest has {n:,}.",
                    size=size,
                    n=n,
                )
            )
        return best

    def counts(self, shape: Shape, context: int) -> Counts:
        """FLOPs are 6 per weight and place, and 4 where the gradient of the data is not needed: in the first layer."""
        layers, n_outputs = convolutions(shape), int(shape["n_outputs"])
        n = parameters(shape)
        flops = 6.0 * n_outputs * n_features(shape)
        # Kept for backward: the image, what each layer gives after its activation, which the next one reads; what GELU
        # read; what pooling gives with the places it took (8 bytes each); the features twice, and log-probabilities.
        kept = float(layers[0].n_in * int(shape["height"]) * int(shape["width"]) + 2 * n_features(shape) + n_outputs)
        for c in layers:
            flops += (4.0 if c.role == "stem" else 6.0) * c.n_weights * c.height * c.width
            if c.role != "shortcut":
                kept += c.n_values * (2 if shape["activation"] == "gelu" else 1)
                kept += 3 * c.n_in * c.height * c.width if c.pooled else 0
        if shape["stem"] == "quarter":
            kept += 3 * layers[0].n_out * layers[1].height * layers[1].width * layers[1].stride ** 2
        return Counts(n, n, flops, 4.0 * kept)

    def width(self, shape: Shape) -> int:
        """Channels of the first stage; those of the others are fixed multiples."""
        return int(shape["channels"])

    def build(self, shape: Shape, seed: int, *, training: TrainingHints | None = None) -> "nn.Module":
        from engine.families._cnn import Network, initialise

        # Yang 2022, table 8: the output's weights keep their size and its multiplier falls as 1 / width.
        base_width = self.width(shape)
        if training is not None and training.lr_rule == "mup":
            base_width = training.base_width
        return initialise(Network(shape, base_width / self.width(shape)), seed)

    def n_choices(self, shape: Shape) -> int:
        return int(shape["n_outputs"])

    def loss_unit(self, shape: Shape) -> str:
        return mark("nats per image")

    def param_groups(self, model: "nn.Module", shape: Shape, rule: str, base_width: int) -> list[ParamGroup]:
        """``mup`` scales the rate of hidden matrices by base / width, ``width`` all by min(2, base / width).

        A convolution's weights are a matrix (channels out, channels in x kernel).
        """
        rest, hidden = rate_scales(rule, base_width / self.width(shape))
        matrices = [p for p in model.parameters() if p.ndim == 2]
        return [
            ParamGroup(matrices[1:-1], hidden, decay=True, matrix=True),
            ParamGroup([matrices[0], matrices[-1]], rest, decay=True),
            ParamGroup([p for p in model.parameters() if p.ndim == 1], rest, decay=False),
        ]

    def example(self, shape: Shape, batch_size: int, context: int) -> "dict[str, Tensor]":
        """Random images and classes."""
        from engine.families._image_samples import random_batch

        return random_batch(shape, batch_size)

    def samples(
        self, model: "nn.Module", spec: RunSpec, prepared: "Prepared", device: "torch.device"
    ) -> "Sequence[Made]":
        """Held-out images and what it takes them for."""
        from engine.families._image_samples import classified

        return classified(model, prepared, device)

    def features(self, model: "nn.Module", inputs: "Tensor") -> "Tensor":
        """The last stage's maps, their mean over places: (batch, channels)."""
        from engine.families._cnn import Network

        assert isinstance(model, Network)
        return model.pooled(inputs).float()

    def graphs(self, model: "nn.Module", shape: Shape) -> "Sequence[Graph]":
        """Class scores of any number of images."""
        return (Graph(model),)

    def goes_with_code(self, shape: Shape) -> bool:
        """All but what a ResNet of transformers computes as well."""
        return any(shape[name] != value for name, value in RESNET.items())

    def export_hf(self, model: "nn.Module", shape: Shape, folder: Path, tokenizer: Any) -> None:
        """A folder ``AutoModelForImageClassification`` loads with equal logits.

        It is a ResNet where one computes the same; any other stack goes with the network's code.
        """
        from engine.families._cnn import Network
        from engine.families._hub import write_own
        from engine.families._image_export import label_names, write_classifier
        from engine.families._image_inputs import write_scaled
        from engine.families._resnet import resnet_config, resnet_weights

        assert isinstance(model, Network)
        if not self.goes_with_code(shape):
            write_classifier(folder, resnet_config(shape), resnet_weights(model), shape)
            return
        classes = {"AutoModelForImageClassification": "ConvolutionsForImageClassification"}
        constants = {"output_multiplier": model.output_multiplier}
        labels = label_names(int(shape["n_outputs"]))
        write_own(folder, "_hub_cnn", classes, model.state_dict(), shape, constants, **labels)
        write_scaled(folder, *(int(shape[name]) for name in ("n_inputs", "height", "width")))


def _stages(spec: CnnSpec, side: int) -> int:
    """How many stages an image of that many pixels per side has; raises ``StudyError`` where it has not as many."""
    halvings = int(math.log2(max(1, side if spec.stem == "full" else side / 4)))
    if spec.stages is None:
        return max(1, 1 + halvings - int(math.log2(SMALLEST_MAP)))
    if spec.stages > 1 + halvings:
        raise StudyError(
            tr("model.stages: an image of {side} pixels can be halved {n} times only.", side=side, n=halvings)
        )
    return spec.stages


def _candidates(fixed: Mapping[str, Scalar], size: int) -> Iterator[dict[str, Scalar]]:
    """Shapes of ever more channels, until one is beyond the size. Steps keep kernels fast: 1 to 16, then an eighth."""
    channels = 1
    while channels <= LARGEST_CHANNELS:
        shape = {**fixed, "channels": channels}
        yield shape
        if parameters(shape) > size:
            return
        channels += 1 if channels < 16 else 4 if channels < 64 else 8 if channels < 256 else 32
