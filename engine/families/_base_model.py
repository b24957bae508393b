"""A transformers model as a family of the lab: built, loaded, counted and written out again."""

import copy
import json
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm as batchnorm

from engine.base_folder import BaseModel, read_base
from engine.base_origins import FILE, Origin, parsed_origin
from engine.errors import StudyError
from engine.families._base_tasks import Task, task_of
from engine.families.base import LossOutput, Shape
from engine.i18n import tr
from engine.quiet import making_models, quiet_torchao
from engine.study import Scalar

quiet_torchao()  # transformers and peft load it where it is installed
ALL_LINEAR = "all-linear"
ADAPTER = "adapter"
"""Subfolder of an export that holds what LoRA learned alone."""


class FineTuned(nn.Module):
    """A model of transformers and the task it is tuned for. ``probe`` keeps dropout off: the base is only read.

    What batch normalisation knows of a ``pretrained`` base's features stays: a few small batches know no better.
    """

    class_weights: Tensor | None

    def __init__(
        self, model: nn.Module, task: Task, shape: Shape, class_weights: Tensor | None, *, probe: bool, pretrained: bool
    ) -> None:
        super().__init__()
        self.model, self.task, self.shape, self.probe = model, task, shape, probe
        self.compute_dtype = torch.float32
        self._averaging = [m for m in model.modules() if isinstance(m, batchnorm)] if pretrained else []
        self.register_buffer("class_weights", class_weights, persistent=False)
        self.register_state_dict_post_hook(_without_twins)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_pre_hook(_with_twins)  # type: ignore[no-untyped-call]

    def train(self, mode: bool = True) -> "FineTuned":
        """As ``nn.Module.train``, but that a probed base stays as it is."""
        super().train(mode)
        if self.probe:
            self.model.eval()
        for module in self._averaging:
            module.eval()
        return self

    def configure(self, *, compute_dtype: torch.dtype, attention: str = "") -> None:
        """Set what matmuls are computed in, in training and out of it; attention is transformers' own."""
        self.compute_dtype = compute_dtype

    def outputs(self, batch: Mapping[str, Tensor]) -> Tensor:
        """What the head gives for a batch."""
        with self._casting():
            return self.task.outputs(self.model, self.task.ready(batch, self.shape))

    def loss(self, batch: Mapping[str, Tensor]) -> LossOutput:
        """That of the task."""
        with self._casting():
            return self.task.loss(self.model, self.task.ready(batch, self.shape), self.class_weights)

    def _casting(self) -> torch.autocast:
        device = next(self.model.parameters()).device.type
        return torch.autocast(device, torch.bfloat16, enabled=self.compute_dtype is torch.bfloat16)

    def forward(self, inputs: Tensor) -> Tensor:
        """The same for bare inputs, without a mask."""
        return self.outputs({"inputs": inputs})


@dataclass(frozen=True, slots=True)
class Measured:
    """What a shape is found to be when it is built without memory. FLOPs and bytes are per token."""

    n_params: int
    n_params_non_embedding: int
    n_trainable: int
    flops_per_token: float
    activation_bytes_per_token: float


def _twins(model: nn.Module) -> dict[str, str]:
    """Other name -> first name of every tensor that goes by several, as an output layer tied to the embeddings."""
    first: dict[int, str] = {}
    named = [(name, first.setdefault(id(p), name)) for name, p in model.named_parameters(remove_duplicate=False)]
    return {name: kept for name, kept in named if name != kept}


def _without_twins(model: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """A file of weights holds each tensor once."""
    for name in _twins(model):
        state.pop(prefix + name, None)


def _with_twins(model: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    for name, kept in _twins(model).items():
        if prefix + kept in state:
            state.setdefault(prefix + name, state[prefix + kept])


def build(shape: Shape, seed: int, *, blank: bool = False) -> FineTuned:
    """The model of a shape: base weights from its folder, all else drawn from ``seed``; ``blank`` reads no weights.

    Raises ``StudyError`` where the base cannot be read any more, or is not what it was when the run was made.
    """
    task, method = task_of(str(shape["task"])), str(shape["method"])
    with making_models(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = configuration(shape)
        origin = None if blank else parsed_origin(shape)
        if origin is not None:
            model = _as_drawn(origin, task, config, seed)
        elif blank or method == "scratch":
            model = _auto(task).from_config(config, dtype=torch.float32)
        else:
            model = _loaded(shape, task, config)
        return _prepared(shape, task, model)


def configuration(shape: Shape) -> Any:
    """The configuration of transformers that the frozen text describes, with what the task adds.

    Raises ``StudyError`` for an architecture that transformers does not know.
    """
    task, config = task_of(str(shape["task"])), parsed(str(shape["config"]))
    for name, value in task.settings(shape).items():
        setattr(config, name, value)
    config.architectures = config.architectures or []  # where there are several heads, as of DeiT, it looks here
    if task.reads_text and getattr(config, "pad_token_id", None) is None:
        config.pad_token_id = int(shape["pad"])
    return config


def body_size(config_text: str) -> int:
    """``n_params_non_embedding`` of the base alone: its body, without any head."""
    return _body_size(config_text)


@lru_cache(maxsize=64)
def _body_size(config_text: str) -> int:
    with making_models(), torch.device("meta"):
        return _non_embedding(_transformers("AutoModel").from_config(parsed(config_text)))


def fresh_modules(shape: Shape, base: BaseModel) -> tuple[str, ...]:
    """Modules that the base's weights do not bring: the head, and a pooler that was never trained.

    Raises ``StudyError`` where the weights do not fit the configuration.
    """
    task = task_of(str(shape["task"]))
    with making_models(), torch.device("meta"):
        model = _auto(task).from_config(configuration(shape))
    prefix = f"{model.base_model_prefix}."
    there = {name.removeprefix(prefix): size for name, size in _stored_shapes(base).items()}
    found = {name: there.get(name.removeprefix(prefix)) for name, _ in model.named_parameters()}
    if any(size is None and name.startswith(prefix) for name, size in found.items()):
        # transformers calls some modules otherwise in memory than in files: only loading tells what is not there.
        with making_models():
            found |= _sizes_loaded(base, task, model, configuration(shape))
    fresh: dict[str, None] = {}
    for name, parameter in model.named_parameters():
        size = found[name]
        if size == tuple(parameter.shape):
            continue
        inside = name.startswith(prefix) and "pooler" not in name
        if inside:
            why = tr("it is missing") if size is None else tr("its size is {size}", size=str(size))
            raise StudyError(
                tr(
                    "model.base: the weights in {path} do not fit its config.json ({name}: {why}).",
                    path=str(base.folder),
                    name=name,
                    why=why,
                ),
                tr("Give a folder whose files belong together."),
            )
        fresh[name.rpartition(".")[0]] = None
    return tuple(fresh)


def measure(shape: Shape, context: int) -> Measured:
    """Count a shape: parameters, FLOPs of a forward and backward pass, and bytes that the latter keeps."""
    return _measure(tuple(sorted(shape.items())), context)


@lru_cache(maxsize=256)
def _measure(items: tuple[tuple[str, Scalar], ...], context: int) -> Measured:
    from torch.multiprocessing import reductions
    from torch.utils.flop_counter import FlopCounterMode

    reference: Any = reductions.StorageWeakRef
    shape = dict(items)
    task = task_of(str(shape["task"]))
    rows = task.counted_rows
    kept: dict[object, torch.UntypedStorage] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()  # what views share is kept once
        kept[reference(storage)] = storage
        return tensor

    device = torch.device("meta")
    with making_models(), device:
        plain = _auto(task).from_config(configuration(shape), attn_implementation="eager")
        plain.config.pad_token_id = None  # a warning of padding without a mask would look at tokens that are not there
        model = _prepared(shape, task, plain)
    model.train()
    counter = FlopCounterMode(display=False)
    with counter, torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        batch = task.example(shape, rows, context, device)
        torch.autograd.backward(task.loss(model.model, task.ready(batch, shape), None).loss)
    parameters = list(model.parameters())
    for parameter in parameters:
        kept.pop(reference(parameter.untyped_storage()), None)
    return Measured(
        n_params=sum(p.numel() for p in parameters),
        n_params_non_embedding=_non_embedding(model),
        n_trainable=sum(p.numel() for p in parameters if p.requires_grad),
        flops_per_token=counter.get_total_flops() / (rows * context),
        activation_bytes_per_token=sum(storage.nbytes() for storage in kept.values()) / (rows * context),
    )


def export(model: FineTuned, shape: Shape, folder: Path) -> None:
    """What plain transformers loads; of LoRA merged into the base, and beside it the adapter alone for peft."""
    with making_models():
        whole = model.model
        if shape["method"] == "lora":
            adapted: Any = copy.deepcopy(whole)
            for settings in adapted.peft_config.values():
                settings.base_model_name_or_path = str(shape["base"])
            # "auto" would ask the hub whether the base's vocabulary was another.
            adapted.save_pretrained(folder / ADAPTER, save_embedding_layers=False)
            (folder / ADAPTER / "README.md").unlink(missing_ok=True)
            whole = adapted.merge_and_unload()
        saved: Any = whole
        saved.save_pretrained(folder)
    model.task.exported(shape, folder)


def _prepared(shape: Shape, task: Task, model: nn.Module) -> FineTuned:
    """With what is not to be trained held fast, adapters put in and the weights of the classes at hand."""
    method, fresh = str(shape["method"]), [name for name in str(shape["fresh"]).split(",") if name]
    if method == "frozen":
        trained = {*fresh, *task.heads(model)}
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name.rpartition(".")[0] in trained)
    if method == "lora":
        model = _adapted(shape, task, model, fresh)
    pretrained = method != "scratch" or bool(shape.get("origin"))
    weights = json.loads(str(shape["class_weights"])) if shape.get("class_weights") else None
    known = None if weights is None else torch.tensor(weights)
    return FineTuned(model, task, shape, known, probe=method == "frozen", pretrained=pretrained)


def _adapted(shape: Shape, task: Task, model: nn.Module, fresh: list[str]) -> nn.Module:
    from peft import LoraConfig, get_peft_model
    from peft.utils.constants import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING

    targets: list[str] | str = [name.strip() for name in str(shape["lora_targets"]).split(",") if name.strip()]
    known = str(shape["architecture"]) in TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING
    if not (targets or known):
        targets = task.lora_targets(model, shape) or ALL_LINEAR
    if targets == [ALL_LINEAR]:
        targets = ALL_LINEAR
    # A head is trained whole: peft adds it by its own name, and would wrap its parts once more.
    heads = {name if "pooler" in name else name.partition(".")[0] for name in fresh}
    config = LoraConfig(
        task_type=task.peft_type or None,
        r=int(shape["lora_rank"]),
        lora_alpha=int(shape["lora_alpha"]),
        lora_dropout=float(shape["lora_dropout"]),
        target_modules=targets or None,
        modules_to_save=sorted(heads) or None,
    )
    try:
        with warnings.catch_warnings():
            # Of names in transformers that peft still uses, and of GPT-2's transposed matrices, which it sees itself.
            warnings.simplefilter("ignore", FutureWarning)
            warnings.filterwarnings("ignore", "fan_in_fan_out")
            adapted: nn.Module = get_peft_model(model, config)
    except ValueError as error:
        raise StudyError(
            tr("model.lora_targets: {why}.", why=str(error).partition("\n")[0].rstrip(".")),
            tr("Name modules of the base, such as query,value, or all-linear."),
        ) from None
    return adapted


def _loaded(shape: Shape, task: Task, config: Any) -> nn.Module:
    folder = Path(str(shape["base"]))
    if not folder.is_dir():
        raise StudyError(
            tr("model.base: {path} is there no more.", path=str(folder)), tr("Put it back, or start from another base.")
        )
    base = read_base(folder)
    if base.sha256() != shape["base_sha256"]:
        raise StudyError(
            tr("model.base: the weights in {path} have changed since this run was made.", path=str(folder)),
            tr("Start the study again to use them as they are now."),
        )
    model, _ = _read(folder, task, config)
    task.loaded(model, shape)
    return model


def _as_drawn(origin: Origin, task: Task, config: Any, seed: int) -> nn.Module:
    """The model with the weights that its family in the lab begins with; its head is drawn as that of any method."""
    with tempfile.TemporaryDirectory() as folder:
        origin.export(origin.build(seed), Path(folder))
        torch.manual_seed(seed)  # modules have drawn from it
        model, info = _read(Path(folder), task, config)
    body: Any = model
    prefix = f"{body.base_model_prefix}."
    lacking = [*info["missing_keys"], *(name for name, _, _ in info["mismatched_keys"])]
    if any(name.startswith(prefix) and "pooler" not in name for name in lacking):
        raise StudyError(
            tr("model.base: {file} does not fit the model beside it.", file=FILE),
            tr("Remove it, and transformers draws what a network from scratch begins with."),
        )
    return model


def _read(folder: Path, task: Task, config: Any) -> tuple[nn.Module, Mapping[str, Any]]:
    """The model with the folder's weights, and what transformers says of those that it did not find there."""
    try:
        model, info = _auto(task).from_pretrained(
            folder,
            config=config,
            dtype=torch.float32,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            ignore_mismatched_sizes=True,  # of a head for other classes; the body has been checked
            output_loading_info=True,
        )
    except (OSError, RuntimeError, ValueError, SafetensorError) as error:
        why = str(error).strip().partition("\n")[0].rstrip(".")
        raise StudyError(tr("model.base: {path} cannot be read: {why}.", path=str(folder), why=why)) from None
    return model, info


def _sizes_loaded(base: BaseModel, task: Task, model: nn.Module, config: Any) -> dict[str, tuple[int, ...] | None]:
    """Shape that the base has of every parameter of ``model``, None where it has none, as loading finds them."""
    with torch.random.fork_rng(devices=[]):
        _, info = _read(base.folder, task, config)
    found: dict[str, tuple[int, ...] | None] = {name: tuple(p.shape) for name, p in model.named_parameters()}
    found |= dict.fromkeys(info["missing_keys"])
    return found | {name: tuple(stored) for name, stored, _ in info["mismatched_keys"]}


def parsed(config_text: str) -> Any:
    """The configuration of transformers; raises ``StudyError`` for an architecture that it does not know."""
    from transformers import CONFIG_MAPPING

    fields = json.loads(config_text)
    kind = str(fields["model_type"])
    if kind not in CONFIG_MAPPING:
        raise StudyError(tr("model.base: transformers does not know the architecture {kind}.", kind=kind))
    return CONFIG_MAPPING[kind].from_dict(fields)


def _auto(task: Task) -> Any:
    return _transformers(task.auto_class)


def _transformers(name: str) -> Any:
    import transformers

    return getattr(transformers, name)


def _stored_shapes(base: BaseModel) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every tensor of the base; BERT's oldest files call what a norm learns gamma and beta."""
    found: dict[str, tuple[int, ...]] = {}
    for path in base.weights:
        with safe_open(path, "pt") as file:
            for name in file.keys():
                renamed = name.replace("LayerNorm.gamma", "LayerNorm.weight").replace(
                    "LayerNorm.beta", "LayerNorm.bias"
                )
                found[renamed] = tuple(file.get_slice(name).get_shape())
    return found


def _non_embedding(model: nn.Module) -> int:
    embedded = {id(p) for module in model.modules() if isinstance(module, nn.Embedding) for p in module.parameters()}
    return sum(p.numel() for p in model.parameters() if id(p) not in embedded)
