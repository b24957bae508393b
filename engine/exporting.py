"""A run's finished weights as a folder that other programs load."""

from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import InputError
from engine.families import families
from engine.families.base import build_for
from engine.i18n import tr

if TYPE_CHECKING:
    from engine.store import Reader


def export_hf(reader: "Reader", home: Path, run_id: int, folder: Path) -> None:
    """Write the model of a finished run for ``AutoModelForCausalLM.from_pretrained``.

    Raises:
        InputError: there is no such run, it has no weights yet, or its family has no counterpart in transformers.
    """
    from safetensors.torch import load_file

    spec = reader.run_spec(run_id)
    saved = [artifact for artifact in reader.artifacts(run_id) if artifact.kind == "weights"]
    if not saved:
        raise InputError(tr("run {run} has no finished model yet.", run=run_id), tr("Let it finish first."))
    family = families[spec.family]
    model = build_for(family, spec)
    model.load_state_dict(load_file(home / "artifacts" / str(run_id) / saved[-1].path))
    model.eval()
    try:
        family.export_hf(model, spec.shape, folder, None)
    except NotImplementedError:
        raise InputError(tr("models of the family {family} have no counterpart there.", family=spec.family)) from None
