"""PEFT adapters: a folder of LoRA or IA3 weights put onto the model it was made for, and written as one plain folder.

Of ``adapter_config.json`` only what describes the adapter is used: nothing in it names code to be imported. Weights are
safetensors. The merged folder is a base like any other: for fine-tuning, for ``evaluate``, for the harness.
"""

import json
import shutil
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import InputError
from engine.files import require_space, sha256
from engine.i18n import tr
from engine.importing.folders import load_folder, read_config, require_safetensors
from engine.quiet import making_models

if TYPE_CHECKING:
    from torch import Tensor

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_KINDS: Mapping[str, tuple[str, ...]] = {
    "LORA": (
        "r",
        "lora_alpha",
        "target_modules",
        "exclude_modules",
        "modules_to_save",
        "fan_in_fan_out",
        "bias",
        "use_rslora",
        "use_dora",
        "rank_pattern",
        "alpha_pattern",
        "layers_to_transform",
        "layers_pattern",
        "task_type",
    ),
    "IA3": (
        "target_modules",
        "exclude_modules",
        "feedforward_modules",
        "modules_to_save",
        "fan_in_fan_out",
        "task_type",
    ),
}
"""Kind of adapter -> fields of its configuration that are used; others, such as paths and names of code, are not."""
_HEADS = {"SEQ_CLS": "AutoModelForSequenceClassification", "TOKEN_CLS": "AutoModelForTokenClassification"}
_TOKENIZER = ("tokenizer*", "vocab*", "merges.txt", "special_tokens_map.json", "spiece.model", "added_tokens.json")


@dataclass(frozen=True, slots=True)
class Merged:
    """A folder that was written, from what, and how many tensors of the model the adapter changed."""

    folder: Path
    base: Path
    kind: str
    n_changed: int


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds an adapter, by its configuration."""
    return (folder / CONFIG).is_file()


def merge_adapter(adapter: Path, out: Path, base: Path | None = None) -> Merged:
    """Write ``base`` with the adapter merged into it to ``out``, whole or not at all.

    ``base`` is a ``save_pretrained`` folder; without it the folder that the adapter itself names.

    Raises:
        InputError: the adapter is damaged, pickled or of another kind, or was made for another model.
        ResourceError: the disk is full or cannot be written.
    """
    told = _config(adapter)
    kind = str(told.get("peft_type"))
    if kind not in _KINDS:
        raise InputError(
            tr("{path} is an adapter of the kind {kind}, which cannot be merged.", path=adapter.name, kind=kind),
            tr("Those of the kinds {known} can.", known=", ".join(_KINDS)),
        )
    require_safetensors(adapter, "adapter_model")
    base = base or _named_base(adapter)
    read_config(base)
    require_safetensors(base)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(tr("{path} is there already.", path=str(out)), tr("Name a new folder."))
    require_space(out.absolute().parent, sum(path.stat().st_size for path in base.glob("*.safetensors")))
    model, n_changed = _merge(adapter, kind, told, base)
    _write(model, adapter, base, out, kind)
    return Merged(out, base, kind, n_changed)


def _config(adapter: Path) -> dict[str, Any]:
    try:
        told = json.loads((adapter / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(tr("{path} cannot be read: {why}.", path=str(adapter / CONFIG), why=str(error))) from None
    if not isinstance(told, dict):
        raise InputError(tr("{path} cannot be read: {why}.", path=str(adapter / CONFIG), why=tr("it is no table")))
    return told


def named_base(adapter: Path) -> str:
    """The folder that an adapter says it was made for; empty where there is none of that name here."""
    name = str(_config(adapter).get("base_model_name_or_path") or "")
    return name if name and Path(name).is_dir() else ""


def _named_base(adapter: Path) -> Path:
    found = named_base(adapter)
    if found:
        return Path(found)
    name = str(_config(adapter).get("base_model_name_or_path") or "")
    raise InputError(
        tr("the adapter was made for {name}, which is no folder here.", name=name or "-"),
        tr("Say where that model lies with --base; nothing is fetched."),
    )


def _merge(adapter: Path, kind: str, told: Mapping[str, Any], base: Path) -> tuple[Any, int]:
    import peft
    from safetensors.torch import load_file

    tensors = load_file(adapter / WEIGHTS)
    model = _base_model(base, str(told.get("task_type") or ""), tensors)
    fields = {name: told[name] for name in _KINDS[kind] if told.get(name) is not None}
    make = {"LORA": peft.LoraConfig, "IA3": peft.IA3Config}[kind]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # peft 0.21 asks transformers 5.24 by a name that will go
            wrapped = peft.get_peft_model(model, make(**fields))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise _other_model(adapter, base, " ".join(str(error).split())) from None
    _check(adapter, base, dict(peft.get_peft_model_state_dict(wrapped)), tensors)
    peft.set_peft_model_state_dict(wrapped, tensors)
    before = {name: tensor.clone() for name, tensor in wrapped.base_model.model.state_dict().items()}
    merged = wrapped.merge_and_unload(safe_merge=True).eval()
    old = {name.replace(".base_layer.", "."): tensor for name, tensor in before.items()}
    changed = [n for n, t in merged.state_dict().items() if n in old and not bool((old[n] == t).all())]
    return merged, len(changed)


def _base_model(base: Path, task: str, tensors: "Mapping[str, Tensor]") -> Any:
    """The base as the adapter's task needs it; a head that the adapter brings may be missing in the base."""
    if task not in _HEADS:
        return load_folder(base).model
    import torch
    import transformers

    heads = [
        t for name, t in tensors.items() if name.endswith((".classifier.weight", ".score.weight", "out_proj.weight"))
    ]
    labels = {"num_labels": int(heads[-1].shape[0])} if heads else {}
    try:
        with making_models():
            return getattr(transformers, _HEADS[task]).from_pretrained(
                base, dtype=torch.float32, local_files_only=True, use_safetensors=True, **labels
            )
    except (OSError, ValueError, RuntimeError) as error:
        why = " ".join(str(error).split())
        raise InputError(tr("{path} cannot be loaded: {why}.", path=str(base), why=why)) from None


def _check(adapter: Path, base: Path, wanted: "Mapping[str, Tensor]", found: "Mapping[str, Tensor]") -> None:
    """Every tensor of the adapter has its place in the base, of the same shape, and none is missing."""
    for name in sorted(wanted.keys() | found.keys()):
        if name not in found:
            raise _other_model(adapter, base, tr("it has no {name}", name=name))
        if name not in wanted:
            raise _other_model(adapter, base, tr("the base has no place for {name}", name=name))
        if wanted[name].shape != found[name].shape:
            shapes = (str(tuple(t.shape)) for t in (found[name], wanted[name]))
            text = tr("{name} is {has}, and the base takes {takes}", name=name, has=next(shapes), takes=next(shapes))
            raise _other_model(adapter, base, text)


def _other_model(adapter: Path, base: Path, why: str) -> InputError:
    return InputError(
        tr(
            "the adapter {adapter} is of another model than {base}: {why}.",
            adapter=adapter.name,
            base=base.name,
            why=why,
        ),
        tr("Name the folder of the model it was made for with --base."),
    )


def _write(model: Any, adapter: Path, base: Path, out: Path, kind: str) -> None:
    out = out.absolute()
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as made:
        folder = Path(made) / out.name
        model.save_pretrained(folder, safe_serialization=True)
        for source in (base, adapter):  # an adapter may bring tokens of its own
            for pattern in _TOKENIZER:
                for path in source.glob(pattern):
                    if path.is_file() and path.suffix in (".json", ".txt", ".model"):
                        shutil.copyfile(path, folder / path.name)
        card = (
            f"# {out.name}\n\n{base.name} with a {kind} adapter merged into it.\n\n"
            f"SHA-256 of the adapter: {sha256(adapter / WEIGHTS)}\n"
        )
        (folder / "README.md").write_text(card, encoding="utf-8")
        if out.exists():
            out.rmdir()
        folder.rename(out)
