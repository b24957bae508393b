"""A run's finished weights as a folder that other programs load."""

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import InputError, TrainingError
from engine.families import families
from engine.families.base import build_for
from engine.i18n import tr

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import nn

    from engine.store import Reader
    from engine.study import RunSpec

TOKENIZER, TOKENIZER_CONFIG = "tokenizer.json", "tokenizer_config.json"


def export_hf(reader: "Reader", home: Path, run_id: int, folder: Path) -> None:
    """Write the model of a finished run as plain transformers loads it, and its tokenizer for ``AutoTokenizer``.

    Raises:
        InputError: there is no such run, it has no weights yet, or its family has no counterpart in transformers.
        TrainingError: the weights on the disk cannot be read.
        OSError: the folder cannot be written.
    """
    from safetensors import SafetensorError

    spec = reader.run_spec(run_id)
    if spec.kind == "import":
        raise InputError(tr("run {run} was imported: its weights are not here.", run=run_id))
    saved = [artifact for artifact in reader.artifacts(run_id) if artifact.kind == "weights"]
    if not saved:
        raise InputError(tr("run {run} has no finished model yet.", run=run_id), tr("Let it finish first."))
    run_folder = home / "artifacts" / str(run_id)
    model = _load(spec, run_folder / saved[-1].path)
    try:
        families[spec.family].export_hf(model, spec.shape, folder, None)
    except NotImplementedError:
        raise InputError(tr("models of the family {family} have no counterpart there.", family=spec.family)) from None
    except SafetensorError as error:
        raise OSError(str(error)) from error
    added = families[spec.family].added_tokens(spec.shape)
    _copy_tokenizer(run_folder, folder, spec.training.context, added)


def _load(spec: "RunSpec", path: Path) -> "nn.Module":
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    model = build_for(families[spec.family], spec)
    try:
        model.load_state_dict(load_file(path))
    except (OSError, RuntimeError, SafetensorError) as error:
        raise TrainingError(
            tr("The weights {path} cannot be read: {error}.", path=str(path), error=str(error)),
            tr("Restore them from a copy, or train the run again."),
        ) from None
    return model.eval()


def _copy_tokenizer(run_folder: Path, folder: Path, context: int, added: "Mapping[str, tuple[str, int]]") -> None:
    """The run's own tokenizer and what the family adds to it; models of other data than text have none."""
    if not (run_folder / TOKENIZER).is_file():
        return
    shutil.copyfile(run_folder / TOKENIZER, folder / TOKENIZER)
    settings = json.loads((run_folder / TOKENIZER_CONFIG).read_text(encoding="utf-8"))
    settings.setdefault("model_max_length", context)  # of pairs it is the length of a source
    if added:
        document = json.loads((folder / TOKENIZER).read_text(encoding="utf-8"))
        plain = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
        document["added_tokens"] += [{"id": i, "content": text, "special": True, **plain} for text, i in added.values()]
        (folder / TOKENIZER).write_text(json.dumps(document, ensure_ascii=False, indent=2), encoding="utf-8")
        settings |= {role: text for role, (text, _) in added.items()}
    (folder / TOKENIZER_CONFIG).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
