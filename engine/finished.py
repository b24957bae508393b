"""The model of a finished run, as it lies in the home."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import InputError, TrainingError
from engine.families import families
from engine.families.base import training_hints
from engine.i18n import tr

if TYPE_CHECKING:
    from torch import nn

    from engine.store import ArtifactRow, Reader
    from engine.study import RunSpec


@dataclass(frozen=True, slots=True)
class Finished:
    """A run that has its weights: what it was, the folder it keeps, and the row of its weights."""

    run_id: int
    spec: "RunSpec"
    folder: Path
    weights: "ArtifactRow"

    @property
    def path(self) -> Path:
        """The file of the weights."""
        return self.folder / self.weights.path

    def load(self) -> "nn.Module":
        """The model on CPU in evaluation mode; raises ``TrainingError`` where its weights cannot be read."""
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        model = families[self.spec.family].blank(self.spec.shape, training_hints(self.spec))
        try:
            model.load_state_dict(load_file(self.path))
        except (OSError, RuntimeError, SafetensorError) as error:
            raise TrainingError(
                tr("The weights {path} cannot be read: {error}.", path=str(self.path), error=str(error)),
                tr("Restore them from a copy, or train the run again."),
            ) from None
        return model.eval()


def finished_run(reader: "Reader", home: Path, run_id: int) -> Finished:
    """A run by its number; raises ``InputError`` where there is none, or none with weights."""
    spec = reader.run_spec(run_id)
    if spec.kind == "import":
        raise InputError(tr("run {run} was imported: its weights are not here.", run=run_id))
    saved = [artifact for artifact in reader.artifacts(run_id) if artifact.kind == "weights"]
    if not saved:
        raise InputError(tr("run {run} has no finished model yet.", run=run_id), tr("Let it finish first."))
    return Finished(run_id, spec, home / "artifacts" / str(run_id), saved[-1])
