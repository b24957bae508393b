"""A ``save_pretrained`` folder on this disk, opened without running anything that is in it.

Only safetensors are read; code in a folder is never run, and nothing is fetched.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.errors import InputError
from engine.i18n import tr
from engine.model_folders import FolderError, check_safetensors, config_of, longest_text, pickled_in
from engine.quiet import making_models

LONGEST = 4096
"""Positions taken for the context where a folder names none, or an endless one."""
_GENERATING = ("CausalLM", "ConditionalGeneration", "Seq2SeqLM", "LMHeadModel")


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model of plain transformers in evaluation mode, float32 on CPU."""

    model: Any
    folder: Path
    context: int

    @property
    def generates(self) -> bool:
        """Whether it writes text."""
        return type(self.model).__name__.endswith(_GENERATING)


def read_config(folder: Path) -> dict[str, Any]:
    """``config.json`` of the folder; raises ``InputError`` where it is no folder of a model."""
    if not folder.is_dir():
        raise InputError(tr("there is no folder {path}.", path=str(folder)))
    try:
        return config_of(folder)
    except FolderError as error:
        raise InputError(tr("{path} holds no model: {why}.", path=str(folder), why=str(error))) from None


def require_safetensors(folder: Path, stem: str = "model") -> None:
    """Raise ``InputError`` where the weights of a folder are not safetensors, or not whole."""
    found = sorted(folder.glob(f"{stem}*.safetensors"))
    if not found:
        pickled = pickled_in(folder)
        if pickled is not None:
            raise refuse_pickle(pickled)
        raise InputError(
            tr("{path} holds no weights: there is no {stem}.safetensors in it.", path=str(folder), stem=stem)
        )
    for file in found:
        try:
            check_safetensors(file)
        except FolderError as error:
            raise InputError(tr("{path} cannot be read: {why}.", path=str(file), why=str(error))) from None


def refuse_pickle(path: Path) -> InputError:
    """The sentence for a file that could run code when it is opened."""
    return InputError(
        tr("{path} may be a pickle, which can run code when it is opened, and is not read.", path=path.name),
        tr("Save the model as safetensors: save_pretrained(folder, safe_serialization=True)."),
    )


def load_folder(folder: Path) -> Loaded:
    """The model as its own ``config.json`` names it.

    Raises ``InputError`` for a folder without a known architecture or whole safetensors.
    """
    import torch
    import transformers

    config = read_config(folder)
    require_safetensors(folder)
    names = config.get("architectures")
    name = names[0] if isinstance(names, list) and names and isinstance(names[0], str) else ""
    kind = getattr(transformers, name, None) if name.isidentifier() else None
    if kind is None or not (isinstance(kind, type) and issubclass(kind, transformers.PreTrainedModel)):
        raise InputError(tr("transformers knows no architecture {name!r}.", name=name or str(config.get("model_type"))))
    try:
        with making_models():
            model: Any = kind.from_pretrained(
                folder, dtype=torch.float32, local_files_only=True, use_safetensors=True, attn_implementation="eager"
            )
    except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
        why = " ".join(str(error).split())
        raise InputError(tr("{path} cannot be loaded: {why}.", path=str(folder), why=why)) from None
    return Loaded(model.eval(), folder, min(longest_text(config), LONGEST) if longest_text(config) > 0 else LONGEST)
