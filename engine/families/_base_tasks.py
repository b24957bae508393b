"""What a fine-tuned model is asked to do: one task per file ``_base_task_NAME.py``, which holds it as ``TASK``.

A task chooses the class of transformers, says what its configuration gets beside the base's, and turns a batch into a
loss. Its file imports torch only inside its functions.
"""

import importlib
import pkgutil
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from engine.errors import StudyError
from engine.families.base import DataShape, LossOutput, Modality, Shape
from engine.i18n import mark, tr
from engine.study import Scalar

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch
    from torch import Tensor, nn

PREFIX = "_base_task_"


class Task(ABC):
    """One kind of question, and the head that answers it."""

    name: ClassVar[str]
    modality: ClassVar[Modality]
    """What data it learns from."""
    auto_class: ClassVar[str]
    """Class of transformers that puts the head on a body: ``AutoModelForSequenceClassification``."""
    peft_type: ClassVar[str]
    """What peft calls the task: ``SEQ_CLS``."""
    unit: ClassVar[str] = mark("nats per item")
    """What the loss is measured in."""
    rates: ClassVar["Mapping[str, float]"] = {}
    """What the rate of the study is multiplied by, of methods for which it is another than for a fresh head."""
    reads_text: ClassVar[bool] = True
    """Whether the base must have a tokenizer."""

    @abstractmethod
    def dimensions(self, data: DataShape) -> dict[str, Scalar]:
        """What of the data is frozen into the shape; raises ``StudyError`` where they do not serve the task."""

    @abstractmethod
    def settings(self, shape: Shape) -> dict[str, Any]:
        """Fields of the configuration of transformers that the head needs: ``id2label``, ``num_labels``."""

    def heads(self, model: "nn.Module") -> tuple[str, ...]:
        """Modules of a head that the base may have brought itself; trained where the rest of it is held fast."""
        return ()

    def loaded(self, model: "nn.Module", shape: Shape) -> None:
        """Called when the base's weights are in ``model``, to begin with for what they do not bring."""
        return None

    @abstractmethod
    def outputs(self, model: "nn.Module", batch: "Mapping[str, Tensor]") -> "Tensor":
        """What the head gives for a batch."""

    @abstractmethod
    def loss(self, model: "nn.Module", batch: "Mapping[str, Tensor]", weights: "Tensor | None") -> LossOutput:
        """Mean training loss of a batch, whose ``targets`` say what is right; ``weights`` are (classes,) or None."""

    @abstractmethod
    def example(self, shape: Shape, rows: int, context: int, device: "torch.device") -> "dict[str, Tensor]":
        """A batch of the right shapes, for counting and timing."""


def task_names() -> list[str]:
    """Every task that there is, by name."""
    package = importlib.import_module("engine.families")
    found = (module.name for module in pkgutil.iter_modules(package.__path__))
    return sorted(name.removeprefix(PREFIX).replace("_", "-") for name in found if name.startswith(PREFIX))


def task_of(name: str) -> Task:
    """The task of that name; raises ``StudyError`` naming ``model.task``."""
    if name not in task_names():
        raise StudyError(
            tr("model.task: unknown task {name!r} (there are: {known}).", name=name, known=", ".join(task_names()))
        )
    task: Task = importlib.import_module(f"engine.families.{PREFIX}{name.replace('-', '_')}").TASK
    return task
