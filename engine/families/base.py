"""What a model family is: a Spec for the form, a dial from ``n_params`` to a shape, counts, and a model."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from engine.i18n import mark
from engine.study import RunSpec, Scalar, TableSpec

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from engine.sources.base import Prepared

Shape = Mapping[str, Scalar]
"""Every dimension of one model, frozen into its RunSpec; what ``build`` needs and nothing else."""


Modality = Literal[
    "tokens", "images", "audio", "pairs", "captions", "vectors", "labelled", "instructions", "tagged", "questions"
]
MODALITIES: Mapping[Modality, str] = {
    "tokens": mark("tokens"),
    "images": mark("images"),
    "audio": mark("sound"),
    "pairs": mark("pairs of texts"),
    "captions": mark("images with captions"),
    "vectors": mark("vectors"),
    "labelled": mark("labelled texts"),
    "instructions": mark("prompts and responses"),
    "tagged": mark("sentences with a tag for each word"),
    "questions": mark("questions with the texts that answer them"),
}
"""What each is called."""


@dataclass(frozen=True, slots=True)
class DataShape:
    """What a source yields, known without loading it. ``n_classes`` and ``sample_shape`` are for labelled data."""

    modality: Modality
    vocab_size: int = 0
    n_classes: int = 0
    sample_shape: tuple[int, ...] = ()
    n_outputs: int = 0
    """Numbers to predict, per sample or per position, where the target is not a class."""
    fixed_context: int = 0
    """Positions of a sample where the data set them, 1 for what is read at once; 0 where the study chooses."""
    min_context: int = 0
    """Tokens that a context must hold; 0 for data that can be cut anywhere."""
    n_train_items: int = 0
    """Training items where they are all listed, so that a batch can be all of them; 0 where they are not."""
    about_train_items: int = 0
    """About how many there are, where they are counted in preparing them only: what an epoch is reckoned by."""
    caption_length: int = 0
    """Tokens of a caption, padded, where the data are images with captions."""
    class_names: tuple[str, ...] = ()
    """What the classes are called, in the order of their numbers, where that goes with a finished model."""
    class_counts: tuple[int, ...] = ()
    """Training items of each class, where they are known before training."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Sizes and costs of a shape. FLOPs are forward and backward together, per token (or sample)."""

    n_params: int
    n_params_non_embedding: int
    flops_per_token: float
    activation_bytes_per_token: float
    """Float32 bytes that the backward pass keeps for one token."""


@dataclass(slots=True)
class ParamGroup:
    """Parameters that share a learning-rate multiplier and decay."""

    params: "list[nn.Parameter]"
    lr_scale: float = 1.0
    decay: bool = True
    matrix: bool = False
    """Hidden matrices, which Muon may take."""


@dataclass(frozen=True, slots=True)
class LossOutput:
    """``loss`` is the scalar to differentiate; ``extras`` are detached scalars that validation records too."""

    loss: "Tensor"
    extras: "Mapping[str, Tensor]" = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Asked:
    """What a batch asks of models: what they are shown, and the right choices, int64 (n,); -100 is left out."""

    given: "tuple[Tensor | None, ...]"
    """Arguments of the model; the first is what ``Family.states`` and ``Family.features`` read."""
    targets: "Tensor"
    places: "Tensor | None" = None
    """Where answers are wanted, int64 (batch, n), where not everywhere."""


@dataclass(frozen=True, slots=True)
class Made:
    """Something a model made, to be looked at or heard. ``text`` is the whole of a text and the caption of others.

    The first line of a caption may be a string of the catalogue, marked, not translated: it is shown in the language of
    whoever looks at it.
    """

    kind: Literal["text", "image", "audio"]
    text: str = ""
    values: NDArray[Any] = field(default_factory=lambda: np.zeros(0, np.uint8))
    """Pixels uint8 (height, width, 3), or a wave float32 (n,) in -1..1."""
    rate: int = 0
    """Samples per second of a wave."""


class Family(ABC):
    """One architecture that can be built at any size. Stateless; one instance is registered by name."""

    name: ClassVar[str]
    version: ClassVar[int]
    """Raised whenever equal specs would no longer give equal models; goes into every run."""
    title: ClassVar[str]
    Spec: ClassVar[type[TableSpec]]
    modalities: ClassVar[frozenset[str]]
    kind: ClassVar[str] = "pretrain"
    """The kind of study that trains it: ``finetune`` where a model is there to begin with."""
    predicts_next: ClassVar[bool] = False
    """Logits (batch, t, vocab) are of the token after each: its loss is on the axes of every language model."""
    learns_classes: ClassVar[bool] = False
    """Whether it is trained on the classes that come with images or vectors."""
    loss_ranks_models: ClassVar[bool] = True
    """Whether a lower validation loss is a better model. False for a game of two, whose loss no law is fitted to."""

    has_units: ClassVar[bool] = False
    """Whether its networks say which heads, hidden units or channels can be cut out (``engine.families._units``)."""
    exported_units: ClassVar[Mapping[str, str]] = {}
    """Kinds of units that the model of transformers may have fewer of, and the dimension that says how many."""

    def reads(self, shape: Shape) -> frozenset[str]:
        """The modalities that a model of this shape learns from; those of the family unless overridden."""
        return self.modalities

    def own_sizes(self, spec: Any) -> tuple[int, ...]:
        """Sizes of models that are there already, smallest first; none where ``ladder.sizes`` decides."""
        return ()

    def fit_data(self, spec: Any, size: int, data: TableSpec) -> TableSpec:
        """The data's spec with what follows from the model, as a tokenizer does; unchanged unless overridden."""
        return data

    @abstractmethod
    def resolve(self, spec: Any, size: int, data: DataShape, context: int) -> dict[str, Scalar]:
        """The shape whose ``n_params_non_embedding`` comes closest to ``size``. Pure, no torch needed.

        Raises ``StudyError`` naming the field where the spec cannot be met.
        """

    @abstractmethod
    def counts(self, shape: Shape, context: int) -> Counts:
        """Exact parameter counts and FLOPs; agree with ``sum(p.numel())`` and torch's FLOP counter."""

    @abstractmethod
    def width(self, shape: Shape) -> int:
        """The width that learning-rate rules scale with."""

    @abstractmethod
    def build(self, shape: Shape, seed: int, *, training: "TrainingHints | None" = None) -> "nn.Module":
        """A freshly initialised model on CPU in float32, a pure function of ``shape`` and ``seed``."""

    def blank(self, shape: Shape, training: "TrainingHints | None" = None) -> "nn.Module":
        """A model whose weights are about to be replaced by those of a finished run."""
        return self.build(shape, 0, training=training)

    def facts(self, shape: Shape, context: int) -> dict[str, Scalar]:
        """What is told of a run beside its counts; nothing unless overridden."""
        return {}

    def n_choices(self, shape: Shape) -> int:
        """Classes or tokens that its models choose among; 0 where what they give is no such choice."""
        return 0

    def loss(self, model: "nn.Module", batch: "Mapping[str, Tensor]") -> LossOutput:
        """Mean training loss of a batch, natural logarithm: of choices, unless overridden, their cross-entropy."""
        asked = self.ask(model, batch)
        return LossOutput(self.choice_loss(model, asked, self.answer(model, asked)))

    def ask(self, model: "nn.Module", batch: "Mapping[str, Tensor]") -> Asked:
        """What a batch asks. What is hidden by chance is drawn here, so that several models can be asked the same."""
        return Asked((batch["inputs"],), batch["targets"].flatten())

    def answer(self, model: "nn.Module", asked: Asked) -> "Tensor":
        """Logits float32 (n, ``n_choices``), one row for each of the targets."""
        logits: Tensor = model(*asked.given).float()
        return logits.flatten(0, -2)

    def choice_loss(self, model: "nn.Module", asked: Asked, logits: "Tensor") -> "Tensor":
        """Mean loss of the choices, a scalar, from what ``answer`` gave."""
        from torch.nn import functional

        return functional.cross_entropy(logits, asked.targets)

    def counted(self, shape: Shape, batch: "Mapping[str, NDArray[Any]]") -> float:
        """What the loss of a batch is a mean over: targets that are not left out, or rows where they are no choices."""
        targets = batch.get("targets")
        if targets is None or targets.dtype.kind == "f":
            return len(next(iter(batch.values())))
        return int((targets >= 0).sum())

    def loss_unit(self, shape: Shape) -> str:
        """What the loss is measured in, for the axes that show it."""
        return mark("nats per token")

    def lengths_vary(self, shape: Shape) -> bool:
        """Whether batches are padded to their own longest sample, and so of several lengths."""
        return False

    def compared(self, shape: Shape) -> int:
        """Samples whose loss is one loss, as in a contrastive one: validation scores whole sets of so many."""
        return 1

    @abstractmethod
    def param_groups(self, model: "nn.Module", shape: Shape, rule: str, base_width: int) -> list[ParamGroup]:
        """Every parameter once, grouped by how the learning-rate rule treats it."""

    def example(self, shape: Shape, batch_size: int, context: int) -> "dict[str, Tensor]":
        """A batch whose shapes are right and whose content is random, for timing: tokens unless overridden."""
        import torch

        tokens = torch.randint(0, int(shape["vocab_size"]), (batch_size, context))
        return {"inputs": tokens, "targets": tokens}

    def samples(
        self, model: "nn.Module", spec: RunSpec, prepared: "Prepared", device: "torch.device"
    ) -> "Sequence[Made]":
        """A few things the model makes, the same question every time; called in evaluation mode, without gradients.

        What is drawn comes from generators of its own, seeded by the run: a resumed run makes the same.
        """
        return ()

    def states(self, model: "nn.Module", inputs: "Tensor") -> "Tensor | None":
        """One vector per position, float32 (batch, t, n), of what the model makes of ``inputs``; gradients flow back.

        What a new head over positions is trained on. None where samples have no positions.
        """
        return None

    def features(self, model: "nn.Module", inputs: "Tensor") -> "Tensor | None":
        """One vector per sample, (batch, n), of what the model makes of ``inputs``; gradients flow back through it.

        What a probe reads and a new head is trained on: the mean of the states over positions, unless overridden. None
        where the family has nothing of the kind.
        """
        states = self.states(model, inputs)
        return None if states is None else states.mean(dim=1)

    def stack(self, models: "Sequence[nn.Module]") -> "StackedModel | None":
        """Models of one shape as one, which trains several runs at once; None where the family has no such form."""
        return None

    def added_tokens(self, shape: Shape) -> Mapping[str, tuple[str, int]]:
        """Role in transformers (``mask_token``) -> text and id of each token that the data's tokenizer lacks."""
        return {}

    def goes_with_code(self, shape: Shape) -> bool:
        """Whether transformers has no class for it, so that an exported folder carries the code that runs it."""
        return False

    def export_hf(self, model: "nn.Module", shape: Shape, folder: Path, tokenizer: "Any") -> None:
        """Write a folder that plain transformers loads with equal outputs."""
        raise NotImplementedError(self.name)

    def graphs(self, model: "nn.Module", shape: Shape) -> "Sequence[Graph]":
        """The model as graphs that other runtimes can be given; none where its outputs are no plain function."""
        return ()


@dataclass(frozen=True, slots=True)
class Graph:
    """A model, or one of its parts, as one function of one array."""

    module: "nn.Module"
    reads: str = "inputs"
    """Which array of a batch, as ``Family.example`` gives it."""
    gives: str = "logits"
    part: str = ""
    """Of a model of several parts."""
    lengths: bool = False
    """Whether the second axis may have any length up to the model's context."""


class StackedModel(Protocol):
    """Members as one module whose parameters have a leading axis of members."""

    def losses(self, batch: "Mapping[str, Tensor]") -> "Tensor":
        """(members,) training losses of a batch whose arrays have that leading axis."""
        ...

    def weight(self, name: str) -> "Tensor":
        """The stacked parameter that the members call ``name``."""
        ...

    def member(self, index: int) -> "dict[str, Tensor]":
        """The parameters of one member under its own names; views."""
        ...


@dataclass(frozen=True, slots=True)
class TrainingHints:
    """What initialisation and forward multipliers depend on beside the shape."""

    lr_rule: str
    base_width: int


def training_hints(spec: RunSpec) -> TrainingHints:
    """Those of a run."""
    return TrainingHints(spec.training.lr_rule, spec.training.base_width)


def rate_scales(rule: str, ratio: float) -> tuple[float, float]:
    """What learning-rate rule ``rule`` multiplies the rate by: of everything else, and of the hidden matrices.

    ``ratio`` is the base width over the model's. ``mup`` (Yang 2022, table 8) scales hidden matrices by it, ``width``
    all by it, at most doubled; ``fixed`` nothing.
    """
    scales = {"mup": (1.0, ratio), "width": (min(2.0, ratio),) * 2, "fixed": (1.0, 1.0)}
    if rule not in scales:
        raise ValueError(f"unknown learning-rate rule {rule!r}")
    return scales[rule]


def build_for(family: Family, spec: RunSpec) -> "torch.nn.Module":
    """The model of a run, freshly initialised from its seed."""
    return family.build(spec.shape, spec.seed, training=training_hints(spec))
