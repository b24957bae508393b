"""The model of a finished run, as it lies in the home."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from engine.compressing import KIND as COMPRESS
from engine.errors import InputError
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

    @property
    def compressed(self) -> bool:
        """Whether the weights are those of a compressed model."""
        return self.spec.kind == COMPRESS

    def blank(self) -> "nn.Module":
        """A model of the run's shape, whose weights are those of no run."""
        return families[self.spec.family].blank(self.spec.shape, training_hints(self.spec))

    def load(self, *, dense: bool = False) -> "nn.Module":
        """The model on CPU in evaluation mode; raises ``TrainingError`` where its weights cannot be read.

        A compressed one is smaller or computes with integers; ``dense``, it has its parent's shape in float32.
        """
        from engine.adapting.compression.load import load_compressed
        from engine.training.checkpoint import load_weights

        model = self.blank()
        if self.compressed:
            return load_compressed(model, self.path, dense=dense)
        load_weights(model, self.path)
        return model.eval()


def finished_run(reader: "Reader", home: Path, run_id: int, *, compressed: bool = False) -> Finished:
    """A run by its number; ``compressed``, also one that was made smaller.

    Raises ``InputError`` where there is none, or none with weights.
    """
    spec = reader.run_spec(run_id)
    if spec.kind == "import":
        raise InputError(tr("run {run} was imported: its weights are not here.", run=run_id))
    if spec.kind == COMPRESS and not compressed:
        raise InputError(
            tr("run {run} is a compressed model: it lies in the run's folder as it is.", run=run_id),
            tr("Take the run that it was made from."),
        )
    kind = "compressed" if spec.kind == COMPRESS else "weights"
    saved = [artifact for artifact in reader.artifacts(run_id) if artifact.kind == kind]
    if not saved:
        raise InputError(tr("run {run} has no finished model yet.", run=run_id), tr("Let it finish first."))
    return Finished(run_id, spec, home / "artifacts" / str(run_id), saved[-1])
