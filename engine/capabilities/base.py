"""What a capability is: metrics with chance level, direction and kind, measured on held-out items."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from engine.i18n import tr
from engine.study import RunSpec, TableSpec

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from engine.families.base import DataShape, Family, Shape, TrainingHints
    from engine.sources.base import Prepared


@dataclass(frozen=True, slots=True)
class Metric:
    """One way to score a capability. Threshold metrics (exact match) can make a smooth ability look sudden."""

    name: str
    title: str
    higher_is_better: bool
    kind: Literal["continuous", "threshold"]
    unit: str = ""
    number: int | None = None
    """Fills ``{number}`` in the title, where metrics differ by one: the loss of subtask 7."""

    of: str | None = None
    """Fills ``{of}`` in the title, where metrics differ by what they are of: the F1 of one class."""

    def words(self) -> str:
        """The title in the language in use."""
        filled = {"number": self.number, "of": self.of}
        return tr(self.title, **{name: value for name, value in filled.items() if value is not None})


@dataclass(frozen=True, slots=True)
class Score:
    """A measured metric: mean over ``n`` items with its standard error, and what guessing would score."""

    metric: str
    value: float
    stderr: float | None = None
    n: int | None = None
    chance: float | None = None


@dataclass(frozen=True, slots=True)
class ModelUnderTest:
    """A trained model in evaluation mode and how to run it.

    ``logits`` maps the ``inputs`` of a batch to the model's output in float32: tokens int64 (b, t) to (b, t, vocab),
    vectors float32 (b, n) to (b, classes), sequences of vectors (b, t, n) to (b, t, outputs).
    """

    module: "nn.Module"
    logits: "Callable[[Tensor], Tensor]"
    device: "torch.device"
    context: int
    seed: int
    family: "Family | None" = None
    """What the model is one of; with ``shape`` it builds an untrained twin and reads features."""
    shape: "Shape" = field(default_factory=dict)
    hints: "TrainingHints | None" = None
    """What the initialisation of the run depended on beside its shape and seed."""
    outputs: "Callable[[Mapping[str, Tensor]], Tensor] | None" = None
    """What the head of a fine-tuned model gives for a whole batch, mask and all; None of other models."""
    keep: "Callable[[str, str, bytes], None] | None" = None
    """Keeps a file with the run: its kind, its name and its content. None while the model is still trained."""


class Capability(ABC):
    """One ability. Stateless; one instance is registered by name."""

    name: ClassVar[str]
    version: ClassVar[int]
    title: ClassVar[str]
    description: ClassVar[str]
    Spec: ClassVar[type[TableSpec]]
    metrics: ClassVar[tuple[Metric, ...]]
    by_class: ClassVar[tuple[Metric, ...]] = ()
    """Metrics of which there is one for each class, stored as ``f1[name of the class]``."""
    is_ability: ClassVar[bool] = True
    """Whether it is something a model can do, and so may be judged for emergence; False for what a model costs."""
    scores_items: ClassVar[bool] = True
    """Whether its metrics score the same items one by one: only then can one of them make another look sudden."""

    def measures(self, metric: str, data: "DataShape") -> bool:
        """Whether a metric can be had of data of this shape; True unless overridden."""
        return self.metric(metric) is not None

    def metric(self, name: str) -> Metric | None:
        """The metric of that name, those of single classes among them; None where there is none."""
        found = next((known for known in self.metrics if known.name == name), None)
        kind, _, of = name.partition("[")
        if found is None and of.endswith("]"):
            found = next((replace(known, name=name, of=of[:-1]) for known in self.by_class if known.name == kind), None)
        return found

    @abstractmethod
    def evaluate(self, spec: Any, model: ModelUnderTest, data: "Prepared") -> list[Score]:
        """Score the model on the same held-out items every time; never on anything it trained on."""


LANGUAGE_MODELLING = "language-modelling"


def uses_of(spec: RunSpec, predicts_next: bool) -> "dict[str, Mapping[str, Any]]":
    """What a run measures when it finishes, name -> options: language modelling always, where it can be."""
    uses: dict[str, Mapping[str, Any]] = {use.name: use.options for use in spec.capabilities}
    if predicts_next and not uses.get(LANGUAGE_MODELLING):
        uses[LANGUAGE_MODELLING] = {"tokens": spec.training.final_eval_tokens}
    return uses


def metric_titles(capability: Capability) -> Mapping[str, str]:
    """Metric name -> its title in English."""
    return {m.name: m.title for m in capability.metrics}
