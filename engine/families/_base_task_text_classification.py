"""Telling which class a text is of: a head on what the base makes of its first or last token (Devlin 2019)."""

import json
from typing import TYPE_CHECKING, Any, ClassVar

from engine.errors import StudyError
from engine.families._base_tasks import Task
from engine.families.base import DataShape, LossOutput, Shape
from engine.i18n import mark, tr
from engine.study import Scalar

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch
    from torch import Tensor, nn

FEWEST_TOKENS = 4


class TextClassification(Task):
    """``inputs`` (batch, t), ``mask`` (batch, t) and perhaps ``types``; ``targets`` int64 (batch,)."""

    name = "text-classification"
    title = mark("Text classification")
    about = mark("Tell which class a text is of.")
    needs = mark("One column holds the texts, one the class of each.")
    source = "labelled-table"
    builtin: ClassVar["Mapping[str, Scalar]"] = {"source": "labelled-table"}
    headline = ("classification", "f1")
    weighs_classes = True
    modality = "labelled"
    auto_class = "AutoModelForSequenceClassification"
    peft_type = "SEQ_CLS"

    def dimensions(self, data: DataShape) -> dict[str, Scalar]:
        if data.n_classes < 2:
            raise StudyError(tr("data: the task text-classification needs at least two classes."))
        return {"n_outputs": data.n_classes, "labels": json.dumps(data.class_names, ensure_ascii=False)}

    def settings(self, shape: Shape) -> dict[str, Any]:
        return class_settings(shape)

    def outputs(self, model: "nn.Module", batch: "Mapping[str, Tensor]") -> "Tensor":
        """Logits (batch, classes)."""
        out: Tensor = model(**model_inputs(batch)).logits
        return out

    def loss(self, model: "nn.Module", batch: "Mapping[str, Tensor]", weights: "Tensor | None") -> LossOutput:
        """Cross-entropy in nats; with weights their weighted mean."""
        from torch.nn import functional

        return LossOutput(functional.cross_entropy(self.outputs(model, batch).float(), batch["targets"], weights))

    def example(self, shape: Shape, rows: int, context: int, device: "torch.device") -> "dict[str, Tensor]":
        """Random tokens and classes."""
        import torch

        tokens = torch.randint(0, max(FEWEST_TOKENS, int(shape["vocab_size"])), (rows, context), device=device)
        targets = torch.randint(0, int(shape["n_outputs"]), (rows,), device=device)
        return {"inputs": tokens, "targets": targets}


def class_settings(shape: Shape) -> dict[str, Any]:
    """What the configuration of transformers says of the classes, whatever is classified."""
    names = dict(enumerate(json.loads(str(shape["labels"]))))
    return {
        "num_labels": int(shape["n_outputs"]),
        "id2label": names,
        "label2id": {name: number for number, name in names.items()},
        "problem_type": "single_label_classification",
    }


def model_inputs(batch: "Mapping[str, Tensor]") -> "dict[str, Tensor]":
    """A batch under the names that transformers' models of text take."""
    names = {"inputs": "input_ids", "mask": "attention_mask", "types": "token_type_ids"}
    return {name: batch[key] for key, name in names.items() if key in batch}


TASK = TextClassification()
