"""What transformers does to a whole process happens in one thread at a time."""

import threading
from pathlib import Path

from engine.importing.folders import load_folder
from engine.quiet import making_models
from engine.store import Store
from tests.engine.exporting.homes import finished


def test_models_are_loaded_in_one_thread_at_a_time(tmp_path: Path) -> None:
    from transformers import PreTrainedModel

    from engine.exporting import export_hf

    with Store.open(finished("gpt"), read_only=True) as store:
        export_hf(store.reader(), store.home, 1, tmp_path)
    tied, loaded = PreTrainedModel.tie_weights, threading.Event()

    def load() -> None:
        load_folder(tmp_path)
        loaded.set()

    other = threading.Thread(target=load)
    with making_models():
        other.start()
        assert not loaded.wait(0.5) and PreTrainedModel.tie_weights is tied
    assert loaded.wait(60)
    other.join()
    assert PreTrainedModel.tie_weights is tied
