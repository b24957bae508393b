"""Models on this machine that a fine-tuning may begin with, and what is told of one before it is chosen."""

import json
import math
import site
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from engine import base_folder as folders
from engine.bases import RUN, STUDY, folder_of
from engine.families import families
from engine.model_folders import CONFIG

if TYPE_CHECKING:
    from engine.families._base_tasks import Task
    from engine.families.base import Shape
    from engine.store import Reader, RunRow

Kind = Literal["package", "study", "run"]


@dataclass(frozen=True, slots=True)
class Choice:
    """One base that there may be; whether it can be used is known when it is looked at."""

    base: str
    """As ``model.base`` says it."""
    kind: Kind
    title: str
    sizes: tuple[int, ...] = ()
    """``n_params`` of its models, where they are known."""


@dataclass(frozen=True, slots=True)
class BaseCard:
    """One model that loads: what it is. Sizes in parameters, ``longest`` in tokens (0 where it does not say)."""

    folder: Path
    architecture: str
    n_params: int
    n_params_non_embedding: int
    n_layers: int
    d_model: int
    vocab_size: int
    longest: int
    n_bytes: int
    image: tuple[int, int, int] | None = None
    """Channels, height and width of what it reads, where that is an image."""


def choices(reader: "Reader", task: "Task") -> list[Choice]:
    """Packages that hold a model, then ladders and models of this home that ``task`` can begin with, newest first."""
    found = [Choice(f"{folders.PACKAGE}{name}", "package", name) for name in (packages() if task.reads_text else ())]
    for study in reader.studies():
        by_size: dict[int, RunRow] = {}
        for run in reader.ladder(study.id):
            if run.state == "finished" and _may_begin(task, run):
                by_size.setdefault(run.size, run)
        runs = [by_size[size] for size in sorted(by_size)]
        if len(runs) > 1:
            sizes = tuple(run.n_params for run in runs)
            found.append(Choice(f"{STUDY}{study.id}", "study", study.shown_title, sizes))
        for run in reversed(runs):
            found.append(Choice(f"{RUN}{run.id}", "run", f"{study.shown_title}: {run.label}", (run.n_params,)))
    return found


def _may_begin(task: "Task", run: "RunRow") -> bool:
    """Whether transformers has a class for a run's model, which the task can begin with."""
    family = families[run.family] if run.family in families else None
    return family is not None and not family.goes_with_code(run.shape) and task.begins_with(family, run.shape)


def packages() -> list[str]:
    """Installed packages with a model folder in them, found without importing any."""
    names: dict[str, None] = {}
    roots = {*site.getsitepackages(), *(path for path in sys.path if path.endswith("site-packages"))}
    for root in sorted(roots):
        for pattern in (f"*/{CONFIG}", f"*/*/{CONFIG}"):
            for config in sorted(Path(root).glob(pattern)):
                name = config.relative_to(root).parts[0]
                if name.isidentifier() and _is_model(config):
                    names[name] = None
    return list(names)


def describe(base: str, home: Path, task: "Task") -> tuple[BaseCard, ...]:
    """What a base of ``task`` is, one card for each of its models, the smallest first. Reads and checks only.

    Raises ``KnownError`` with the sentence why it cannot be used.
    """
    family = families["fine-tuned"]
    spec: Any = family.Spec(base=folder_of(base, home), task=task.name)
    tried = task.tried()
    by_size = {}
    for folder in folders.model_folders(folders.locate(spec.base)):
        model = folders.read_base(folder)
        if task.reads_text:
            folders.check_tokenizer(model)
        by_size[folder] = model
    cards = []
    for size in family.own_sizes(spec):
        shape = family.resolve(spec, size, tried, tried.fixed_context)
        model = by_size[Path(str(shape["base"]))]
        cards.append(
            BaseCard(
                folder=model.folder,
                architecture=str(shape["architecture"]),
                n_params=sum(_parameters(path) for path in model.weights),
                n_params_non_embedding=size,
                n_layers=int(shape["n_layers"]),
                d_model=int(shape["d_model"]),
                vocab_size=int(shape["vocab_size"]),
                longest=model.max_positions,
                n_bytes=sum(path.stat().st_size for path in model.weights),
                image=_image(shape),
            )
        )
    return tuple(cards)


def _image(shape: "Shape") -> tuple[int, int, int] | None:
    sizes = [int(shape.get(f"image_{name}", 0)) for name in ("channels", "height", "width")]
    return (sizes[0], sizes[1], sizes[2]) if all(sizes) else None


def _is_model(config: Path) -> bool:
    try:
        found = json.loads(config.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and "model_type" in found and any(config.parent.glob("*.safetensors*"))


def _parameters(path: Path) -> int:
    """Numbers that a safetensors file holds, from its header."""
    with path.open("rb") as stream:
        header = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
    return sum(math.prod(entry["shape"]) for name, entry in header.items() if name != "__metadata__")
