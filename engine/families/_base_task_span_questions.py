"""Marking in a text the answer to a question: a head that scores where it begins and where it ends (Devlin 2019)."""

from typing import TYPE_CHECKING, Any, ClassVar

from engine.families._base_task_text_classification import FEWEST_TOKENS, model_inputs
from engine.families._base_tasks import Task
from engine.families.base import DataShape, LossOutput, Shape
from engine.i18n import mark
from engine.study import Scalar

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch
    from torch import Tensor, nn


class SpanQuestions(Task):
    """``inputs`` and ``mask`` (batch, t), perhaps ``types``; ``targets`` int64 (batch, 2), the answer's first and last
    token, or the first of all twice where there is none (Rajpurkar 2018)."""

    name = "span-questions"
    title = mark("Questions answered by a span of a text")
    about = mark("Mark in a text the words that answer a question, or say that there are none.")
    needs = mark("One column holds texts, one the questions, one the answers as they stand there; or SQuAD's files.")
    source = "question-table"
    builtin: ClassVar["Mapping[str, Scalar]"] = {"source": "question-table"}
    headline = ("question-answering", "f1")
    modality = "questions"
    auto_class = "AutoModelForQuestionAnswering"
    peft_type = "QUESTION_ANS"
    unit = mark("nats per end of an answer")

    def dimensions(self, data: DataShape) -> dict[str, Scalar]:
        return {}

    def settings(self, shape: Shape) -> dict[str, Any]:
        return {"num_labels": 2}

    def outputs(self, model: "nn.Module", batch: "Mapping[str, Tensor]") -> "Tensor":
        """Scores (batch, t, 2) of every token as the first and as the last of the answer."""
        import torch

        found = model(**model_inputs(batch))
        return torch.stack((found.start_logits, found.end_logits), dim=-1)

    def loss(self, model: "nn.Module", batch: "Mapping[str, Tensor]", weights: "Tensor | None") -> LossOutput:
        """Cross-entropy in nats over the tokens that are no padding, mean of both ends."""
        from torch.nn import functional

        scores = self.outputs(model, batch).float()
        if "mask" in batch:
            scores = scores.masked_fill(batch["mask"][..., None] == 0, float("-inf"))
        return LossOutput(functional.cross_entropy(scores, batch["targets"]))

    def example(self, shape: Shape, rows: int, context: int, device: "torch.device") -> "dict[str, Tensor]":
        """Random tokens and answers."""
        import torch

        size = (rows, context)
        tokens = torch.randint(0, max(FEWEST_TOKENS, int(shape["vocab_size"])), size, device=device)
        return {"inputs": tokens, "targets": torch.randint(0, context, (rows, 2), device=device)}


TASK = SpanQuestions()
