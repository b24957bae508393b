"""What is done to a model goes out and comes back as the model itself does: fine-tuned and compressed runs."""

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from engine.battery.runs import evaluate_runs
from engine.bundling.opening import open_bundle
from engine.bundling.restoring import restore
from engine.bundling.writing import export_bundle
from engine.errors import InputError
from engine.exporting import export_hf
from engine.exporting.card import read_identity
from engine.exporting.onnx import export_onnx
from engine.importing.folders import load_folder
from engine.lab import Lab
from engine.study import CompressionMethod, CompressionSpec, StudySpec, parse_study
from tests.engine.small_bases import bert_folder, study, table


def finished(lab: Lab, asked: StudySpec) -> str:
    identity = lab.runner.submit(asked)
    assert lab.runner.wait(identity, timeout=120)
    assert {run.state for run in lab.reader().runs(identity)} == {"finished"}
    return identity


def everything(lab: Lab, identity: str) -> dict[Any, Any]:
    reader = lab.reader()
    hashes = {run.id: run.spec_hash for run in reader.runs(identity)}
    return {
        (hashes[r.run_id], r.capability, r.metric, r.step): (r.value, r.stderr) for r in reader.evaluations(identity)
    }


def test_a_fine_tuned_model_goes_out_and_comes_back(tmp_path: Path) -> None:
    base, csv = bert_folder(tmp_path / "base"), table(tmp_path / "rows.csv")
    with Lab.open(tmp_path / "home", executor="thread") as lab:
        identity = finished(lab, study(base, csv))
        export_hf(lab.reader(), lab.home, 1, tmp_path / "hf")
        found = read_identity(tmp_path / "hf")
        assert found is not None and found["study"] == identity
        (written,) = export_onnx(lab.reader(), lab.home, 1, tmp_path / "model.onnx")
        assert written.difference < 1e-5
        before = everything(lab, identity)
        (measured,) = evaluate_runs(lab.store, [1], ["classification"])
        assert measured.scores and everything(lab, identity).keys() == before.keys()
        export_bundle(lab.reader(), lab.home, identity, tmp_path / "b.zip", "all")
        wanted = everything(lab, identity)
    with Lab.open(tmp_path / "other", executor="thread") as lab:
        assert restore(lab.store, open_bundle(tmp_path / "b.zip")).added
        assert everything(lab, identity) == wanted
        export_hf(lab.reader(), lab.home, 1, tmp_path / "again")
    for name in ("model.safetensors", "config.json"):
        assert (tmp_path / "hf" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_the_card_of_a_compressed_model_says_what_was_done_and_what_it_cost(tmp_path: Path) -> None:
    base, csv = bert_folder(tmp_path / "base"), table(tmp_path / "rows.csv")
    asked = replace(study(base, csv), compression=CompressionSpec(methods=(CompressionMethod(method="int8-weights"),)))
    with Lab.open(tmp_path / "home", executor="thread") as lab:
        identity = finished(lab, asked)
        reader = lab.reader()
        whole, child = reader.runs(identity)
        export_hf(reader, lab.home, child.id, tmp_path / "hf")
        export_hf(reader, lab.home, whole.id, tmp_path / "whole")
        cost = reader.scores(identity, "cost", "bytes")[child.id]
        accuracy = [reader.scores(identity, "classification", "accuracy")[run.id] for run in (whole, child)]
    text = (tmp_path / "hf" / "README.md").read_text()
    assert f"run {whole.id}, {whole.label}" in text and "| method | int8-weights |" in text
    assert f"| bytes as the lab keeps it | {int(cost)} |" in text
    assert f"| classification | accuracy | {accuracy[0]:.6g} | {accuracy[1]:.6g} |" in text
    found = read_identity(tmp_path / "hf")
    assert found is not None and found["n_params"] == child.n_params
    asks = load_folder(tmp_path / "whole").model.dummy_inputs
    outputs = [load_folder(tmp_path / name).model(**asks).logits.detach() for name in ("whole", "hf")]
    assert 0 < float((outputs[0] - outputs[1]).abs().max()) < 0.1


def test_compressed_runs_go_along_and_are_not_exported_as_what_they_are_not(tmp_path: Path) -> None:
    asked = parse_study(
        {
            "name": "small",
            "title": "Small",
            "model": {"family": "cnn"},
            "data": {"source": "digits"},
            "ladder": {"sizes": [400]},
            "training": {"steps": 6, "batch_size": 16, "eval_tokens": 64, "final_eval_tokens": 64},
            "capabilities": [{"name": "image-classification"}],
            "compression": {"methods": [{"method": "int8-weights"}, {"method": "prune-structured"}]},
        }
    )
    with Lab.open(tmp_path / "home", executor="thread") as lab:
        identity = finished(lab, asked)
        _, integers, cut = lab.reader().runs(identity)
        with pytest.raises(InputError, match="ONNX cannot hold the integers"):
            export_onnx(lab.reader(), lab.home, integers.id, tmp_path / "x.onnx")
        whole, small = tmp_path / "whole.onnx", tmp_path / "small.onnx"
        for run, path, dense in ((integers, whole, True), (cut, small, False)):
            (written,) = export_onnx(lab.reader(), lab.home, run.id, path, dense=dense)
            assert written.difference < 1e-5
        assert small.stat().st_size < whole.stat().st_size
        with pytest.raises(InputError, match="compressed model"):
            evaluate_runs(lab.store, [cut.id])
        export_bundle(lab.reader(), lab.home, identity, tmp_path / "b.zip", "all")
        wanted = everything(lab, identity)
    with Lab.open(tmp_path / "other", executor="thread") as lab:
        restore(lab.store, open_bundle(tmp_path / "b.zip"))
        assert everything(lab, identity) == wanted
        kinds = {row.kind for run in lab.reader().runs(identity) for row in lab.reader().artifacts(run.id)}
        assert kinds >= {"weights", "compressed"} and "checkpoint" not in kinds
