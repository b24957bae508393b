"""An image tower and a text tower that learn from captions what belongs together, built at any size from one dial."""

from collections.abc import Mapping, Sequence
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
    LossOutput,
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

    from engine.sources.base import Prepared

MLP_RATIO = 4


class ClipSpec(TableSpec, frozen=True, kw_only=True):
    """What may be fixed by hand; what is left out follows the size. Both towers have the same width and depth."""

    d_model: Annotated[
        Annotated[int, msgspec.Meta(ge=8, le=LARGEST_WIDTH)] | None,
        msgspec.Meta(
            title=mark("Width"),
            description=mark("Width of both towers, a multiple of 8; by default it follows the size."),
        ),
    ] = None
    n_layers: Annotated[
        Annotated[int, msgspec.Meta(ge=1, le=512)] | None,
        msgspec.Meta(
            title=mark("Layers"), description=mark("Layers of each tower; by default it grows slowly with the width.")
        ),
    ] = None
    d_embed: Annotated[
        Annotated[int, msgspec.Meta(ge=1, le=LARGEST_WIDTH)] | None,
        msgspec.Meta(
            title=mark("Joint space"),
            description=mark("Dimensions in which images and captions are compared; by default the width."),
        ),
    ] = None
    patch_size: Annotated[
        int,
        msgspec.Meta(
            title=mark("Patch size"), description=mark("Side of an image's patches in pixels; it divides both sides."),
            ge=1,
            le=256,
        ),
    ] = 8  # fmt: skip
    compared: Annotated[
        int,
        msgspec.Meta(
            title=mark("Pairs compared"),
            description=mark(
                "Pairs that are told apart at once, in training and in validation; the loss depends on it."
            ),
            ge=2,
            le=65_536,
        ),
    ] = 128


@families.register("clip")
class Clip(Family):
    """A vision Transformer and a causal text Transformer of one shape, compared by cosine; exports as CLIPModel."""

    name = "clip"
    version = 1
    title = mark("CLIP: images and captions in one space")
    Spec = ClipSpec
    modalities = frozenset({"captions"})
    has_units = True
    exported_units: ClassVar[Mapping[str, str]] = {"hidden units": "d_ff"}

    def resolve(self, spec: ClipSpec, size: int, data: DataShape, context: int) -> dict[str, Scalar]:
        """The shape that comes closest to ``size`` in ratio; depth and heads by width are those of ``gpt``."""
        fixed = _fixed(spec, data)

        def dimensions(d_model: int, n_layers: int) -> dict[str, Scalar]:
            heads = {"n_heads": d_model // default_head_dim(d_model), "d_ff": MLP_RATIO * d_model}
            return fixed | heads | {"d_model": d_model, "n_layers": n_layers, "d_embed": spec.d_embed or d_model}

        return nearest(spec, size, non_embedding, self.name, dimensions)

    def counts(self, shape: Shape, context: int) -> Counts:
        """FLOPs are per pair: 6 per weight of a layer and position, 12 t d_model of attention, and the comparison."""
        from engine.families._clip import n_patches

        d_model, d_ff, n_layers, n_heads, d_embed, compared, t_text = (
            int(shape[key])
            for key in ("d_model", "d_ff", "n_layers", "n_heads", "d_embed", "compared", "caption_length")
        )
        t_image = n_patches(shape) + 1
        patch = 3 * int(shape["patch_size"]) ** 2 * d_model
        n, embedding = non_embedding(shape), (int(shape["vocab_size"]) + t_text + t_image) * d_model
        flops = 4.0 * patch * (t_image - 1) + 12.0 * d_embed * d_model + 6.0 * compared * d_embed
        floats = float(patch // d_model * (t_image - 1))
        for t in (t_image, t_text):
            flops += n_layers * t * (6.0 * (4 * d_model**2 + 2 * d_model * d_ff) + 12.0 * t * d_model)
            # Kept for backward: inputs of norms and matmuls with the norms' statistics, q k v, probabilities (the fused
            # kernel of long sequences keeps none), what attention gave, both sides of GELU.
            floats += n_layers * t * (8 * d_model + 2 * d_ff + n_heads * min(t, 64) + 4)
        floats += (3 * t_image + t_text + 8) * d_model + 6 * d_embed + 4 * compared
        return Counts(n + embedding, n, flops, 4.0 * floats)

    def width(self, shape: Shape) -> int:
        return int(shape["d_model"])

    def build(self, shape: Shape, seed: int, *, training: TrainingHints | None = None) -> "nn.Module":
        from engine.families import _clip
        from engine.families._decoder import Multipliers

        head_dim = int(shape["d_model"]) // int(shape["n_heads"])
        multipliers = Multipliers(head_dim**-0.5, 1.0, 1.0)
        if training is not None and training.lr_rule == "mup":
            # Yang 2022: attention 1 / head_dim; Dey 2025 (CompleteP): branches 1 / depth.
            multipliers = Multipliers(BASE_HEAD_DIM**0.5 / head_dim, BASE_LAYERS / int(shape["n_layers"]), 1.0)
        return _clip.initialise(_clip.Clip(shape, multipliers), seed)

    def loss(self, model: "nn.Module", batch: "Mapping[str, Tensor]") -> LossOutput:
        """Symmetric InfoNCE over sets of ``compared`` pairs, nats per pair; guessing costs ln(compared)."""
        from engine.families._clip import Clip, contrastive

        assert isinstance(model, Clip)
        images, captions = model(batch["images"]), model.embed_captions(batch["captions"])
        scale = model.scale()
        loss = contrastive(images, captions, scale, int(model.shape["compared"]))
        return LossOutput(loss, {"temperature": 1 / scale.detach()})

    def loss_unit(self, shape: Shape) -> str:
        return mark("nats per pair")

    def compared(self, shape: Shape) -> int:
        """Pairs that are told apart at once, whatever the size of a batch."""
        return int(shape["compared"])

    def param_groups(self, model: "nn.Module", shape: Shape, rule: str, base_width: int) -> list[ParamGroup]:
        """``mup`` scales the rate of hidden matrices by base / width, ``width`` all by min(2, base / width)."""
        rest, hidden = rate_scales(rule, base_width / self.width(shape))
        matrices: list[nn.Parameter] = []
        ends: list[nn.Parameter] = []
        vectors: list[nn.Parameter] = []
        for name, parameter in model.named_parameters():
            kind = vectors if parameter.ndim < 2 else ends if name in ENDS else matrices
            kind.append(parameter)
        return [
            ParamGroup(matrices, hidden, decay=True, matrix=True),
            ParamGroup(ends, rest, decay=True),
            ParamGroup(vectors, rest, decay=False),
        ]

    def example(self, shape: Shape, batch_size: int, context: int) -> "dict[str, Tensor]":
        """Noise and random captions that end at their last place."""
        import torch

        from engine.families._clip import END

        images = torch.randn(batch_size, 3, int(shape["height"]), int(shape["width"]))
        captions = torch.randint(END + 1, int(shape["vocab_size"]), (batch_size, int(shape["caption_length"])))
        captions[:, -1] = END
        return {"images": images, "captions": captions}

    def samples(
        self, model: "nn.Module", spec: RunSpec, prepared: "Prepared", device: "torch.device"
    ) -> "Sequence[Made]":
        """Held-out images in a row and, for each, the caption that comes nearest among all that were held out."""
        from engine.families._clip_samples import nearest_captions

        return nearest_captions(model, prepared, device)

    def features(self, model: "nn.Module", inputs: "Tensor") -> "Tensor":
        """The image tower's class token after its last norm, before the projection."""
        from engine.families._clip import Clip

        assert isinstance(model, Clip)
        return model.pooled_images(inputs).float()

    def graphs(self, model: "nn.Module", shape: Shape) -> "Sequence[Graph]":
        """The towers: embeddings of images, and of captions."""
        from engine.families._clip import Captions

        images = Graph(model, "images", "image_embeds", "images")
        return images, Graph(Captions(model), "captions", "text_embeds", "captions", lengths=True)

    def export_hf(self, model: "nn.Module", shape: Shape, folder: Path, tokenizer: Any) -> None:
        """A folder ``AutoModel`` loads as ``CLIPModel`` with equal ``logits_per_image``."""
        from engine.families._clip import Clip
        from engine.families._clip_export import write_clip
        from engine.families._llama import write_tokenizer

        assert isinstance(model, Clip)
        write_clip(model, shape, folder)
        if tokenizer is not None:
            write_tokenizer(tokenizer, folder, int(shape["caption_length"]))


ENDS = ("patches.weight", "image_positions", "tokens", "text_positions")
"""Matrices between data and residual stream, one side of which does not grow."""


def non_embedding(shape: Mapping[str, Any]) -> int:
    """Exact ``n_params_non_embedding``: all but the tables of tokens and positions, which are looked up."""
    d_model, n_layers, d_ff, d_embed = (int(shape[key]) for key in ("d_model", "n_layers", "d_ff", "d_embed"))
    layer = 4 * d_model**2 + 2 * d_model * d_ff + 9 * d_model + d_ff
    ends = 3 * int(shape["patch_size"]) ** 2 + 1 + 3 * 2 + 2 * d_embed
    return 2 * n_layers * layer + ends * d_model + 1


def _fixed(spec: ClipSpec, data: DataShape) -> dict[str, Scalar]:
    """What the data and the spec set whatever the size."""
    if len(data.sample_shape) != 3 or data.sample_shape[0] != 3 or not data.caption_length:
        raise StudyError(tr("data: the family clip reads colour images with captions, and this source gives none."))
    _, height, width = data.sample_shape
    if height % spec.patch_size or width % spec.patch_size:
        raise StudyError(
            tr(
                "model.patch_size: {patch} does not divide images of {width} x {height} pixels.",
                patch=spec.patch_size,
                width=width,
                height=height,
            )
        )
    return {
        "vocab_size": data.vocab_size,
        "caption_length": data.caption_length,
        "height": height,
        "width": width,
        "patch_size": spec.patch_size,
        "compared": spec.compared,
    }
