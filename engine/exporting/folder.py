"""A run's finished weights as a folder that other programs load."""

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from engine.base_origins import write_origin
from engine.errors import InputError
from engine.exporting.card import Contents, write_card
from engine.exporting.compressed import write_compressed
from engine.families import families
from engine.finished import Finished, finished_run
from engine.i18n import tr

if TYPE_CHECKING:
    from collections.abc import Mapping

    from engine.store import Reader

TOKENIZER, TOKENIZER_CONFIG = "tokenizer.json", "tokenizer_config.json"


def export_hf(reader: "Reader", home: Path, run_id: int, folder: Path, *, dense: bool = False) -> None:
    """Write the model of a finished run as plain transformers loads it, its tokenizer, and its model card.

    A compressed model is written as small as transformers can hold it; ``dense``, in the shape of the model that it
    was made from and in float32, which every architecture can hold.

    Raises:
        InputError: there is no such run, it has no weights yet, or transformers has no form for it.
        TrainingError: the weights on the disk cannot be read.
        OSError: the folder cannot be written.
    """
    run = finished_run(reader, home, run_id, compressed=True)
    write_card(reader, run, folder, write_folder(run, folder, dense=dense))


def write_folder(run: Finished, folder: Path, *, dense: bool = False) -> Contents:
    """The same without the card: weights, configuration and tokenizer."""
    from safetensors import SafetensorError

    spec, family = run.spec, families[run.spec.family]
    try:
        if run.compressed:
            contents = write_compressed(run, folder, dense=dense)
        else:
            contents = Contents(spec.n_params)
            family.export_hf(run.load(), spec.shape, folder, None)
            write_origin(spec, folder)
    except NotImplementedError:
        raise InputError(tr("models of the family {family} have no counterpart there.", family=spec.family)) from None
    except SafetensorError as error:
        raise OSError(str(error)) from error
    _copy_tokenizer(run.folder, folder, spec.training.context, family.added_tokens(spec.shape))
    return contents


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
