"""Decoder-only language models of the Llama kind, built at any size from one dial."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Protocol

import msgspec

from engine.errors import StudyError
from engine.families import families
from engine.families.base import (
    Counts,
    DataShape,
    Family,
    Made,
    ParamGroup,
    Shape,
    StackedModel,
    TrainingHints,
    rate_scales,
)
from engine.i18n import mark, tr
from engine.study import RunSpec, Scalar, TableSpec

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from engine.families._decoder import Decoder, Multipliers
    from engine.sources.base import Prepared

NORM_EPS = 1e-5
BASE_LAYERS = 2
"""Depth at which the residual multiplier is 1: that of the smallest models of the ladder."""
BASE_HEAD_DIM = 8
"""Head dimension at which muP's 1 / head_dim and the usual 1 / sqrt(head_dim) agree."""
LARGEST_WIDTH = 16_384
WIDTH_STEPS = ((64, 8), (128, 16), (512, 32), (2048, 64), (LARGEST_WIDTH, 128))
"""(up to this width, step): widths stay divisible by a head dimension that grows with them."""


class GptSpec(TableSpec, frozen=True, kw_only=True):
    """What may be fixed by hand; what is left out follows the size."""

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
            description=mark("Heads per layer; they divide the width into even parts. By default 8 to 64 wide."),
        ),
    ] = None
    mlp_ratio: Annotated[
        float,
        msgspec.Meta(
            title=mark("MLP ratio"),
            description=mark(
                "Width of the gated MLP over the width of the model; 8/3 costs what an ungated 4 does, 0 leaves it out."
            ),
            ge=0,
            le=16,
        ),
    ] = 8 / 3
    rope_theta: Annotated[
        float,
        msgspec.Meta(
            title=mark("Rotary base"),
            description=mark("Base of the rotary position frequencies; longer contexts want a larger one."),
            gt=1,
        ),
    ] = 10_000.0
    depth_scaling: Annotated[
        bool,
        msgspec.Meta(
            title=mark("Depth scaling"),
            description=mark("Under muP, divide what each layer adds by the depth, so that rates carry over depths."),
        ),
    ] = True


def default_layers(d_model: int) -> int:
    """Depth for a width: 2 to 32, 3 at 48 and 64, 4 at 128, 6 at 256, 14 at 768."""
    return 2 + int(d_model / 64 + 0.499)


def default_head_dim(d_model: int) -> int:
    """Head dimension for a width: 8, then 16 from 64, 32 from 128 and 64 from 256, halved until it divides it."""
    head_dim = 8 if d_model < 64 else 16 if d_model < 128 else 32 if d_model < 256 else 64
    while d_model % head_dim:
        head_dim //= 2
    return head_dim


def non_embedding(shape: Mapping[str, Any]) -> int:
    """Exact ``n_params_non_embedding``: matrices and norms of the layers and the final norm."""
    d_model, n_layers, d_ff = int(shape["d_model"]), int(shape["n_layers"]), int(shape["d_ff"])
    d_attention = int(shape["n_heads"]) * int(shape["head_dim"])
    return n_layers * (4 * d_model * d_attention + 3 * d_model * d_ff) + n_norms(shape) * d_model


def n_norms(shape: Mapping[str, Any]) -> int:
    """Two per layer, one where there is no MLP, and the last."""
    return int(shape["n_layers"]) * (2 if int(shape["d_ff"]) else 1) + 1


@families.register("gpt")
class Gpt(Family):
    """Modern decoder: RMSNorm, rotary positions, gated MLP, tied embeddings; exports as Llama."""

    name = "gpt"
    version = 1
    title = mark("GPT: decoder-only language model")
    Spec = GptSpec
    modalities = frozenset({"tokens"})
    predicts_next = True
    has_units = True
    exported_units: ClassVar[Mapping[str, str]] = {"heads": "n_heads", "hidden units": "d_ff"}

    def resolve(self, spec: GptSpec, size: int, data: DataShape, context: int) -> dict[str, Scalar]:
        """The ladder's shape that comes closest to ``size`` in ratio; see ``default_layers`` for the ladder."""
        if data.vocab_size < 2:
            raise StudyError(tr("data: the family {family} needs tokens, and this source has none.", family=self.name))
        best = nearest(spec, size, self.non_embedding, self.name, partial(dimensions_of, spec))
        best["rope_theta"] = spec.rope_theta
        return {"vocab_size": data.vocab_size, "context": context} | best

    def non_embedding(self, shape: Shape) -> int:
        """What the dial counts."""
        return non_embedding(shape)

    def counts(self, shape: Shape, context: int) -> Counts:
        """FLOPs are 3 x (2 x matmul weights, the head included, + 4 t d_attention per layer), as computed.

        The causal half that is masked is counted, since both attention kernels' formulas count it.
        """
        d_model, d_ff, n_layers, n_heads, head_dim, vocab_size = (
            int(shape[key]) for key in ("d_model", "d_ff", "n_layers", "n_heads", "head_dim", "vocab_size")
        )
        d_attention = n_heads * head_dim
        n = non_embedding(shape)
        embedding = vocab_size * d_model
        matmul_weights = n - n_norms(shape) * d_model + embedding
        flops = 3.0 * (2 * matmul_weights + 4 * context * d_attention * n_layers)
        # Kept for backward, as autograd's saved tensors show: inputs of norms and matmuls, q k v before and after the
        # rotation, probabilities, gate, up and their product; then the log-probabilities.
        layer = (6 if d_ff else 3) * d_model + 5 * d_attention + 4 * d_ff + n_heads * context
        floats = n_layers * layer + 4 * d_model + vocab_size
        return Counts(n + embedding, n, flops, 4.0 * floats)

    def width(self, shape: Shape) -> int:
        return int(shape["d_model"])

    def build(self, shape: Shape, seed: int, *, training: TrainingHints | None = None) -> "nn.Module":
        from engine.families._decoder import initialise

        multipliers, base_width = self.multipliers(shape, training)
        return initialise(self.decoder(shape, multipliers), seed, base_width)

    def decoder(self, shape: Shape, multipliers: "Multipliers") -> "Decoder":
        """The model before its weights are drawn."""
        from engine.families._decoder import Decoder

        return Decoder(shape, multipliers)

    def multipliers(self, shape: Shape, training: TrainingHints | None) -> "tuple[Multipliers, int]":
        """What the learning-rate rule asks of the forward pass, and the width at which nothing is scaled."""
        from engine.families._decoder import Multipliers

        head_dim = int(shape["head_dim"])
        attention, residual, output = head_dim**-0.5, 1.0, 1.0
        base_width = int(shape["d_model"])
        if training is not None and training.lr_rule == "mup":
            # Yang 2022: attention 1 / head_dim and logits 1 / width; Dey 2025 (CompleteP): branches 1 / depth.
            attention = BASE_HEAD_DIM**0.5 / head_dim
            base_width = training.base_width
            output = base_width / int(shape["d_model"])
            residual = BASE_LAYERS / int(shape["n_layers"]) if shape["depth_scaling"] else 1.0
        return Multipliers(attention, residual, output), base_width

    def n_choices(self, shape: Shape) -> int:
        return int(shape["vocab_size"])

    def param_groups(self, model: "nn.Module", shape: Shape, rule: str, base_width: int) -> list[ParamGroup]:
        """``mup`` scales the rate of hidden matrices by base / width, ``width`` all by min(2, base / width)."""
        rest, hidden = rate_scales(rule, base_width / self.width(shape))
        matrices: list[nn.Parameter] = []
        norms: list[nn.Parameter] = []
        embeddings: list[nn.Parameter] = []
        for name, parameter in model.named_parameters():
            kind = norms if parameter.ndim < 2 else embeddings if name.endswith("embedding") else matrices
            kind.append(parameter)
        return [
            ParamGroup(matrices, hidden, decay=True, matrix=True),
            ParamGroup(embeddings, rest, decay=True),
            ParamGroup(norms, rest, decay=False),
        ]

    def samples(
        self, model: "nn.Module", spec: RunSpec, prepared: "Prepared", device: "torch.device"
    ) -> "Sequence[Made]":
        """A prompt from the validation split and how the model goes on."""
        from engine.families._text_samples import continued

        return continued(model, spec, prepared, device)

    def states(self, model: "nn.Module", inputs: "Tensor") -> "Tensor":
        """The last layer's residual stream, normalised."""
        from engine.families._decoder import Decoder

        assert isinstance(model, Decoder)
        normed: Tensor = model.norm(model.hidden(inputs)[-1])
        return normed.float()

    def stack(self, models: "Sequence[nn.Module]") -> StackedModel | None:
        from engine.families._decoder import Decoder
        from engine.families._stacked import StackedDecoder

        decoders = [model for model in models if type(model) is Decoder]
        return StackedDecoder(decoders) if len(decoders) == len(models) else None

    def export_hf(self, model: "nn.Module", shape: Shape, folder: Path, tokenizer: Any) -> None:
        """A folder ``AutoModelForCausalLM`` loads with equal logits.

        ``tokenizer`` may be None, a ``tokenizers.Tokenizer``, or anything with ``save_pretrained``.
        """
        from engine.families._decoder import Decoder
        from engine.families._llama import write_llama, write_tokenizer

        assert isinstance(model, Decoder)
        write_llama(model, shape, folder)
        if tokenizer is not None:
            write_tokenizer(tokenizer, folder, model.context)


class Ladder(Protocol):
    """The fields of a Spec that ``nearest`` reads, by the names of ``GptSpec``."""

    @property
    def d_model(self) -> int | None: ...
    @property
    def n_layers(self) -> int | None: ...


class Dial(Ladder, Protocol):
    """Those that ``dimensions`` reads as well."""

    @property
    def n_heads(self) -> int | None: ...
    @property
    def mlp_ratio(self) -> float: ...
    @property
    def depth_scaling(self) -> bool: ...


def nearest(
    spec: Ladder,
    size: int,
    n_params: Callable[[Shape], int],
    family: str,
    dimensions: Callable[[int, int], dict[str, Scalar]],
) -> dict[str, Scalar]:
    """Of the widths and depths of the ladder, the ``dimensions(d_model, n_layers)`` whose ``n_params`` come closest.

    Raises ``StudyError`` where they are over twice ``size``, or under half of it.
    """
    candidates = _candidates(spec, size, n_params, dimensions)
    best = min(candidates, key=lambda dims: abs(math.log(n_params(dims) / size)))
    n = n_params(best)
    if abs(math.log(n / size)) > math.log(2):
        raise StudyError(
            tr(
                "ladder.sizes: no {family} with these settings has about {size:,} parameters; the nearest has {n:,}.",
                family=family,
                size=size,
                n=n,
            )
        )
    return best


def _candidates(
    spec: Ladder,
    size: int,
    n_params: Callable[[Shape], int],
    dimensions: Callable[[int, int], dict[str, Scalar]],
) -> Iterator[dict[str, Scalar]]:
    """The dimensions to choose from, up to a little beyond ``size``: what the spec leaves open varies."""
    if spec.d_model is not None:
        if spec.d_model % 8:
            raise StudyError(tr("model.d_model: expected a multiple of 8, got {d_model}.", d_model=spec.d_model))
        depths = range(1, 513) if spec.n_layers is None else (spec.n_layers,)
        yield from (dimensions(spec.d_model, n_layers) for n_layers in depths)
        return
    d_model, beyond = 8, 0
    while d_model <= LARGEST_WIDTH and beyond < 2:
        dims = dimensions(d_model, spec.n_layers or default_layers(d_model))
        yield dims
        beyond += n_params(dims) > size
        d_model += next(step for limit, step in WIDTH_STEPS if d_model < limit or limit == LARGEST_WIDTH)


def dimensions_of(spec: Dial, d_model: int, n_layers: int) -> dict[str, Scalar]:
    """Every dimension that follows from a width and a depth."""
    n_heads = spec.n_heads or d_model // default_head_dim(d_model)
    if d_model % (2 * n_heads):
        raise StudyError(
            tr(
                "model.n_heads: {n_heads} heads do not divide a width of {d_model} into even parts.",
                n_heads=n_heads,
                d_model=d_model,
            )
        )
    step = 8 if d_model < 128 else 32
    return {
        "d_model": d_model,
        "n_layers": n_layers,
        "n_heads": n_heads,
        "head_dim": d_model // n_heads,
        "d_ff": max(step, int(d_model * spec.mlp_ratio / step + 0.5) * step) if spec.mlp_ratio else 0,
        "norm_eps": NORM_EPS,
        "depth_scaling": spec.depth_scaling,
    }
