"""Going on with a text as it should: next tokens, of which only those of the response are learnt (Ouyang 2022)."""

from typing import TYPE_CHECKING, Any, ClassVar

from engine.errors import StudyError
from engine.families._base_task_text_classification import FEWEST_TOKENS, model_inputs
from engine.families._base_tasks import Task
from engine.families.base import DataShape, Family, LossOutput, Shape
from engine.i18n import mark, tr
from engine.study import Scalar

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch
    from torch import Tensor, nn


class Causal(Task):
    """``inputs`` and ``mask`` (batch, t); ``targets`` int64 (batch, t), the token after each, negative to be left out.

    Of a frozen base its output layer alone is trained, apart from the embeddings that it may have been tied to.
    """

    name = "causal"
    title = mark("Instruction tuning")
    about = mark("Give the response that belongs to a prompt, or go on writing a text, token by token.")
    needs = mark("One column holds the prompts, one the response to each; or one alone texts to go on writing.")
    source = "instruction-table"
    builtin: ClassVar["Mapping[str, Scalar]"] = {"source": "instruction-table"}
    headline = ("responses", "loss")
    modality = "instructions"
    auto_class = "AutoModelForCausalLM"
    peft_type = "CAUSAL_LM"
    unit = mark("nats per token")
    rates: ClassVar["Mapping[str, float]"] = {"frozen": 10.0}
    """The output layer has learnt before: a rate for fresh heads would undo it. As LoRA's; not tuned."""

    def begins_with(self, family: Family, shape: Shape) -> bool:
        """What predicts the next token, and what was tuned for that already."""
        return family.predicts_next or "instructions" in family.reads(shape)

    def dimensions(self, data: DataShape) -> dict[str, Scalar]:
        return {}

    def settings(self, shape: Shape) -> dict[str, Any]:
        check_causal(str(shape["architecture"]))
        return {"tie_word_embeddings": False} if shape["method"] == "frozen" else {}

    def heads(self, model: "nn.Module") -> tuple[str, ...]:
        output = _embeddings(model)[1]
        return tuple(name for name, module in model.named_modules() if module is output)

    def loaded(self, model: "nn.Module", shape: Shape) -> None:
        """An output layer that was the embeddings begins as they are."""
        if set(self.heads(model)) & set(str(shape["fresh"]).split(",")):
            given, output = _embeddings(model)
            output.weight.data.copy_(given.weight.data)

    def outputs(self, model: "nn.Module", batch: "Mapping[str, Tensor]") -> "Tensor":
        """Logits (batch, t, vocab)."""
        out: Tensor = model(**model_inputs(batch)).logits
        return out

    def loss(self, model: "nn.Module", batch: "Mapping[str, Tensor]", weights: "Tensor | None") -> LossOutput:
        """Cross-entropy in nats, mean over the tokens that are to be learnt."""
        from torch.nn import functional

        logits = self.outputs(model, batch).float()
        targets = batch["targets"].flatten()
        return LossOutput(functional.cross_entropy(logits.flatten(0, 1), targets, ignore_index=-100))

    def example(self, shape: Shape, rows: int, context: int, device: "torch.device") -> "dict[str, Tensor]":
        """Random tokens, all of them to be learnt."""
        import torch

        size = (rows, context)
        inputs, targets = (
            torch.randint(0, max(FEWEST_TOKENS, int(shape["vocab_size"])), size, device=device) for _ in range(2)
        )
        return {"inputs": inputs, "targets": targets}


def check_causal(architecture: str) -> None:
    """Raise ``StudyError`` for what predicts no next token, or sees it while it does."""
    from transformers.models.auto import modeling_auto as known

    causal = architecture in known.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    if not causal or architecture in known.MODEL_FOR_MASKED_LM_MAPPING_NAMES:
        raise StudyError(
            tr("model.base: {kind} is no causal language model, which the task causal needs.", kind=architecture),
            tr("Give a base such as GPT-2, Llama or Qwen, or a gpt of this home."),
        )


def _embeddings(model: "nn.Module") -> tuple[Any, Any]:
    """The layer that reads tokens and the one that scores them."""
    whole: Any = model
    return whole.get_input_embeddings(), whole.get_output_embeddings()


TASK = Causal()
