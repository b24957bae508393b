"""ONNX for encoders and classifiers, each file compared with torch under onnxruntime before it is kept.

Written by ``torch.onnx.export(dynamo=True)``, with any number of samples and, for text, any length up to the context.
"""

import logging
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import InputError, TrainingError
from engine.exporting.compressed import has_integers
from engine.families import families
from engine.families.base import Graph
from engine.files import replacing, require_space
from engine.finished import finished_run
from engine.i18n import tr

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from engine.families.base import Family
    from engine.finished import Finished
    from engine.store import Reader

TOLERANCE = 1e-4
"""Greatest difference from torch, of the largest output, that is still the same model in float32."""
MAX_BYTES = 2_000_000_000
"""Weights beyond which protobuf cannot hold a model in one file."""
BATCHES = (1, 2, 7)
"""Numbers of samples that are compared."""
TRACED_BATCH = 2
"""torch.export takes a size of 1 for a constant."""


@dataclass(frozen=True, slots=True)
class Written:
    """One file, and how far its outputs are from torch's at most: of the largest output, and in their own unit."""

    path: Path
    difference: float
    absolute: float


@dataclass(frozen=True, slots=True)
class Traceable:
    """A module with what it reads: names and arrays of a batch, in the order of its arguments."""

    module: "nn.Module"
    inputs: "Mapping[str, Tensor]"
    gives: str
    part: str
    longest: int
    """Largest length of the second axis; 0 where that is no length."""


def export_onnx(reader: "Reader", home: Path, run_id: int, path: Path, *, dense: bool = False) -> list[Written]:
    """Write the model of a finished run as ONNX; a model of several parts is several files.

    A pruned model is as small as it is; one of integers is written ``dense``, in float32, or not at all.

    Raises:
        InputError: there is no such run or it has no weights yet, or models of its family are not written as ONNX.
        TrainingError: the weights cannot be read, or onnxruntime does not give what torch gives.
        ResourceError: the disk is full or the folder cannot be written.
    """
    run = finished_run(reader, home, run_id, compressed=True)
    if run.compressed and has_integers(run) and not dense:
        raise InputError(
            tr("ONNX cannot hold the integers of run {run} as torchao keeps them.", run=run_id),
            tr("Add --dense to write them multiplied out, as float32."),
        )
    row = reader.run(run_id)
    said = {"study": row.study_id, "run": str(run_id), "run_hash": row.spec_hash, "weights": run.weights.sha256}
    family = families[run.spec.family]
    graphs = family.graphs(run.load(dense=dense), run.spec.shape)
    if graphs:
        return _write_all([_traceable(family, run, graph) for graph in graphs], path, said)
    if family.goes_with_code(run.spec.shape):
        raise _not_onnx(run.spec.family)
    return _through_folder(run, path, said, dense)


def export_folder(folder: Path, path: Path) -> list[Written]:
    """The same of a ``save_pretrained`` folder: an encoder, or a classifier of texts or images."""
    return _write_all([_of_folder(folder)], path, {"folder": folder.name})


def _through_folder(run: "Finished", path: Path, said: Mapping[str, str], dense: bool) -> list[Written]:
    """A family without graphs of its own may be one that transformers knows."""
    from engine.exporting.folder import write_folder

    with tempfile.TemporaryDirectory() as folder:
        try:
            write_folder(run, Path(folder), dense=dense)
        except InputError:
            raise _not_onnx(run.spec.family) from None
        return _write_all([_of_folder(Path(folder))], path, said)


def _not_onnx(what: str) -> InputError:
    return InputError(
        tr("models of the kind {what} are not written as ONNX.", what=what),
        tr("Encoders and classifiers are; write this one as a transformers folder or take its weights."),
    )


def _traceable(family: "Family", run: "Finished", graph: Graph) -> Traceable:
    context = run.spec.training.context
    array = family.example(run.spec.shape, TRACED_BATCH, context)[graph.reads]
    longest = array.shape[1] if graph.lengths else 0
    return Traceable(graph.module.eval(), {graph.reads: array}, graph.gives, graph.part, longest)


def _of_folder(folder: Path) -> Traceable:
    import torch
    from torch import nn

    from engine.importing.folders import load_folder

    loaded = load_folder(folder)
    model, config = loaded.model, loaded.model.config
    reads = model.main_input_name
    if loaded.generates or reads not in ("input_ids", "pixel_values"):
        raise _not_onnx(type(model).__name__)

    class First(nn.Module):
        """The model's first output, as a tensor."""

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, first: "Tensor", attention_mask: "Tensor | None" = None) -> "Tensor":
            more = {} if attention_mask is None else {"attention_mask": attention_mask}
            out: Tensor = self.model(**{reads: first}, **more)[0]
            return out

    gives = "logits" if hasattr(config, "id2label") and "For" in type(model).__name__ else "last_hidden_state"
    if reads == "pixel_values":
        side = config.image_size if hasattr(config, "image_size") else 224
        height, width = side if isinstance(side, Sequence) else (side, side)
        images = torch.randn(TRACED_BATCH, config.num_channels, height, width)
        return Traceable(First().eval(), {reads: images}, gives, "", 0)
    longest = loaded.context
    ids = torch.randint(0, config.vocab_size, (TRACED_BATCH, longest))
    mask = torch.ones_like(ids)
    mask[0, longest // 2 :] = 0
    return Traceable(First().eval(), {reads: ids, "attention_mask": mask}, gives, "", longest)


def _write_all(parts: Sequence[Traceable], path: Path, said: Mapping[str, str]) -> list[Written]:
    written = []
    for part in parts:
        target = path.with_name(f"{path.stem}-{part.part}{path.suffix}") if part.part else path
        written.append(_write(part, target, said))
    return written


def _write(part: Traceable, path: Path, said: Mapping[str, str]) -> Written:
    import torch

    weights = sum(t.numel() * t.element_size() for t in part.module.state_dict().values())
    if weights > MAX_BYTES:
        raise InputError(tr("the model has {gb:.1f} GB of weights, and an ONNX file holds 2.", gb=weights / 1e9))
    require_space(path.parent, 2 * weights)
    axes: dict[int, Any] = {0: torch.export.Dim("batch")}
    if part.longest:
        axes[1] = torch.export.Dim("length", max=part.longest)
    with _quiet(), torch.no_grad():
        program: Any = torch.onnx.export(
            part.module,
            tuple(part.inputs.values()),
            dynamo=True,
            dynamic_shapes=tuple(axes for _ in part.inputs),
            input_names=list(part.inputs),
            output_names=[part.gives],
            verbose=False,
        )
    program.model.metadata_props.update({f"emergence-lab.{key}": value for key, value in said.items()})
    with replacing(path) as temporary:
        program.save(temporary, external_data=False)
        difference, absolute = _compare(part, temporary)
        if difference > TOLERANCE:
            raise TrainingError(
                tr("onnxruntime differs from torch by {difference:.2g} of the largest output.", difference=difference),
                tr("The file was not kept."),
            )
    return Written(path, difference, absolute)


def _compare(part: Traceable, path: Path) -> tuple[float, float]:
    """Greatest difference over several numbers of samples and lengths, relative to the largest output, and plain."""
    import numpy as np
    import onnxruntime
    import torch

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    relative = absolute = 0.0
    for given in _cases(part):
        with torch.no_grad():
            ours: NDArray[np.float32] = part.module(*given.values()).numpy()
        theirs = session.run(None, {name: array.numpy() for name, array in given.items()})[0]
        gap = float(np.abs(ours - theirs).max()) if ours.shape == theirs.shape else float("inf")
        absolute = max(absolute, gap)
        relative = max(relative, gap / max(float(np.abs(ours).max()), 1e-12))
    return relative, absolute


def _cases(part: Traceable) -> "Iterator[dict[str, Tensor]]":
    """Batches of every number of samples, cut to several lengths where there are any."""
    import torch

    lengths = sorted({min(3, part.longest), part.longest // 2 + 1, part.longest}) if part.longest else [0]
    for n in BATCHES:
        for length in lengths:
            rows = torch.arange(n) % TRACED_BATCH
            yield {name: (a[rows][:, :length] if length else a[rows]) for name, a in part.inputs.items()}


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter warns of its own deprecations and of libraries that are not installed."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
