"""Telling what each word of a sentence is: a head on what the base makes of the word's first token (Devlin 2019)."""

import json
from typing import TYPE_CHECKING, Any, ClassVar

from engine.errors import StudyError
from engine.families._base_task_text_classification import FEWEST_TOKENS, class_settings, model_inputs
from engine.families._base_tasks import Task
from engine.families.base import DataShape, LossOutput, Shape
from engine.i18n import mark, tr
from engine.study import Scalar

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch
    from torch import Tensor, nn


class TokenClassification(Task):
    """``inputs`` and ``mask`` (batch, t), perhaps ``types``; ``targets`` int64 (batch, t), negative to be left out."""

    name = "token-classification"
    title = mark("Token classification: a tag for each word")
    about = mark("Tell what each word of a sentence is, such as a name of a person or a part of speech.")
    needs = mark("One column holds the words of each sentence, one as many tags; or CoNLL files.")
    source = "tagged-table"
    builtin: ClassVar["Mapping[str, Scalar]"] = {"source": "tagged-table"}
    headline = ("tagging", "macro_f1")
    weighs_classes = True
    modality = "tagged"
    auto_class = "AutoModelForTokenClassification"
    peft_type = "TOKEN_CLS"
    unit = mark("nats per word")

    def dimensions(self, data: DataShape) -> dict[str, Scalar]:
        if data.n_classes < 2:
            raise StudyError(tr("data: the task token-classification needs at least two tags."))
        return {"n_outputs": data.n_classes, "labels": json.dumps(data.class_names, ensure_ascii=False)}

    def settings(self, shape: Shape) -> dict[str, Any]:
        return {**class_settings(shape), "problem_type": None}

    def outputs(self, model: "nn.Module", batch: "Mapping[str, Tensor]") -> "Tensor":
        """Logits (batch, t, tags)."""
        out: Tensor = model(**model_inputs(batch)).logits
        return out

    def loss(self, model: "nn.Module", batch: "Mapping[str, Tensor]", weights: "Tensor | None") -> LossOutput:
        """Cross-entropy in nats, mean over the words of the batch; with weights their weighted mean."""
        from torch.nn import functional

        logits = self.outputs(model, batch).float().flatten(0, 1)
        return LossOutput(functional.cross_entropy(logits, batch["targets"].flatten(), weights, ignore_index=-100))

    def example(self, shape: Shape, rows: int, context: int, device: "torch.device") -> "dict[str, Tensor]":
        """Random tokens, each the first of a word."""
        import torch

        size = (rows, context)
        tokens = torch.randint(0, max(FEWEST_TOKENS, int(shape["vocab_size"])), size, device=device)
        return {"inputs": tokens, "targets": torch.randint(0, int(shape["n_outputs"]), size, device=device)}


TASK = TokenClassification()
