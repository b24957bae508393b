"""What a fine-tuned model is asked to do: one task per file ``_base_task_NAME.py``, which holds it as ``TASK``.

A task chooses the class of transformers, says what its configuration gets beside the base's, and turns a batch into a
loss. Its file imports torch only inside its functions.
"""

import importlib
import json
import pkgutil
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec
import numpy as np

from engine.base_folder import BaseModel, check_tokenizer
from engine.errors import StudyError
from engine.families.base import DataShape, Family, LossOutput, Modality, Shape
from engine.i18n import mark, tr
from engine.study import Scalar, TableSpec

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from engine.sources.base import Prepared

PREFIX = "_base_task_"


class Task(ABC):
    """One kind of question, and the head that answers it."""

    name: ClassVar[str]
    title: ClassVar[str]
    """What it is called, in English."""
    about: ClassVar[str] = ""
    """What it is, one sentence."""
    needs: ClassVar[str] = ""
    """Which columns its data have, or what else they are, one sentence."""
    modality: ClassVar[Modality]
    """What data it learns from."""
    source: ClassVar[str] = ""
    """The source that reads a person's own data of that kind."""
    builtin: ClassVar["Mapping[str, Scalar]"] = {}
    """Data that are on every machine, as a study's ``data``, to try it with; empty where there are none."""
    headline: ClassVar[tuple[str, str]] = ("validation", "loss")
    """Capability and metric that say how well it is done."""
    weighs_classes: ClassVar[bool] = False
    """Whether rare classes can be made to count as much as common ones."""
    small_recipe: ClassVar["Mapping[str, float]"] = {}
    """Fields of ``training`` that small models and few items need otherwise than ``finetune-bert`` has them."""
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
    counted_rows: ClassVar[int] = 1
    """Items in the batch by which a model is counted: more where what it learns compares them."""

    @abstractmethod
    def dimensions(self, data: DataShape) -> dict[str, Scalar]:
        """What of the data is frozen into the shape; raises ``StudyError`` where they do not serve the task."""

    def tried(self) -> DataShape:
        """Data of the smallest kind, by which a base is told to be one for this task."""
        return DataShape(self.modality, n_classes=2, fixed_context=32, n_train_items=2, class_names=("0", "1"))

    def begins_with(self, family: Family, shape: Shape) -> bool:
        """Whether a model that the lab has trained may be a base of it: here whatever reads text."""
        return bool(family.reads(shape) & {"tokens", "labelled", "instructions"})

    def base_dimensions(self, base: BaseModel, data: DataShape) -> dict[str, Scalar]:
        """What of the base is frozen into the shape beside its configuration, as how it wants its images."""
        return {}

    def fit_data(self, base: BaseModel, data: TableSpec) -> TableSpec:
        """The data's spec with what follows from the base: its tokenizer, and what it can read at most."""
        changed: dict[str, Any] = {}
        if getattr(data, "tokenizer", None) == "":
            check_tokenizer(base)
            changed["tokenizer"] = str(base.folder)
        if base.max_positions and getattr(data, "max_length", 0) > base.max_positions:
            changed["max_length"] = base.max_positions
        return msgspec.structs.replace(data, **changed) if changed else data

    @abstractmethod
    def settings(self, shape: Shape) -> dict[str, Any]:
        """Fields of the configuration of transformers that the head needs: ``id2label``, ``num_labels``."""

    def heads(self, model: "nn.Module") -> tuple[str, ...]:
        """Modules of a head that the base may have brought itself; trained where the rest of it is held fast."""
        return ()

    def loaded(self, model: "nn.Module", shape: Shape) -> None:
        """Called when the base's weights are in ``model``, to begin with for what they do not bring."""
        return None

    def lora_targets(self, model: "nn.Module", shape: Shape) -> list[str]:
        """Modules that small matrices stand beside where the study names none; all linear ones where it is empty.

        Raises ``StudyError`` where there is nothing for them to stand beside.
        """
        return []

    def exported(self, shape: Shape, folder: Path) -> None:
        """Called with the folder of an export, to add what its inputs are prepared by."""
        return None

    def seen(self, prepared: "Prepared", shape: Shape, batch_size: int, seed: int) -> "list[Mapping[str, Any]]":
        """The first items of the first batch as the model reads them; see ``TokenRows.seen``."""
        whole: Any = prepared
        found: list[Mapping[str, Any]] = whole.seen(batch_size=batch_size, seed=seed)
        return found

    def ready(self, batch: "Mapping[str, Tensor]", shape: Shape) -> "Mapping[str, Tensor]":
        """A batch of the source with what has to be done to it for this base."""
        return batch

    @abstractmethod
    def outputs(self, model: "nn.Module", batch: "Mapping[str, Tensor]") -> "Tensor":
        """What the head gives for a batch."""

    @abstractmethod
    def loss(self, model: "nn.Module", batch: "Mapping[str, Tensor]", weights: "Tensor | None") -> LossOutput:
        """Mean training loss of a batch, whose ``targets`` say what is right; ``weights`` are (classes,) or None."""

    def counted(self, shape: Shape, batch: "Mapping[str, NDArray[Any]]") -> float:
        """What the loss of a batch is a mean over: targets that are not left out, by the weight of their class."""
        targets = batch["targets"]
        kept = targets[targets >= 0]
        if not shape.get("class_weights"):
            return kept.size
        return float(np.asarray(json.loads(str(shape["class_weights"])))[kept].sum())

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
