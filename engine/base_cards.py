"""Models on this machine that a fine-tuning may begin with, and what is told of one before it is chosen."""

import json
import math
import site
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from engine import base_folder as folders
from engine.bases import RUN, STUDY, folder_of
from engine.families import families
from engine.families.base import DataShape
from engine.model_folders import CONFIG

if TYPE_CHECKING:
    from engine.store import Reader, RunRow

Kind = Literal["package", "study", "run"]
_TRIED = DataShape("labelled", n_classes=2, fixed_context=32, n_train_items=2, class_names=("0", "1"))
"""Two classes: whether a base takes a head at all."""


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


def choices(reader: "Reader") -> list[Choice]:
    """Packages that hold a model, then ladders and models of this home that read text, newest first."""
    found = [Choice(f"{folders.PACKAGE}{name}", "package", name) for name in packages()]
    for study in reader.studies():
        by_size: dict[int, RunRow] = {}
        for run in reader.ladder(study.id):
            if run.state == "finished" and _reads_text(run):
                by_size.setdefault(run.size, run)
        runs = [by_size[size] for size in sorted(by_size)]
        if len(runs) > 1:
            sizes = tuple(run.n_params for run in runs)
            found.append(Choice(f"{STUDY}{study.id}", "study", study.shown_title, sizes))
        for run in reversed(runs):
            found.append(Choice(f"{RUN}{run.id}", "run", f"{study.shown_title}: {run.label}", (run.n_params,)))
    return found


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


def describe(base: str, home: Path) -> tuple[BaseCard, ...]:
    """What a base is, one card for each of its models, the smallest first. Reads and checks, trains nothing.

    Raises ``KnownError`` with the sentence why it cannot be used.
    """
    family = families["fine-tuned"]
    spec = family.Spec(base=folder_of(base, home))
    by_size = {}
    for folder in folders.model_folders(folders.locate(spec.base)):  # type: ignore[attr-defined]
        model = folders.read_base(folder)
        folders.check_tokenizer(model)
        by_size[folder] = model
    cards = []
    for size in family.own_sizes(spec):
        shape = family.resolve(spec, size, _TRIED, _TRIED.fixed_context)
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
            )
        )
    return tuple(cards)


def _reads_text(run: "RunRow") -> bool:
    return run.family in families and bool(families[run.family].modalities & {"tokens", "labelled"})


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
