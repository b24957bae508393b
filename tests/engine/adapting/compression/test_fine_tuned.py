"""A fine-tuned model of transformers is compressed as any other: embeddings too, and what LoRA adds."""

from pathlib import Path

import msgspec
import pytest

from engine.adapting.compression.codec import COMPRESSED, File
from engine.adapting.compression.run import run_one
from engine.errors import StudyError
from engine.events import Evaluation, RunState
from engine.expand import expand
from engine.study import CompressionMethod, CompressionSpec, StudySpec
from engine.task import Parent, Task
from engine.training.run import run_one as train
from tests.engine.small_bases import bert_folder, study, table
from tests.engine.training import toy


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return bert_folder(tmp_path_factory.mktemp("base")), table(tmp_path_factory.mktemp("data") / "words.csv")


def compressing(made: StudySpec, *methods: str) -> StudySpec:
    chosen = tuple(CompressionMethod(method=name) for name in methods)  # type: ignore[arg-type]
    return msgspec.structs.replace(made, compression=CompressionSpec(methods=chosen))


@pytest.mark.parametrize("model", [{}, {"method": "lora", "lora_targets": "query,value"}])
@pytest.mark.parametrize("method", ["int8-dynamic", "int4-weights", "prune-unstructured"])
def test_it_is_a_quarter_or_less_and_scored_as_its_parent(
    parts: tuple[Path, Path], tmp_path: Path, model: dict[str, str], method: str
) -> None:
    parent, child = expand(compressing(study(*parts, **model), method))
    folders = [tmp_path / name for name in ("parent", "child")]
    for folder in folders:
        folder.mkdir()
    assert (
        train(Task(1, parent, folders[0], tmp_path / "cache"), toy.Recorder(), toy.Commands()).state
        is RunState.FINISHED
    )
    recorder = toy.Recorder()
    task = Task(2, child, folders[1], tmp_path / "cache", parent=Parent(parent, folders[0]))
    assert run_one(task, recorder, toy.Commands()).state is RunState.FINISHED
    found = {(e.capability, e.metric): e.value for e in recorder.of(Evaluation)}
    assert ("classification", "accuracy") in found and found["cost", "smaller"] > 1.5
    if method == "int8-dynamic":
        held = File(folders[1] / COMPRESSED).header.held
        assert held.count("1") > len(held) * 0.9  # linear layers and embeddings compute with integers


def test_its_architecture_has_no_units_to_cut(parts: tuple[Path, Path]) -> None:
    with pytest.raises(StudyError, match="family fine-tuned have no heads"):
        expand(compressing(study(*parts), "prune-structured"))
