"""Bidirectional encoders of the ModernBERT kind, pretrained on masked tokens and built at any size from one dial."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import msgspec

from engine.families import families
from engine.families.base import Asked, Counts, Graph, Made, Shape
from engine.families.gpt import Gpt, GptSpec
from engine.families.gpt import non_embedding as of_layers
from engine.i18n import mark
from engine.study import RunSpec, Scalar

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from engine.families._decoder import Decoder, Multipliers
    from engine.families.base import DataShape
    from engine.sources.base import Prepared


class BertSpec(GptSpec, frozen=True, kw_only=True):
    """What may be fixed by hand; what is left out follows the size."""

    mlp_ratio: Annotated[
        float,
        msgspec.Meta(
            title=mark("MLP ratio"),
            description=mark("Width of the gated MLP over the width of the model; 8/3 costs what an ungated 4 does."),
            gt=0,
            le=16,
        ),
    ] = 8 / 3
    masked: Annotated[
        float,
        msgspec.Meta(
            title=mark("Share masked"),
            description=mark("Share of the tokens that is hidden for the model to find, as many in every window."),
            gt=0,
            lt=1,
        ),
    ] = 0.15


@families.register("bert")
class Bert(Gpt):
    """The layers of ``gpt`` looking both ways, trained to find hidden tokens; exports as ModernBERT."""

    name = "bert"
    version = 1
    title = mark("BERT: bidirectional encoder")
    Spec = BertSpec
    predicts_next = False
    exported_units: ClassVar[Mapping[str, str]] = {"hidden units": "d_ff"}

    def resolve(self, spec: GptSpec, size: int, data: "DataShape", context: int) -> dict[str, Scalar]:
        """As ``gpt``; ``vocab_size`` is that of the data, and the mask is the id after the last of them."""
        assert isinstance(spec, BertSpec)
        return super().resolve(spec, size, data, context) | {"masked": spec.masked}

    def non_embedding(self, shape: Shape) -> int:
        """The layers of ``gpt``, the head's matrix and norm; the embedding's norm is in place of the first layer's."""
        d_model = int(shape["d_model"])
        return of_layers(shape) + d_model * d_model + d_model

    def counts(self, shape: Shape, context: int) -> Counts:
        """As in ``gpt``, with the head and the embedding only where tokens are hidden: ``masked`` of the places."""
        from engine.families._masking import n_masked

        d_model, d_ff, n_layers, n_heads = (int(shape[key]) for key in ("d_model", "d_ff", "n_layers", "n_heads"))
        vocab_size = int(shape["vocab_size"]) + 1
        layers = super().counts({**shape, "vocab_size": 0}, context)
        share = n_masked(context, float(shape["masked"])) / context
        n = self.non_embedding(shape)
        flops = layers.flops_per_token + 6.0 * share * (d_model * d_model + vocab_size * d_model)
        # Kept for backward: what norms (with their statistics) and matmuls read, q k v, what is mixed, probabilities,
        # gate, up and their product; where tokens are hidden also the head's and the log-probabilities.
        layer = 4 * d_model + 4 + 4 * n_heads * int(shape["head_dim"]) + 4 * d_ff + n_heads * context
        kept = 4.0 * (n_layers * layer + share * (5 * d_model + vocab_size))
        return Counts(n + vocab_size * d_model, n, flops, kept)

    def decoder(self, shape: Shape, multipliers: "Multipliers") -> "Decoder":
        from engine.families._encoder import Encoder

        return Encoder(shape, multipliers)

    def n_choices(self, shape: Shape) -> int:
        """The tokens of the data and the mask."""
        return int(shape["vocab_size"]) + 1

    def ask(self, model: "nn.Module", batch: "Mapping[str, Tensor]") -> Asked:
        """The hidden tokens of ``inputs``, int64 (batch, t).

        Places and what they show are drawn from torch's generator while training, and from one that always begins
        alike in evaluation mode: validation asks for the same tokens every time.
        """
        from engine.families._encoder import Encoder
        from engine.families._masking import choose, corrupt, fixed_generator, n_masked

        assert isinstance(model, Encoder)
        inputs = batch["inputs"]
        generator = None if model.training else fixed_generator()
        places = choose(inputs, n_masked(inputs.shape[1], float(model.shape["masked"])), generator)
        seen = corrupt(inputs, places, model.mask_token, int(model.shape["vocab_size"]), generator)
        return Asked((seen,), inputs.gather(1, places).flatten(), places)

    def answer(self, model: "nn.Module", asked: Asked) -> "Tensor":
        from engine.families._encoder import Encoder

        assert isinstance(model, Encoder)
        (seen,), places = asked.given, asked.places
        assert seen is not None
        assert places is not None
        return model.at(seen, places).flatten(0, 1)

    def counted(self, shape: Shape, batch: "Mapping[str, NDArray[Any]]") -> float:
        """Rows: as many tokens are hidden in each."""
        return len(batch["inputs"])

    def loss_unit(self, shape: Shape) -> str:
        return mark("nats per masked token")

    def mask_token(self, model: "nn.Module") -> int:
        """The id after the last of the data."""
        return int(model.mask_token)  # type: ignore[arg-type]

    def added_tokens(self, shape: Shape) -> Mapping[str, tuple[str, int]]:
        """The mask, under the text that BERT gave it."""
        return {"mask_token": ("[MASK]", int(shape["vocab_size"]))}

    def masked_fraction(self, model: "nn.Module") -> float:
        """As the model was trained with."""
        from engine.families._encoder import Encoder

        assert isinstance(model, Encoder)
        return float(model.shape["masked"])

    def samples(
        self, model: "nn.Module", spec: RunSpec, prepared: "Prepared", device: "torch.device"
    ) -> "Sequence[Made]":
        """Text of the validation split with what the model fills in: ``[x]``, or ``[x≠y]`` where y stood."""
        from engine.families._text_samples import filled_in

        return filled_in(self, model, spec, prepared, device)

    def graphs(self, model: "nn.Module", shape: Shape) -> "Sequence[Graph]":
        """Logits of every place, for any number and length of texts."""
        from engine.families._encoder import Encoder

        assert isinstance(model, Encoder)
        return (Graph(model.configure(attention="written"), lengths=True),)

    def export_hf(self, model: "nn.Module", shape: Shape, folder: Path, tokenizer: Any) -> None:
        """A folder ``AutoModelForMaskedLM`` loads with equal logits, as ``ModernBertForMaskedLM``."""
        from engine.families._encoder import Encoder
        from engine.families._llama import write_tokenizer
        from engine.families._modernbert import write_modernbert

        assert isinstance(model, Encoder)
        write_modernbert(model, shape, folder)
        if tokenizer is not None:
            write_tokenizer(tokenizer, folder, model.context)
