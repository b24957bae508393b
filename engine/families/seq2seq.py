"""Encoder-decoder Transformers of the T5 kind for pairs of texts, built at any size from one dial."""

from collections.abc import Mapping, Sequence
from functools import partial
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
from engine.families.gpt import BASE_HEAD_DIM, BASE_LAYERS, LARGEST_WIDTH, dimensions_of, nearest
from engine.i18n import mark, tr
from engine.study import RunSpec, Scalar, TableSpec

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from engine.sources.base import Prepared

BUCKETS = 32
"""Relative positions that have a bias of their own, per stack and head."""


class Seq2SeqSpec(TableSpec, frozen=True, kw_only=True):
    """What may be fixed by hand; what is left out follows the size."""

    d_model: Annotated[
        Annotated[int, msgspec.Meta(ge=8, le=LARGEST_WIDTH)] | None,
        msgspec.Meta(
            title=mark("Width"),
            description=mark("Size of the residual stream, a multiple of 8; by default it follows the size."),
        ),
    ] = None
    n_layers: Annotated[
        Annotated[int, msgspec.Meta(ge=1, le=256)] | None,
        msgspec.Meta(
            title=mark("Layers"),
            description=mark("Depth of the encoder, and of the decoder; by default it grows slowly with the width."),
        ),
    ] = None
    n_heads: Annotated[
        Annotated[int, msgspec.Meta(ge=1, le=1024)] | None,
        msgspec.Meta(
            title=mark("Attention heads"),
            description=mark("Heads per layer; they divide the width into even parts. By default 8 to 64 wide."),
        ),
    ] = None
    mlp_ratio: Annotated[
        float,
        msgspec.Meta(
            title=mark("MLP ratio"),
            description=mark("Width of the gated MLP over the width of the model; 8/3 costs what an ungated 4 does."),
            gt=0,
            le=16,
        ),
    ] = 8 / 3
    label_smoothing: Annotated[
        float,
        msgspec.Meta(
            title=mark("Label smoothing"),
            description=mark("Share of the target spread over all tokens in training; validation is without it."),
            ge=0,
            lt=1,
        ),
    ] = 0.1
    depth_scaling: Annotated[
        bool,
        msgspec.Meta(
            title=mark("Depth scaling"),
            description=mark("Under muP, divide what each layer adds by the depth, so that rates carry over depths."),
        ),
    ] = True


def non_embedding(shape: Mapping[str, Any]) -> int:
    """Exact ``n_params_non_embedding``: matrices and norms of both stacks and their biases by position."""
    d_model, n_layers, n_heads = int(shape["d_model"]), int(shape["n_layers"]), int(shape["n_heads"])
    return matmul_weights(shape) + (5 * n_layers + 2) * d_model + 2 * BUCKETS * n_heads


def matmul_weights(shape: Mapping[str, Any]) -> int:
    """Weights of the hidden matrices: attention once in the encoder and twice in the decoder, an MLP in each."""
    d_model, d_ff = int(shape["d_model"]), int(shape["d_ff"])
    d_attention = int(shape["n_heads"]) * int(shape["head_dim"])
    return int(shape["n_layers"]) * d_model * (12 * d_attention + 6 * d_ff)


@families.register("seq2seq")
class Seq2Seq(Family):
    """Encoder, decoder and cross attention over one joint vocabulary; exports as T5."""

    name = "seq2seq"
    version = 1
    title = mark("Seq2seq: encoder-decoder Transformer")
    Spec = Seq2SeqSpec
    modalities = frozenset({"pairs"})

    def resolve(self, spec: Seq2SeqSpec, size: int, data: DataShape, context: int) -> dict[str, Scalar]:
        """The shape that comes closest to ``size`` in ratio; widths and depths are those of ``gpt``."""
        if data.vocab_size < 5 or len(data.sample_shape) != 2:
            raise StudyError(tr("data: the family seq2seq needs pairs of texts, and this source has none."))
        best = nearest(spec, size, non_embedding, self.name, partial(dimensions_of, spec))
        best["label_smoothing"] = spec.label_smoothing
        lengths: dict[str, Scalar] = {"source_length": data.sample_shape[0], "target_length": data.sample_shape[1]}
        return {"vocab_size": data.vocab_size} | lengths | best

    def counts(self, shape: Shape, context: int) -> Counts:
        """Per target position: a pair's cost over ``context`` of them. FLOPs are 3 x those of the forward pass.

        Of a pair of full length; where batches are cut to their longest text they cost less.
        """
        d_model, d_ff, n_layers, n_heads, head_dim, vocab_size, s, t = _numbers(shape)
        d_attention = n_heads * head_dim
        of_source = n_layers * d_model * (6 * d_attention + 3 * d_ff)  # the encoder, keys and values of the memory
        of_target = n_layers * d_model * (6 * d_attention + 3 * d_ff) + vocab_size * d_model
        scores = n_layers * d_attention * (s * s + t * t + s * t)
        flops = 3.0 * (2 * (s * of_source + t * of_target) + 4 * scores)
        n = non_embedding(shape)
        # Kept for backward, as autograd's saved tensors show: inputs of norms and matmuls, q k v, probabilities, gate,
        # up and their product; per position of the source, and of the target.
        of_s = n_layers * (6 * d_model + 6 * d_attention + 4 * d_ff + n_heads * s) + 3 * d_model
        of_t = n_layers * (9 * d_model + 6 * d_attention + 4 * d_ff + n_heads * (s + t)) + 3 * d_model + vocab_size
        kept = s * of_s + t * of_t
        return Counts(n + vocab_size * d_model, n, flops / context, 4.0 * kept / context)

    def width(self, shape: Shape) -> int:
        return int(shape["d_model"])

    def build(self, shape: Shape, seed: int, *, training: TrainingHints | None = None) -> "nn.Module":
        from engine.families._decoder import Multipliers
        from engine.families._encoder_decoder import EncoderDecoder, initialise

        head_dim, base_width = int(shape["head_dim"]), int(shape["d_model"])
        multipliers = Multipliers(attention=head_dim**-0.5, residual=1.0, output=1.0)
        if training is not None and training.lr_rule == "mup":
            # As ``gpt``: Yang 2022 for attention and logits, Dey 2025 for the branches.
            base_width = training.base_width
            multipliers = Multipliers(
                attention=BASE_HEAD_DIM**0.5 / head_dim,
                residual=BASE_LAYERS / int(shape["n_layers"]) if shape["depth_scaling"] else 1.0,
                output=base_width / int(shape["d_model"]),
            )
        return initialise(EncoderDecoder(shape, multipliers), seed, base_width)

    def n_choices(self, shape: Shape) -> int:
        return int(shape["vocab_size"])

    def ask(self, model: "nn.Module", batch: "Mapping[str, Tensor]") -> Asked:
        return Asked((batch["inputs"], batch["decoder_inputs"]), batch["targets"].flatten())

    def choice_loss(self, model: "nn.Module", asked: Asked, logits: "Tensor") -> "Tensor":
        """Mean cross-entropy in nats per token; smoothed while training."""
        from torch.nn import functional

        from engine.families._encoder_decoder import EncoderDecoder

        assert isinstance(model, EncoderDecoder)
        smoothing = float(model.shape["label_smoothing"]) if model.training else 0.0
        return functional.cross_entropy(logits, asked.targets, label_smoothing=smoothing)

    def param_groups(self, model: "nn.Module", shape: Shape, rule: str, base_width: int) -> list[ParamGroup]:
        """``mup`` scales the rate of hidden matrices by base / width, ``width`` all by min(2, base / width)."""
        rest, hidden = rate_scales(rule, base_width / self.width(shape))
        kinds: dict[str, list[nn.Parameter]] = {"matrix": [], "embedding": [], "small": []}
        for name, parameter in model.named_parameters():
            small = parameter.ndim < 2 or name.endswith("position_embedding")
            kinds["small" if small else "embedding" if name == "embedding" else "matrix"].append(parameter)
        return [
            ParamGroup(kinds["matrix"], hidden, decay=True, matrix=True),
            ParamGroup(kinds["embedding"], rest, decay=True),
            ParamGroup(kinds["small"], rest, decay=False),
        ]

    def example(self, shape: Shape, batch_size: int, context: int) -> "dict[str, Tensor]":
        """Random pairs of full length."""
        import torch

        vocab_size, s, t = (int(shape[key]) for key in ("vocab_size", "source_length", "target_length"))
        source, target = (torch.randint(1, vocab_size, (batch_size, length)) for length in (s, t))
        return {"inputs": source, "decoder_inputs": target, "targets": target}

    def samples(
        self, model: "nn.Module", spec: RunSpec, prepared: "Prepared", device: "torch.device"
    ) -> "Sequence[Made]":
        """A few held-out texts, the model's translation of each and the reference."""
        from engine.families._translating import shown

        return shown(model, prepared, device)

    def features(self, model: "nn.Module", inputs: "Tensor") -> "Tensor":
        """The encoder's memory, its mean over the tokens of the source."""
        from engine.families._encoder_decoder import EncoderDecoder
        from engine.sources._pairs import PAD

        assert isinstance(model, EncoderDecoder)
        there = (inputs != PAD).unsqueeze(-1)
        memory = model.encode(inputs)[0].float()
        return (memory * there).sum(dim=1) / there.sum(dim=1)

    def export_hf(self, model: "nn.Module", shape: Shape, folder: Path, tokenizer: Any) -> None:
        """A folder ``AutoModelForSeq2SeqLM`` loads with equal logits; ``tokenizer`` as for ``gpt``."""
        from engine.families._encoder_decoder import EncoderDecoder
        from engine.families._llama import write_tokenizer
        from engine.families._t5 import write_t5

        assert isinstance(model, EncoderDecoder)
        write_t5(model, folder)
        if tokenizer is not None:
            write_tokenizer(tokenizer, folder, int(shape["source_length"]))


def _numbers(shape: Mapping[str, Any]) -> tuple[int, ...]:
    keys = ("d_model", "d_ff", "n_layers", "n_heads", "head_dim", "vocab_size", "source_length", "target_length")
    return tuple(int(shape[key]) for key in keys)
