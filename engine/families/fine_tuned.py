"""Models that are there already and learn a labelled task: fine-tuned, probed, adapted, or trained from scratch."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec

from engine import base_folder as folders
from engine.errors import StudyError
from engine.families import families
from engine.families._base_tasks import Task, task_names, task_of
from engine.families.base import Counts, DataShape, Family, LossOutput, ParamGroup, Shape, TrainingHints
from engine.i18n import mark, tr
from engine.model_folders import pad_id
from engine.study import Scalar, TableSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor, nn

RATES = {"full": 1.0, "frozen": 500.0, "lora": 10.0, "scratch": 5.0}
"""What the rate of the study is multiplied by where the study does not say.

Of frozen by the validation loss of ``finetune-bert`` with seed 100 at 1e-4: 1.89 nats at 20, 1.45 at 100, 1.10 at 400
and 1.00 at 800; less than the best, since the features of wider bases are larger. Of lora and scratch as is usual.
"""


class FineTunedSpec(TableSpec, frozen=True, kw_only=True):
    """Which model, for what, and how much of it is trained."""

    base: Annotated[
        str,
        msgspec.Meta(
            title=mark("Base"),
            description=mark(
                "A folder that save_pretrained wrote, or of several such; package:NAME, a Python package that holds "
                "one; run:ID or study:ID, a model or a whole ladder of this home."
            ),
        ),
    ] = ""
    task: Annotated[
        str,
        msgspec.Meta(
            title=mark("Task"), description=mark("What it is to learn, such as text-classification, causal or others.")
        ),
    ] = "text-classification"
    method: Annotated[
        Literal["full", "frozen", "lora", "scratch"],
        msgspec.Meta(
            title=mark("Method"),
            description=mark(
                "full trains every weight; frozen only a new head on the untouched base, a linear probe; lora small "
                "matrices beside the base's; scratch the same architecture from fresh weights."
            ),
        ),
    ] = "full"
    rate_factor: Annotated[
        Annotated[float, msgspec.Meta(gt=0)] | None,
        msgspec.Meta(
            title=mark("Rate factor"),
            description=mark("Multiplies the learning rate; by default 1 for full, for others what suits the task."),
        ),
    ] = None
    lora_rank: Annotated[
        int, msgspec.Meta(title=mark("LoRA rank"), description=mark("Inner width of its matrices."), ge=1, le=1024)
    ] = 8
    lora_alpha: Annotated[
        int,
        msgspec.Meta(
            title=mark("LoRA alpha"), description=mark("What they add is multiplied by alpha over the rank."), ge=1
        ),
    ] = 16
    lora_dropout: Annotated[
        float,
        msgspec.Meta(title=mark("LoRA dropout"), description=mark("Share of their inputs left out."), ge=0, lt=1),
    ] = 0.05
    lora_targets: Annotated[
        str,
        msgspec.Meta(
            title=mark("LoRA targets"),
            description=mark(
                "Modules they stand beside, as in query,value, or all-linear; by default as peft knows the base."
            ),
        ),
    ] = ""
    class_weights: Annotated[
        Literal["none", "balanced"],
        msgspec.Meta(
            title=mark("Class weights"),
            description=mark("balanced lets every class count the same in the loss, however rare it is."),
        ),
    ] = "none"


def tuning_tasks() -> list[Task]:
    """Everything that a base can be tuned for, the most usual first."""
    names = sorted(task_names(), key=lambda name: (name != FineTunedSpec().task, name))
    return [task_of(name) for name in names]


@families.register("fine-tuned")
class FineTuned(Family):
    """Any architecture of transformers, from a folder on disk, with the head of a task; exports as what it came as."""

    name = "fine-tuned"
    version = 1
    title = mark("Fine-tuned: a model that is there already")
    Spec = FineTunedSpec
    modalities = frozenset(task_of(task).modality for task in task_names())
    kind = "finetune"
    learns_classes = True

    def own_sizes(self, spec: FineTunedSpec) -> tuple[int, ...]:
        """``n_params_non_embedding`` of each model in the folder, without a head."""
        return tuple(sorted(self._bases(spec)))

    def fit_data(self, spec: FineTunedSpec, size: int, data: TableSpec) -> TableSpec:
        """Text is read with the base's tokenizer and cut to what it can read; images get its size and colours."""
        return task_of(spec.task).fit_data(self._base(spec, size), data)

    def resolve(self, spec: FineTunedSpec, size: int, data: DataShape, context: int) -> dict[str, Scalar]:
        """The base whose size is ``size``, with its configuration, a hash of its weights and what the task adds."""
        from engine.base_origins import read_origin
        from engine.families._base_model import fresh_modules

        task, base = task_of(spec.task), self._base(spec, size)
        if task.modality != data.modality:
            raise StudyError(
                tr("model.task: {task} cannot be learnt from these data.", task=spec.task),
                tr(
                    "There are: {tasks}.",
                    tasks=", ".join(t for t in task_names() if task_of(t).modality == data.modality),
                ),
            )
        config = base.config
        shape: dict[str, Scalar] = {
            "base": str(base.folder),
            "base_sha256": base.sha256(),
            "config": base.config_text,
            "architecture": str(config["model_type"]),
            "task": spec.task,
            "method": spec.method,
            "rate": spec.rate_factor or {**RATES, **task.rates}[spec.method],
            "d_model": _dimension(config, "hidden_size", "d_model", "n_embd", "dim"),
            "n_layers": _dimension(config, "num_hidden_layers", "n_layer", "n_layers", "num_layers"),
            "vocab_size": _dimension(config, "vocab_size"),
            "pad": pad_id(config),
            "class_weights": _weights(data.class_counts) if spec.class_weights == "balanced" else "",
            **task.dimensions(data),
            **task.base_dimensions(base, data),
        }
        if spec.method == "lora":
            fields = ("lora_rank", "lora_alpha", "lora_dropout", "lora_targets")
            shape |= {field: getattr(spec, field) for field in fields}
        if spec.method == "scratch" and (origin := read_origin(base.folder)):
            shape["origin"] = origin
        fresh = fresh_modules({**shape, "fresh": ""}, base)
        return {**shape, "fresh": ",".join(fresh)}

    def counts(self, shape: Shape, context: int) -> Counts:
        """Counted on the model itself, built without memory; FLOPs are of texts at full length."""
        from engine.families._base_model import measure

        found = measure(shape, context)
        return Counts(
            found.n_params, found.n_params_non_embedding, found.flops_per_token, found.activation_bytes_per_token
        )

    def facts(self, shape: Shape, context: int) -> dict[str, Scalar]:
        """How many parameters are trained."""
        from engine.families._base_model import measure

        return {"n_trainable": measure(shape, context).n_trainable}

    def width(self, shape: Shape) -> int:
        return int(shape["d_model"])

    def build(self, shape: Shape, seed: int, *, training: TrainingHints | None = None) -> "nn.Module":
        from engine.families import _base_model

        return _base_model.build(shape, seed)

    def blank(self, shape: Shape, training: TrainingHints | None = None) -> "nn.Module":
        """Without the base's weights, which may be gone: a finished run has its own."""
        from engine.families import _base_model

        return _base_model.build(shape, 0, blank=True)

    def loss(self, model: "nn.Module", batch: "Mapping[str, Tensor]") -> LossOutput:
        """That of the task."""
        from engine.families import _base_model

        assert isinstance(model, _base_model.FineTuned)
        return model.loss(batch)

    def reads(self, shape: Shape) -> frozenset[str]:
        """That of its task alone."""
        return frozenset({task_of(str(shape["task"])).modality})

    def counted(self, shape: Shape, batch: "Mapping[str, NDArray[Any]]") -> float:
        """That of the task: its targets, each with the weight of its class where classes have weights."""
        return task_of(str(shape["task"])).counted(shape, batch)

    def lengths_vary(self, shape: Shape) -> bool:
        """Of texts."""
        return task_of(str(shape["task"])).reads_text

    def loss_unit(self, shape: Shape) -> str:
        return task_of(str(shape["task"])).unit

    def param_groups(self, model: "nn.Module", shape: Shape, rule: str, base_width: int) -> list[ParamGroup]:
        """Weights decay, biases and what norms learn do not, as in transformers' Trainer; the rule changes nothing."""
        trained = [p for p in model.parameters() if p.requires_grad]
        rate = float(shape["rate"])
        groups = [
            ParamGroup([p for p in trained if p.ndim > 1], rate, decay=True),
            ParamGroup([p for p in trained if p.ndim <= 1], rate, decay=False),
        ]
        return [group for group in groups if group.params]

    def example(self, shape: Shape, batch_size: int, context: int) -> "dict[str, Tensor]":
        import torch

        return task_of(str(shape["task"])).example(shape, batch_size, context, torch.device("cpu"))

    def export_hf(self, model: "nn.Module", shape: Shape, folder: Path, tokenizer: Any) -> None:
        """A folder that the task's class of transformers loads with equal outputs; of LoRA also ``adapter/``."""
        from engine.families import _base_model

        assert isinstance(model, _base_model.FineTuned)
        _base_model.export(model, shape, folder)

    def _bases(self, spec: FineTunedSpec) -> dict[int, folders.BaseModel]:
        """Size -> model of every folder that the spec means."""
        from engine.families._base_model import body_size

        found: dict[int, folders.BaseModel] = {}
        for folder in folders.model_folders(folders.locate(spec.base)):
            base = folders.read_base(folder)
            size = body_size(base.config_text)
            if size in found:
                raise StudyError(
                    tr(
                        "model.base: {one} and {other} are models of one size.",
                        one=str(found[size].folder),
                        other=str(folder),
                    ),
                    tr("Name one of them."),
                )
            found[size] = base
        return found

    def _base(self, spec: FineTunedSpec, size: int) -> folders.BaseModel:
        bases = self._bases(spec)
        if size not in bases:
            raise StudyError(
                tr(
                    "ladder.sizes: no base has {size:,} parameters (there are: {sizes}).",
                    size=size,
                    sizes=", ".join(f"{n:,}" for n in sorted(bases)),
                )
            )
        return bases[size]


def _dimension(config: Mapping[str, Any], *names: str) -> int:
    """The first of several names under which architectures keep one dimension; 0 where none is there."""
    return next((int(config[name]) for name in names if isinstance(config.get(name), int)), 0)


def _weights(counts: tuple[int, ...]) -> str:
    """n / (classes x items of the class), as scikit-learn balances; JSON. A class without items weighs nothing."""
    if not counts:
        raise StudyError(
            tr("model.class_weights: these data do not say how many of each class there are."),
            tr("Leave it out; every class counts as often as it comes."),
        )
    total, k = sum(counts), len(counts)
    return json.dumps([round(total / (k * count), 6) if count else 0.0 for count in counts])
