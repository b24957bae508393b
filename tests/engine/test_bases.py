"""Which models of a home others can begin with."""

from pathlib import Path

import pytest

from engine.base_cards import choices
from engine.bases import folder_of
from engine.errors import StudyError
from engine.families._base_tasks import task_of
from engine.store import Store
from tests.engine.exporting.homes import finished


def test_what_transformers_has_no_class_for_is_no_base(tmp_path: Path) -> None:
    home = finished("vit", "plain-cnn", "gan", "rnn")
    with Store.open(home, read_only=True) as store:
        images, texts = (
            {choice.base for choice in choices(store.reader(), task_of(name)) if choice.kind != "package"}
            for name in ("image-classification", "causal")
        )
    assert images == {"run:1"} and not texts
    for run in (2, 3, 4):
        with pytest.raises(StudyError, match=f"no class for run {run}"):
            folder_of(f"run:{run}", home)
