"""Vision Transformers: classifiers of images as sequences of patches, built at any size from one dial."""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import msgspec

from engine.errors import StudyError
from engine.families import families
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
from engine.families.gpt import BASE_HEAD_DIM, BASE_LAYERS, LARGEST_WIDTH, default_head_dim, nearest
from engine.i18n import mark, tr
from engine.study import RunSpec, Scalar, TableSpec

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from engine.families._decoder import Multipliers
    from engine.families._vit import Network
    from engine.sources.base import Prepared

PATCHES_PER_SIDE = 8
"""What the default patch comes closest to; 4 up to 16 pixels, where patches would else be single pixels."""
SMALL_SIDE = 16


class VitSpec(TableSpec, frozen=True, kw_only=True):
    """What may be fixed by hand; what is left out follows the size."""

    patch: Annotated[
        Annotated[int, msgspec.Meta(ge=1, le=64)] | None,
        msgspec.Meta(
            title=mark("Patch"),
            description=mark("Pixels per side of a patch, which tile the image; by default about 8 to a side."),
        ),
    ] = None
    d_model: Annotated[
        Annotated[int, msgspec.Meta(ge=8, le=LARGEST_WIDTH)] | None,
        msgspec.Meta(
            title=mark("Width"),
            description=mark("Size of the residual stream, a multiple of 8; by default it follows the size."),
        ),
    ] = None
    n_layers: Annotated[
        Annotated[int, msgspec.Meta(ge=1, le=512)] | None,
        msgspec.Meta(
            title=mark("Layers"),
            description=mark("Depth of the network; by default it grows slowly with the width."),
        ),
    ] = None
    n_heads: Annotated[
        Annotated[int, msgspec.Meta(ge=1, le=1024)] | None,
        msgspec.Meta(
            title=mark("Attention heads"),
            description=mark("Heads per layer; they divide the width into equal parts. By default 8 to 64 wide."),
        ),
    ] = None
    mlp_ratio: Annotated[
        float,
        msgspec.Meta(
            title=mark("MLP ratio"),
            description=mark("Width of the MLP over the width of the model."),
            gt=0,
            le=16,
        ),
    ] = 4.0
    depth_scaling: Annotated[
        bool,
        msgspec.Meta(
            title=mark("Depth scaling"),
            description=mark("Under muP, divide what each layer adds by the depth, so that rates carry over depths."),
        ),
    ] = True


def embedding(shape: Mapping[str, Any]) -> int:
    """Parameters of what reads the patches, of their positions and of the class token."""
    d_model = int(shape["d_model"])
    return d_model * (patch_values(shape) + 1 + 1 + n_positions(shape))


def non_embedding(shape: Mapping[str, Any]) -> int:
    """Exact ``n_params_non_embedding``: the layers, the last norm and the head."""
    d_model, n_layers, d_ff = int(shape["d_model"]), int(shape["n_layers"]), int(shape["d_ff"])
    layer = 4 * d_model * (d_model + 1) + 2 * d_model * d_ff + d_ff + d_model + 4 * d_model
    return n_layers * layer + 2 * d_model + int(shape["n_outputs"]) * (d_model + 1)


def patch_values(shape: Mapping[str, Any]) -> int:
    """Numbers in a patch."""
    return int(shape["n_inputs"]) * int(shape["patch"]) ** 2


def n_positions(shape: Mapping[str, Any]) -> int:
    """Patches and the class token."""
    patch = int(shape["patch"])
    return 1 + (int(shape["height"]) // patch) * (int(shape["width"]) // patch)


@families.register("vit")
class Vit(Family):
    """Patches as tokens with learned positions, pre-norm layers, classes read off at a class token; exports as ViT."""

    name = "vit"
    version = 1
    title = mark("ViT: vision Transformer")
    Spec = VitSpec
    modalities = frozenset({"images"})
    learns_classes = True
    has_units = True
    exported_units: ClassVar[Mapping[str, str]] = {"heads": "n_heads", "hidden units": "d_ff"}

    def resolve(self, spec: VitSpec, size: int, data: DataShape, context: int) -> dict[str, Scalar]:
        """The ladder's shape that comes closest to ``size`` in ratio: widths and depths are those of ``gpt``."""
        if len(data.sample_shape) != 3 or data.n_classes < 2:
            raise StudyError(tr("data: the family vit tells classes of images apart, and this source has none."))
        n_inputs, height, width = data.sample_shape
        fixed: dict[str, Scalar] = {"n_inputs": n_inputs, "height": height, "width": width, "n_outputs": data.n_classes}
        fixed["patch"] = _patch(spec, height, width)
        best = nearest(spec, size, non_embedding, self.name, partial(_dims, spec, fixed))
        if int(best["d_model"]) % int(best["n_heads"]):
            raise StudyError(
                tr(
                    "model.n_heads: {n_heads} heads do not divide a width of {d_model} into equal parts.",
                    n_heads=best["n_heads"],
                    d_model=best["d_model"],
                )
            )
        return best

    def counts(self, shape: Shape, context: int) -> Counts:
        """FLOPs are 3 x (2 t x matmul weights + 4 t^2 d_model per layer) for t positions, and the head once.

        Nothing flows back into the image, so the matrix that reads patches costs 4 per weight and patch.
        """
        d_model, d_ff, n_layers, n_heads, n_outputs = (
            int(shape[key]) for key in ("d_model", "d_ff", "n_layers", "n_heads", "n_outputs")
        )
        t, values = n_positions(shape), patch_values(shape)
        matrices = n_layers * (4 * d_model * d_model + 2 * d_model * d_ff)
        flops = 6.0 * t * matrices + 12.0 * t * t * d_model * n_layers + 6.0 * d_model * n_outputs
        flops += 4.0 * (t - 1) * values * d_model
        # Kept for backward: what norms and matmuls read, q k v with the scaled queries, probabilities, what GELU read
        # and gave, and of each norm a mean and a deviation; then the class token's and the log-probabilities.
        per_position = n_layers * (9 * d_model + 2 * d_ff + n_heads * t + 4)
        kept = t * per_position + (t - 1) * values + 3 * d_model + n_outputs
        n = non_embedding(shape)
        return Counts(n + embedding(shape), n, flops, 4.0 * kept)

    def width(self, shape: Shape) -> int:
        return int(shape["d_model"])

    def build(self, shape: Shape, seed: int, *, training: TrainingHints | None = None) -> "nn.Module":
        from engine.families._decoder import Multipliers
        from engine.families._vit import initialise

        d_model = self.width(shape)
        head_dim = d_model // int(shape["n_heads"])
        multipliers, base_width = Multipliers(attention=head_dim**-0.5, residual=1.0, output=1.0), d_model
        if training is not None and training.lr_rule == "mup":
            # Yang 2022: attention 1 / head_dim and logits 1 / width; Dey 2025 (CompleteP): branches 1 / depth.
            base_width = training.base_width
            multipliers = Multipliers(
                attention=BASE_HEAD_DIM**0.5 / head_dim,
                residual=BASE_LAYERS / int(shape["n_layers"]) if shape["depth_scaling"] else 1.0,
                output=base_width / d_model,
            )
        return initialise(self.network(shape, multipliers), seed, base_width)

    def network(self, shape: Shape, multipliers: "Multipliers") -> "Network":
        """The model before its weights are drawn."""
        from engine.families._vit import Network

        return Network(shape, multipliers)

    def n_choices(self, shape: Shape) -> int:
        return int(shape["n_outputs"])

    def loss_unit(self, shape: Shape) -> str:
        return mark("nats per image")

    def param_groups(self, model: "nn.Module", shape: Shape, rule: str, base_width: int) -> list[ParamGroup]:
        """``mup`` scales the rate of hidden matrices by base / width, ``width`` all by min(2, base / width)."""
        rest, hidden = rate_scales(rule, base_width / self.width(shape))
        named = dict(model.named_parameters())
        matrices = [p for name, p in named.items() if name.startswith("blocks.") and p.ndim == 2]
        ends = [p for name, p in named.items() if not name.startswith("blocks.") and p.ndim == 2]
        return [
            ParamGroup(matrices, hidden, decay=True, matrix=True),
            ParamGroup(ends, rest, decay=True),
            ParamGroup([p for p in named.values() if p.ndim == 1], rest, decay=False),
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
        """The class token after the last layer, normalised: (batch, d_model)."""
        from engine.families._vit import Network

        assert isinstance(model, Network)
        return model.pooled(inputs).float()

    def graphs(self, model: "nn.Module", shape: Shape) -> "Sequence[Graph]":
        """Class scores of any number of images."""
        return (Graph(model),)

    def export_hf(self, model: "nn.Module", shape: Shape, folder: Path, tokenizer: Any) -> None:
        """A folder ``AutoModelForImageClassification`` loads with equal logits; images are to be scaled to -1..1."""
        from engine.families._image_export import write_classifier
        from engine.families._vit import Network
        from engine.families._vit_export import vit_config, vit_weights

        assert isinstance(model, Network)
        write_classifier(folder, vit_config(shape), vit_weights(model), shape)


def _patch(spec: VitSpec, height: int, width: int) -> int:
    """Pixels per side of a patch: what was asked for, else the divisor that comes closest to 8 patches a side."""
    common = math.gcd(height, width)
    if spec.patch is None:
        side = min(height, width)
        wanted = side / (PATCHES_PER_SIDE if side > SMALL_SIDE else PATCHES_PER_SIDE // 2)
        return min((p for p in range(1, common + 1) if common % p == 0), key=lambda p: abs(math.log(p / wanted)))
    if common % spec.patch:
        raise StudyError(
            tr(
                "model.patch: patches of {patch} pixels do not tile images of {height} x {width}.",
                patch=spec.patch,
                height=height,
                width=width,
            )
        )
    return spec.patch


def _dims(spec: VitSpec, fixed: Mapping[str, Scalar], d_model: int, n_layers: int) -> dict[str, Scalar]:
    """Every dimension that follows from a width and a depth."""
    return {
        **fixed,
        "d_model": d_model,
        "n_layers": n_layers,
        "n_heads": spec.n_heads or d_model // default_head_dim(d_model),
        "d_ff": max(1, round(spec.mlp_ratio * d_model)),
        "depth_scaling": spec.depth_scaling,
    }
