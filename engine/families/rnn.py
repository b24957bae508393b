"""Recurrent language models, LSTM or GRU, built at any size from one dial."""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

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
    TrainingHints,
    rate_scales,
)
from engine.i18n import mark, tr
from engine.study import RunSpec, Scalar, TableSpec

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from engine.sources.base import Prepared

LARGEST_WIDTH = 16_384
DEPTHS = ((128, 1), (512, 2), (LARGEST_WIDTH, 3))
"""(up to this width, layers): one where the matrices are small, three at 1,150 as in Merity 2018."""


class RnnSpec(TableSpec, frozen=True, kw_only=True):
    """What may be fixed by hand; the width follows the size."""

    cell: Annotated[
        Literal["lstm", "gru"],
        msgspec.Meta(title=mark("Cell"), description=mark("lstm: four gates and a memory; gru: three, and none.")),
    ] = "lstm"
    n_layers: Annotated[
        Annotated[int, msgspec.Meta(ge=1, le=64)] | None,
        msgspec.Meta(
            title=mark("Layers"),
            description=mark("Recurrent layers, one over the other; by default one to three with the width."),
        ),
    ] = None
    d_embedding: Annotated[
        Annotated[int, msgspec.Meta(ge=1, le=LARGEST_WIDTH)] | None,
        msgspec.Meta(
            title=mark("Embedding width"),
            description=mark(
                "By default the width of the network, and then the output is tied to the embedding; "
                "with another width it has a matrix of its own."
            ),
        ),
    ] = None


def non_embedding(cell: str, n_layers: int, d_model: int, d_embedding: int) -> int:
    """Exact ``n_params_non_embedding``: both matrices and both biases of every layer."""
    from_below = d_embedding + (n_layers - 1) * d_model
    return _gates(cell) * d_model * (from_below + n_layers * (d_model + 2))


@families.register("rnn")
class Rnn(Family):
    """LSTM (Hochreiter & Schmidhuber 1997) or GRU (Cho 2014) that predicts the next token, window by window."""

    name = "rnn"
    version = 1
    title = mark("RNN: recurrent language model")
    Spec = RnnSpec
    modalities = frozenset({"tokens"})
    predicts_next = True

    def resolve(self, spec: RnnSpec, size: int, data: DataShape, context: int) -> dict[str, Scalar]:
        """The width, and with it the depth, whose parameters come closest to ``size`` in ratio."""
        if data.vocab_size < 2:
            raise StudyError(tr("data: the family rnn needs tokens, and this source has none."))
        miss = {
            dims: abs(math.log(non_embedding(spec.cell, *dims) / size)) for dims in _candidates(spec, size)
        }  # (n_layers, d_model, d_embedding)
        best = min(miss, key=lambda dims: miss[dims])
        if miss[best] > math.log(2):
            raise StudyError(
                tr(
                    "ladder.sizes: no rnn with these settings has about {size:,} parameters; the nearest has {n:,}.",
                    size=size,
                    n=non_embedding(spec.cell, *best),
                )
            )
        n_layers, d_model, d_embedding = best
        return {
            "vocab_size": data.vocab_size,
            "cell": spec.cell,
            "n_layers": n_layers,
            "d_model": d_model,
            "d_embedding": d_embedding,
        }

    def counts(self, shape: Shape, context: int) -> Counts:
        """FLOPs are 6 per weight of a matrix, the head included; a window's first step is counted as any other."""
        cell, n_layers, d_model, d_embedding, vocab_size = _dims(shape)
        n = non_embedding(cell, n_layers, d_model, d_embedding)
        embedding = vocab_size * (d_embedding if d_embedding == d_model else d_embedding + d_model)
        gates = _gates(cell)
        matmul_weights = n - 2 * n_layers * gates * d_model + vocab_size * d_model
        return Counts(n + embedding, n, 6.0 * matmul_weights, 4.0 * _kept(shape))

    def width(self, shape: Shape) -> int:
        return int(shape["d_model"])

    def build(self, shape: Shape, seed: int, *, training: TrainingHints | None = None) -> "nn.Module":
        from engine.families._recurrent import Recurrent, initialise

        # Yang 2022, table 8: the head keeps its initial size and its multiplier falls as 1 / width.
        base_width = self.width(shape)
        if training is not None and training.lr_rule == "mup":
            base_width = training.base_width
        return initialise(Recurrent(shape, base_width / self.width(shape)), seed, base_width)

    def n_choices(self, shape: Shape) -> int:
        return int(shape["vocab_size"])

    def param_groups(self, model: "nn.Module", shape: Shape, rule: str, base_width: int) -> list[ParamGroup]:
        """``mup`` scales the rate of matrices that read the width by base / width, ``width`` all by
        min(2, base / width)."""
        from engine.families._recurrent import Recurrent, reads_width

        assert isinstance(model, Recurrent)
        rest, hidden = rate_scales(rule, base_width / self.width(shape))
        cell = dict(model.rnn.named_parameters())
        matrices = [p for name, p in cell.items() if p.ndim == 2 and reads_width(name, model.head is None)]
        taken = {id(p) for p in matrices}
        ends = [p for p in model.parameters() if p.ndim == 2 and id(p) not in taken]
        return [
            ParamGroup(matrices, hidden, decay=True, matrix=True),
            ParamGroup(ends, rest, decay=True),
            ParamGroup([p for p in cell.values() if p.ndim == 1], rest, decay=False),
        ]

    def samples(
        self, model: "nn.Module", spec: RunSpec, prepared: "Prepared", device: "torch.device"
    ) -> "Sequence[Made]":
        """A prompt from the validation split and how the model goes on."""
        from engine.families._text_samples import continued

        return continued(model, spec, prepared, device)

    def states(self, model: "nn.Module", inputs: "Tensor") -> "Tensor":
        """What the last layer gives. Features are their mean: the last alone leans towards the last few tokens."""
        from engine.families._recurrent import Recurrent

        assert isinstance(model, Recurrent)
        return model.states(inputs).float()

    def goes_with_code(self, shape: Shape) -> bool:
        return True

    def export_hf(self, model: "nn.Module", shape: Shape, folder: Path, tokenizer: Any) -> None:
        """A folder with the network's code, since transformers has no plain LSTM or GRU, of equal logits."""
        from engine.families._hub import write_own
        from engine.families._recurrent import Recurrent

        assert isinstance(model, Recurrent)
        classes = {"AutoModelForCausalLM": "RecurrentForCausalLM"}
        constants = {"output_multiplier": model.output_multiplier}
        sizes = {
            "vocab_size": shape["vocab_size"],
            "hidden_size": shape["d_model"],
            "num_hidden_layers": shape["n_layers"],
        }
        write_own(folder, "_hub_rnn", classes, model.state_dict(), shape, constants, use_cache=False, **sizes)


def _gates(cell: str) -> int:
    return {"lstm": 4, "gru": 3}[cell]


def _dims(shape: Mapping[str, Any]) -> tuple[str, int, int, int, int]:
    """Cell, layers, width, embedding width and vocabulary."""
    rest = (int(shape[key]) for key in ("n_layers", "d_model", "d_embedding", "vocab_size"))
    return (str(shape["cell"]), *rest)  # type: ignore[return-value]


def _kept(shape: Mapping[str, Any]) -> int:
    """Floats per token kept for backward on CPU, as autograd's saved tensors show: the embedded token, what each
    layer's kernel keeps (oneDNN's LSTM a workspace twice what its states need), what the head reads, the
    log-probabilities."""
    cell, n_layers, d_model, d_embedding, vocab_size = _dims(shape)
    states = (16 * n_layers + 2) * d_model if cell == "lstm" else 8 * n_layers * d_model
    return d_embedding + states + vocab_size


def _candidates(spec: RnnSpec, size: int) -> Iterator[tuple[int, int, int]]:
    """(n_layers, d_model, d_embedding) on both sides of the size at every depth."""
    if spec.n_layers is not None:
        ranges = [(1, LARGEST_WIDTH, spec.n_layers)]
    else:
        firsts = (1, *(limit for limit, _ in DEPTHS[:-1]))
        ranges = [(first, limit - 1, n) for first, (limit, n) in zip(firsts, DEPTHS, strict=True)]
    for first, last, n_layers in ranges:
        low, high = first, last
        while low < high:  # the narrowest that reaches the size
            middle = (low + high) // 2
            dims = (n_layers, middle, spec.d_embedding or middle)
            low, high = (middle + 1, high) if non_embedding(spec.cell, *dims) < size else (low, middle)
        for d_model in {max(first, low - 1), low}:
            yield n_layers, d_model, spec.d_embedding or d_model
