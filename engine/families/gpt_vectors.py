"""The decoder of ``gpt`` over sequences of vectors, for numbers: in-context regression."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import StudyError
from engine.families import families
from engine.families.base import Counts, DataShape, LossOutput, Made, Shape
from engine.families.gpt import Gpt, GptSpec
from engine.i18n import mark, tr
from engine.study import RunSpec, Scalar

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import torch
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from engine.families._decoder import Decoder, Multipliers
    from engine.sources.base import Prepared


@families.register("gpt-vectors")
class GptVectors(Gpt):
    """The same layers between a matrix that reads vectors and one that gives numbers (Garg 2022)."""

    name = "gpt-vectors"
    version = 1
    title = mark("GPT over vectors")
    Spec = GptSpec
    modalities = frozenset({"vectors"})
    predicts_next = False

    def resolve(self, spec: GptSpec, size: int, data: DataShape, context: int) -> dict[str, Scalar]:
        """As ``gpt``; the matrices at both ends are its embedding and do not count into ``size``."""
        if len(data.sample_shape) != 2 or data.n_outputs < 1:
            raise StudyError(tr("data: the family gpt-vectors needs sequences of vectors with numbers to predict."))
        tokens = DataShape("tokens", vocab_size=2)
        shape = super().resolve(spec, size, tokens, context)
        del shape["vocab_size"]
        return {"n_inputs": data.sample_shape[1], "n_outputs": data.n_outputs} | shape

    def counts(self, shape: Shape, context: int) -> Counts:
        """Those of ``gpt`` and of both ends; nothing flows back into the data, so the first costs 4 per weight."""
        layers = super().counts({**shape, "vocab_size": 0}, context)
        d_model, n_inputs, n_outputs = (int(shape[key]) for key in ("d_model", "n_inputs", "n_outputs"))
        return Counts(
            layers.n_params + d_model * (n_inputs + n_outputs),
            layers.n_params_non_embedding,
            layers.flops_per_token + 4.0 * d_model * n_inputs + 6.0 * d_model * n_outputs,
            layers.activation_bytes_per_token + 4.0 * (n_inputs + 3 * n_outputs),
        )

    def decoder(self, shape: Shape, multipliers: "Multipliers") -> "Decoder":
        from engine.families._vector_decoder import VectorDecoder

        return VectorDecoder(shape, multipliers)

    def n_choices(self, shape: Shape) -> int:
        """None: it gives numbers."""
        return 0

    def loss(self, model: "nn.Module", batch: "Mapping[str, Tensor]") -> LossOutput:
        """Mean squared error of ``targets`` float32 (batch, t, n_outputs) where they are not nan."""
        from engine.families._vector_decoder import masked_square_error

        return LossOutput(masked_square_error(model(batch["inputs"]), batch["targets"]))

    def counted(self, shape: Shape, batch: "Mapping[str, NDArray[Any]]") -> float:
        """Targets that are numbers."""
        return int((batch["targets"] == batch["targets"]).sum())

    def loss_unit(self, shape: Shape) -> str:
        return mark("squared error")

    def example(self, shape: Shape, batch_size: int, context: int) -> "dict[str, Tensor]":
        """Random vectors and numbers."""
        import torch

        inputs = torch.randn(batch_size, context, int(shape["n_inputs"]))
        return {"inputs": inputs, "targets": torch.randn(batch_size, context, int(shape["n_outputs"]))}

    def samples(
        self, model: "nn.Module", spec: RunSpec, prepared: "Prepared", device: "torch.device"
    ) -> "Sequence[Made]":
        """None: its numbers are in the figures."""
        return ()

    def goes_with_code(self, shape: Shape) -> bool:
        return True

    def export_hf(self, model: "nn.Module", shape: Shape, folder: Path, tokenizer: Any) -> None:
        """A folder with the network's code, since transformers has no such model, of equal outputs."""
        import dataclasses

        from engine.families._hub import write_own
        from engine.families._vector_decoder import VectorDecoder

        assert isinstance(model, VectorDecoder)
        classes = {"AutoModel": "VectorSequenceModel"}
        constants = dataclasses.asdict(model.multipliers)
        write_own(folder, "_hub_vectors", classes, model.state_dict(), shape, constants)
