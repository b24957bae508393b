"""Generative adversarial networks over images (Goodfellow 2014), convolutional, built at any size from one dial."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from engine.errors import StudyError
from engine.families import families
from engine.families.base import (
    Counts,
    DataShape,
    Family,
    LossOutput,
    Made,
    ParamGroup,
    Shape,
    TrainingHints,
    rate_scales,
)
from engine.i18n import mark, tr
from engine.study import RunSpec, Scalar, TableSpec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import torch
    from torch import Tensor, nn

    from engine.sources.base import Prepared

SMALLEST_SIDE = 4
"""Sides are halved while both are even and neither falls below this (Radford 2016)."""
SHOWN = 64
"""Images in the picture of what a run makes."""


class GanSpec(TableSpec, frozen=True, kw_only=True):
    """What may be fixed by hand; the channels of both networks follow the size."""

    latent: Annotated[
        int,
        msgspec.Meta(title=mark("Noise"), description=mark("Numbers that an image is made from."), ge=1, le=1_024),
    ] = 16
    penalty: Annotated[
        float,
        msgspec.Meta(
            title=mark("Gradient penalty"),
            description=mark("Weight of the discriminator's squared slope at real images (R1, Mescheder 2018)."),
            ge=0,
            le=1_000,
        ),
    ] = 1.0
    discriminator_rate: Annotated[
        float,
        msgspec.Meta(
            title=mark("Discriminator's rate"),
            description=mark("The discriminator's learning rate over the generator's (Heusel 2017)."),
            gt=0,
            le=100,
        ),
    ] = 1.0
    memory: Annotated[
        float,
        msgspec.Meta(
            title=mark("Memory of the average"),
            description=mark("What the average of the generator's weights keeps per step; images are made with it."),
            ge=0,
            lt=1,
        ),
    ] = 0.995


@families.register("gan")
class Gan(Family):
    """A generator of images from noise and a discriminator, its mirror image, that tells them from real ones."""

    name = "gan"
    version = 1
    title = mark("GAN: generator and discriminator of images")
    Spec = GanSpec
    modalities = frozenset({"images"})
    loss_ranks_models = False

    def resolve(self, spec: GanSpec, size: int, data: DataShape, context: int) -> dict[str, Scalar]:
        """The width whose parameters, of both networks, come closest to ``size`` in ratio."""
        if len(data.sample_shape) != 3:
            raise StudyError(tr("data: the family gan learns from images, and this source gives none."))
        channels, height, width_px = data.sample_shape
        shape: dict[str, Scalar] = {
            "channels": channels,
            "height": height,
            "width_px": width_px,
            "stages": _stages(height, width_px),
            **msgspec.structs.asdict(spec),
        }
        shape["width"] = _nearest_width(shape, size)
        n = parameters(shape)
        if abs(math.log(n / size)) > math.log(2):
            raise StudyError(
                tr(
                    "ladder.sizes: no gan with these settings has about {size:,} parameters; the nearest has {n:,}.",
                    size=size,
                    n=n,
                )
            )
        return shape

    def counts(self, shape: Shape, context: int) -> Counts:
        """Per real image, with the generated one beside it; every layer's forward pass is counted as often as it runs.

        The gradient penalty makes the discriminator's pass over real images one of second order: a layer's forward
        FLOPs six times, or seven where a matrix's second backward pass takes one more.
        """
        layers = _Layers(shape)
        flops = 2 * layers.project + 14 * layers.stages + 13 * layers.ends + 10 * layers.score
        kept = 8 * layers.maps + layers.largest_map - layers.smallest_map + 3 * layers.image + int(shape["latent"]) + 3
        n = parameters(shape)
        return Counts(n, n, float(flops), 4.0 * kept)

    def width(self, shape: Shape) -> int:
        return int(shape["width"])

    def build(self, shape: Shape, seed: int, *, training: TrainingHints | None = None) -> "nn.Module":
        from engine.families._gan import Players, initialise

        base_width = self.width(shape)
        if training is not None and training.lr_rule == "mup":
            base_width = training.base_width
        return initialise(Players(shape, base_width / self.width(shape)), seed, base_width)

    def loss(self, model: "nn.Module", batch: "Mapping[str, Tensor]") -> LossOutput:
        """The sum of both players' losses; see ``Players.play`` for why its gradient is each player's own."""
        import torch

        from engine.families._gan import Players

        assert isinstance(model, Players)
        if model.training:
            model.average()
        parts = model.play(batch["inputs"])
        return LossOutput(
            torch.stack(list(parts.values())).sum(), {name: part.detach() for name, part in parts.items()}
        )

    def loss_unit(self, shape: Shape) -> str:
        return mark("nats, both players")

    def param_groups(self, model: "nn.Module", shape: Shape, rule: str, base_width: int) -> list[ParamGroup]:
        """``mup`` scales the rate of the convolutions between stages, ``width`` all by min(2, base / width)."""
        scales = rate_scales(rule, base_width / self.width(shape))
        groups = []
        for player, rate in (("generator", 1.0), ("discriminator", float(shape["discriminator_rate"]))):
            rest, hidden = (rate * scale for scale in scales)
            network = model.get_submodule(player)
            weights = {name: p for name, p in network.named_parameters() if p.ndim > 1}
            stages = [p for name, p in weights.items() if name.startswith("stages.")]
            ends = [p for name, p in weights.items() if not name.startswith("stages.")]
            biases = [p for p in network.parameters() if p.ndim == 1]
            groups += [ParamGroup(stages, hidden), ParamGroup(ends, rest), ParamGroup(biases, rest, decay=False)]
        return [group for group in groups if group.params]

    def example(self, shape: Shape, batch_size: int, context: int) -> "dict[str, Tensor]":
        """Random images; the classes are not read."""
        import torch

        images = torch.rand(batch_size, int(shape["channels"]), int(shape["height"]), int(shape["width_px"]))
        return {"inputs": 2 * images - 1, "targets": torch.zeros(batch_size, dtype=torch.int64)}

    def samples(
        self, model: "nn.Module", spec: RunSpec, prepared: "Prepared", device: "torch.device"
    ) -> "Sequence[Made]":
        """One picture of images from the same noise every time."""
        from engine.families._gan import Players
        from engine.sources._images import picture

        assert isinstance(model, Players)
        images = model.draw(SHOWN, spec.seed).float().cpu().numpy()
        return (Made("image", mark("Images, each from the same noise every time"), picture(images)),)

    def features(self, model: "nn.Module", inputs: "Tensor") -> "Tensor | None":
        """What the discriminator reads its score from; learned without a label."""
        from engine.families._gan import Players

        assert isinstance(model, Players)
        return model.discriminator.features(inputs)

    def goes_with_code(self, shape: Shape) -> bool:
        return True

    def export_hf(self, model: "nn.Module", shape: Shape, folder: Path, tokenizer: Any) -> None:
        """A folder with the networks' code, since transformers has no such model; its images are the lab's."""
        from engine.families._gan import Players
        from engine.families._hub import write_own

        assert isinstance(model, Players)
        constants = {"output_multiplier": model.generator.output_multiplier}
        write_own(folder, "_hub_gan", {"AutoModel": "ImageGenerator"}, model.shown(), shape, constants)


class _Layers:
    """Forward FLOPs of each kind of layer, the same in both networks, and numbers in what they pass on, per image."""

    def __init__(self, shape: Shape) -> None:
        n, width = int(shape["stages"]), int(shape["width"])
        pixels = [int(shape["height"]) * int(shape["width_px"]) >> 2 * i for i in range(n + 1)]
        channels = [width << i for i in range(n + 1)]
        maps = [p * c for p, c in zip(pixels, channels, strict=True)]
        self.maps, self.largest_map, self.smallest_map = sum(maps), maps[0], maps[-1]
        self.image = pixels[0] * int(shape["channels"])
        self.project = 2 * int(shape["latent"]) * self.smallest_map
        self.stages = sum(2 * 16 * pixels[i + 1] * channels[i] * channels[i + 1] for i in range(n))
        self.ends = 2 * 9 * self.image * width
        self.score = 2 * self.smallest_map


def parameters(shape: Shape) -> int:
    """Exact count of weights and biases of both networks."""
    n, width, channels = int(shape["stages"]), int(shape["width"]), int(shape["channels"])
    smallest_map = _Layers(shape).smallest_map
    widths = [width << i for i in range(n + 1)]
    kernels = sum(16 * widths[i] * widths[i + 1] for i in range(n))
    generator = smallest_map * (int(shape["latent"]) + 1) + kernels + sum(widths[:-1]) + channels * (9 * width + 1)
    discriminator = width * (9 * channels + 1) + kernels + sum(widths[1:]) + smallest_map + 1
    return generator + discriminator


def _stages(height: int, width: int) -> int:
    """How often the sides are halved."""
    n = 0
    while height % 2 == width % 2 == 0 and min(height, width) >= 2 * SMALLEST_SIDE:
        height, width, n = height // 2, width // 2, n + 1
    return n


def _nearest_width(shape: Shape, size: int) -> int:
    """The width closest to ``size`` in ratio; parameters grow with it, at most by a factor of four as it doubles."""
    low, high = 1, 2
    while parameters({**shape, "width": high}) < size:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if parameters({**shape, "width": middle}) < size else (low, middle)
    return min((low, high), key=lambda w: abs(math.log(parameters({**shape, "width": w}) / size)))
