"""What an exported model of the lab was before it was trained: enough to draw its first weights again.

``from scratch`` is to be the same network before it learned anything. Of a model of the lab that is what its family
draws: transformers' own weights, of one deviation whatever the width, are a worse beginning for small networks.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from engine.errors import StudyError
from engine.families import families
from engine.families.base import TrainingHints, training_hints
from engine.i18n import tr
from engine.study import RunSpec, Scalar

if TYPE_CHECKING:
    from torch import nn

FILE = "untrained.json"


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """Family and shape of the model, and what its initialisation depends on beside them."""

    family: str
    shape: dict[str, Scalar]
    lr_rule: str
    base_width: int

    def build(self, seed: int) -> "nn.Module":
        """The model as a run of this seed begins."""
        return families[self.family].build(self.shape, seed, training=TrainingHints(self.lr_rule, self.base_width))

    def export(self, model: "nn.Module", folder: Path) -> None:
        """Write it as plain transformers loads it."""
        families[self.family].export_hf(model, self.shape, folder, None)


def write_origin(spec: RunSpec, folder: Path) -> None:
    """Put the file beside an exported model; nothing of one that began as another model."""
    if spec.kind != "pretrain":
        return
    hints = training_hints(spec)
    origin = Origin(family=spec.family, shape=dict(spec.shape), lr_rule=hints.lr_rule, base_width=hints.base_width)
    text = json.dumps(msgspec.to_builtins(origin), indent=2, sort_keys=True)
    (folder / FILE).write_text(text + "\n", encoding="utf-8")


def read_origin(folder: Path) -> str:
    """The file as one line of JSON, to be frozen with a run; empty where there is none.

    Raises ``StudyError`` for one that cannot be read.
    """
    path = folder / FILE
    if not path.is_file():
        return ""
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Origin)
    except (OSError, msgspec.DecodeError) as error:
        raise StudyError(
            tr("model.base: {path} cannot be read ({why}).", path=str(path), why=type(error).__name__),
            tr("Remove it, and transformers draws what a network from scratch begins with."),
        ) from None
    if found.family not in families:
        return ""
    return json.dumps(msgspec.to_builtins(found), sort_keys=True, separators=(",", ":"))


def parsed_origin(shape: Mapping[str, Scalar]) -> Origin | None:
    """That of a fine-tuning's shape; None where it begins otherwise."""
    text = str(shape.get("origin", ""))
    return msgspec.json.decode(text, type=Origin) if text else None
