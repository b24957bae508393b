"""Plain feed-forward networks over vectors, built at any size from one dial."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import msgspec

from engine.errors import StudyError
from engine.families import families
from engine.families.base import (
    Counts,
    DataShape,
    Family,
    Graph,
    LossOutput,
    ParamGroup,
    Shape,
    TrainingHints,
    rate_scales,
)
from engine.i18n import mark, tr
from engine.study import Scalar, TableSpec

if TYPE_CHECKING:
    from torch import Tensor, nn


class MlpSpec(TableSpec, frozen=True, kw_only=True):
    """What may be fixed by hand; the width follows the size."""

    n_layers: Annotated[
        int,
        msgspec.Meta(title=mark("Layers"), description=mark("Hidden layers, all of one width."), ge=1, le=64),
    ] = 1
    activation: Annotated[
        Literal["relu", "gelu"],
        msgspec.Meta(title=mark("Activation"), description=mark("What follows every hidden layer.")),
    ] = "relu"


def parameters(n_inputs: int, n_outputs: int, d_hidden: int, n_layers: int) -> int:
    """Exact count of weights and biases."""
    return d_hidden * (n_inputs + 1) + (n_layers - 1) * d_hidden * (d_hidden + 1) + n_outputs * (d_hidden + 1)


@families.register("mlp")
class Mlp(Family):
    """Hidden layers of one width with biases, one vector in, class scores or numbers out."""

    name = "mlp"
    version = 1
    title = mark("MLP: plain network over vectors")
    Spec = MlpSpec
    modalities = frozenset({"vectors"})
    learns_classes = True
    has_units = True
    exported_units: ClassVar[Mapping[str, str]] = {"hidden units": "d_hidden"}

    def resolve(self, spec: MlpSpec, size: int, data: DataShape, context: int) -> dict[str, Scalar]:
        """The width whose parameters come closest to ``size`` in ratio; all of them count, there is no embedding."""
        n_outputs = data.n_classes or data.n_outputs
        if len(data.sample_shape) != 1 or n_outputs < 1:
            raise StudyError(tr("data: the family mlp reads one vector at a time, and this source gives none."))
        ends = (data.sample_shape[0], n_outputs)
        d_hidden = _nearest_width(*ends, spec.n_layers, size)
        n = parameters(*ends, d_hidden, spec.n_layers)
        if abs(math.log(n / size)) > math.log(2):
            raise StudyError(
                tr(
                    "ladder.sizes: no mlp with these settings has about {size:,} parameters; the nearest has {n:,}.",
                    size=size,
                    n=n,
                )
            )
        return {
            "n_inputs": ends[0],
            "n_outputs": n_outputs,
            "classes": data.n_classes > 0,
            "d_hidden": d_hidden,
            "n_layers": spec.n_layers,
            "activation": spec.activation,
        }

    def counts(self, shape: Shape, context: int) -> Counts:
        """FLOPs are 6 per weight, and 4 where the gradient of the data is not needed: in the first matrix."""
        n_inputs, n_outputs, d_hidden, n_layers = _dims(shape)
        n = parameters(n_inputs, n_outputs, d_hidden, n_layers)
        later = (n_layers - 1) * d_hidden * d_hidden + n_outputs * d_hidden
        # Kept for backward: the input, what each linear layer reads, what GELU read (ReLU needs only what it gave,
        # which is at hand but for the last, which is scaled), and the log-probabilities.
        kept = n_inputs + (n_layers + 1 if shape["activation"] == "relu" else 2 * n_layers) * d_hidden + n_outputs
        return Counts(n, n, 4.0 * n_inputs * d_hidden + 6.0 * later, 4.0 * kept)

    def width(self, shape: Shape) -> int:
        return int(shape["d_hidden"])

    def build(self, shape: Shape, seed: int, *, training: TrainingHints | None = None) -> "nn.Module":
        from engine.families._mlp import Network, initialise

        # Yang 2022, table 8: the output's weights keep their size and its multiplier falls as 1 / width.
        base_width = int(shape["d_hidden"])
        if training is not None and training.lr_rule == "mup":
            base_width = training.base_width
        return initialise(Network(shape, base_width / int(shape["d_hidden"])), seed, base_width)

    def n_choices(self, shape: Shape) -> int:
        return int(shape["n_outputs"]) if shape["classes"] else 0

    def loss(self, model: "nn.Module", batch: "Mapping[str, Tensor]") -> LossOutput:
        """Mean over samples: cross-entropy in nats for int64 targets (batch,), squared error for float32 (batch, k)."""
        from torch.nn import functional

        if not batch["targets"].is_floating_point():
            return super().loss(model, batch)
        return LossOutput(functional.mse_loss(model(batch["inputs"]).float(), batch["targets"]))

    def loss_unit(self, shape: Shape) -> str:
        return mark("nats per sample") if shape["classes"] else mark("squared error")

    def param_groups(self, model: "nn.Module", shape: Shape, rule: str, base_width: int) -> list[ParamGroup]:
        """``mup`` scales the rate of hidden matrices by base / width, ``width`` all by min(2, base / width)."""
        rest, hidden = rate_scales(rule, base_width / self.width(shape))
        matrices = [p for p in model.parameters() if p.ndim == 2]
        groups = [
            ParamGroup(matrices[1:-1], hidden, decay=True, matrix=True),
            ParamGroup([matrices[0], matrices[-1]], rest, decay=True),
            ParamGroup([p for p in model.parameters() if p.ndim == 1], rest, decay=False),
        ]
        return [group for group in groups if group.params]

    def example(self, shape: Shape, batch_size: int, context: int) -> "dict[str, Tensor]":
        """Random vectors and classes (or numbers)."""
        import torch

        n_inputs, n_outputs, _, _ = _dims(shape)
        inputs = torch.randn(batch_size, n_inputs)
        if shape["classes"]:
            return {"inputs": inputs, "targets": torch.randint(0, n_outputs, (batch_size,))}
        return {"inputs": inputs, "targets": torch.randn(batch_size, n_outputs)}

    def goes_with_code(self, shape: Shape) -> bool:
        return True

    def export_hf(self, model: "nn.Module", shape: Shape, folder: Path, tokenizer: Any) -> None:
        """A folder with the network's code, since transformers has no such model, of equal outputs."""
        from engine.families._hub import write_own
        from engine.families._mlp import Network

        assert isinstance(model, Network)
        constants = {"output_multiplier": model.output_multiplier}
        write_own(folder, "_hub_mlp", {"AutoModel": "VectorNetwork"}, model.state_dict(), shape, constants)

    def graphs(self, model: "nn.Module", shape: Shape) -> "Sequence[Graph]":
        """Scores of any number of samples."""
        return (Graph(model),)


def _dims(shape: Mapping[str, Any]) -> tuple[int, int, int, int]:
    """Inputs, outputs, width and hidden layers."""
    return int(shape["n_inputs"]), int(shape["n_outputs"]), int(shape["d_hidden"]), int(shape["n_layers"])


def _nearest_width(n_inputs: int, n_outputs: int, n_layers: int, size: int) -> int:
    """The width closest to ``size`` in ratio: either side of the root of the quadratic that counts parameters."""
    a, b = n_layers - 1, n_inputs + n_outputs + n_layers
    c = n_outputs - size
    root = -c / b if a == 0 else (-b + math.sqrt(max(0.0, b * b - 4 * a * c))) / (2 * a)
    low = max(1, math.floor(root))
    miss = {w: abs(math.log(parameters(n_inputs, n_outputs, w, n_layers) / size)) for w in (low, low + 1)}
    return min(miss, key=lambda w: miss[w])
