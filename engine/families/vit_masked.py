"""Vision Transformers that learn without labels: they fill in patches of images that are hidden from them."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from engine.errors import InputError, StudyError
from engine.families import families
from engine.families.base import Counts, DataShape, Graph, LossOutput, Made, Shape
from engine.families.vit import Vit, VitSpec, n_positions, patch_values
from engine.i18n import mark, tr
from engine.study import RunSpec, Scalar

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import torch
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from engine.families._decoder import Multipliers
    from engine.families._vit import Network
    from engine.sources.base import Prepared

SHOWN = 8
"""Images of a sample."""


class VitMaskedSpec(VitSpec, frozen=True, kw_only=True):
    """As ``vit``, and how much is hidden."""

    masked_fraction: Annotated[
        float,
        msgspec.Meta(
            title=mark("Hidden share"),
            description=mark("Share of the patches that is hidden and to be filled in."),
            gt=0,
            lt=1,
        ),
    ] = 0.5


@families.register("vit-masked")
class VitMasked(Vit):
    """The layers of ``vit`` with a linear head on every patch, trained on hidden ones alone (SimMIM, Xie 2022)."""

    name = "vit-masked"
    version = 1
    title = mark("ViT without labels: masked patches")
    Spec = VitMaskedSpec
    modalities = frozenset({"images"})
    learns_classes = False

    def resolve(self, spec: VitSpec, size: int, data: DataShape, context: int) -> dict[str, Scalar]:
        """As ``vit``, with the numbers of a patch where it has classes: labels are not used and need not be there."""
        assert isinstance(spec, VitMaskedSpec)
        patch = patch_values(super().resolve(spec, size, replace(data, n_classes=2), context))
        if patch < 2:
            raise StudyError(tr("model.patch: a patch of one number is too small to fill in."))
        shape = super().resolve(spec, size, replace(data, n_classes=patch), context)
        return shape | {"masked_fraction": spec.masked_fraction}

    def counts(self, shape: Shape, context: int) -> Counts:
        """Those of ``vit`` with its head on every patch instead of the class token, and the mask."""
        counts = super().counts(shape, context)
        d_model, patches, values = int(shape["d_model"]), n_positions(shape) - 1, patch_values(shape)
        # Kept for backward: every patch's normalised state, its error and what the norm needs, where ``vit`` keeps
        # those of the class token.
        kept = patches * (d_model + values + 2) - 3 * d_model - values
        return Counts(
            counts.n_params + d_model,
            counts.n_params_non_embedding,
            counts.flops_per_token + 6.0 * (patches - 1) * d_model * values,
            counts.activation_bytes_per_token + 4.0 * kept,
        )

    def network(self, shape: Shape, multipliers: "Multipliers") -> "Network":
        from engine.families._vit_masked import MaskedNetwork

        return MaskedNetwork(shape, multipliers)

    def n_choices(self, shape: Shape) -> int:
        """None: it gives numbers."""
        return 0

    def loss(self, model: "nn.Module", batch: "Mapping[str, Tensor]") -> LossOutput:
        """Mean squared error of the numbers of hidden patches; ``inputs`` float32 (batch, channels, h, w) in -1..1."""
        from engine.families._vit_masked import MaskedNetwork

        assert isinstance(model, MaskedNetwork)
        inputs = batch["inputs"]
        hidden = model.hide(inputs)
        error = (model(inputs, hidden).float() - model.patches(inputs)).square().mean(-1)
        return LossOutput((error * hidden).sum() / hidden.sum())

    def counted(self, shape: Shape, batch: "Mapping[str, NDArray[Any]]") -> float:
        """Rows: as many patches are hidden in each."""
        return len(batch["inputs"])

    def loss_unit(self, shape: Shape) -> str:
        return mark("squared error")

    def samples(
        self, model: "nn.Module", spec: RunSpec, prepared: "Prepared", device: "torch.device"
    ) -> "Sequence[Made]":
        """Held-out images, the same with patches hidden, and those filled in."""
        import torch

        from engine.families._vit_masked import MaskedNetwork, together
        from engine.sources._images import ImageData, picture

        if not isinstance(prepared, ImageData):
            return ()
        assert isinstance(model, MaskedNetwork)
        images = torch.from_numpy(prepared.held_out("validation", SHOWN)["inputs"]).to(device)
        hidden, patches = model.hide(images)[..., None], model.patches(images)
        rows = (patches, patches.masked_fill(hidden, 0.0), torch.where(hidden, model(images, hidden[..., 0]), patches))
        shown = torch.cat([together(row.float(), spec.shape) for row in rows]).cpu().numpy()
        return (Made("image", mark("Held-out images; with patches hidden; filled in."), picture(shown, len(images))),)

    def features(self, model: "nn.Module", inputs: "Tensor") -> "Tensor":
        """Mean over the patches after the last layer, nothing hidden: the class token, unlike theirs, has no task."""
        from engine.families._vit_masked import MaskedNetwork

        assert isinstance(model, MaskedNetwork)
        return model.states(inputs).float().mean(dim=1)

    def graphs(self, model: "nn.Module", shape: Shape) -> "Sequence[Graph]":
        """None: what it gives depends on what is hidden from it."""
        return ()

    def export_hf(self, model: "nn.Module", shape: Shape, folder: Path, tokenizer: Any) -> None:
        """A folder ``AutoModelForMaskedImageModeling`` loads with equal reconstructions, of square images."""
        from engine.families._image_export import write_classifier
        from engine.families._vit_masked import MaskedNetwork, masked_config, masked_weights

        if shape["height"] != shape["width"]:
            raise InputError(tr("transformers fills in square images only; the weights are in the run's folder."))
        assert isinstance(model, MaskedNetwork)
        write_classifier(folder, masked_config(shape), masked_weights(model), shape)
