"""What a model answered to items of the test split: the best and the worst, as a capability kept them with its run."""

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from engine.capabilities._kept_answers import KIND, Answer, Answers
from engine.errors import InputError
from engine.i18n import tr

if TYPE_CHECKING:
    from engine.store import Reader

__all__ = ["KIND", "Answer", "Answers", "answers_of", "read_answers"]


def read_answers(path: Path) -> Answers:
    """Read the file of a run; raises ``InputError`` where it is damaged or not there."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Answers)
    except (OSError, msgspec.DecodeError) as error:
        raise InputError(tr("{path} holds no answers: {error}.", path=str(path), error=str(error))) from None


def answers_of(reader: "Reader", run: int) -> Answers | None:
    """Those of a run; None where it kept none. Raises ``InputError`` where its file is damaged."""
    path = reader.file(run, KIND)
    return None if path is None else read_answers(path)
