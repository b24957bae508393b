"""The card of an exported folder says what a reader and the lab need to know."""

import hashlib
from pathlib import Path

from huggingface_hub import ModelCard

from engine.exporting import export_hf
from engine.exporting.card import read_identity
from engine.store import Store
from tests.engine.exporting.homes import finished


def exported(tmp_path: Path, *names: str) -> tuple[Path, Store]:
    store = Store.open(finished(*names), read_only=True)
    for number, name in enumerate(names, 1):
        export_hf(store.reader(), store.home, number, tmp_path / name)
    return tmp_path, store


def test_the_card_tells_data_recipe_scores_and_hashes(tmp_path: Path) -> None:
    folder, store = exported(tmp_path, "bert", "clip")
    with store:
        reader = store.reader()
        run, spec = reader.run(1), reader.run_spec(1)
        scores = [row for row in reader.evaluations(run.study_id, final_only=True) if row.run_id == 1]
        fingerprint = str(run.facts["data_fingerprint"])
        weights = reader.artifacts(1)[-1].sha256
        study_hash = reader.study(run.study_id).spec_hash
    card = ModelCard.load(folder / "bert" / "README.md")
    told = {(r.task_type, r.metric_type): (r.metric_value, r.metric_args) for r in card.data.eval_results or ()}
    assert {key: value for key, (value, _) in told.items()} == {(s.capability, s.metric): s.value for s in scores}
    for word in (fingerprint, study_hash, weights, "standard error", "text-folder", "Licence", f"{spec.n_params:,}"):
        assert word in card.text
    assert str(Path(str(spec.data["path"]))) not in card.content
    assert "license" not in card.data.to_dict()
    assert "procedural" not in card.text
    assert "procedural" in ModelCard.load(folder / "clip" / "README.md").text


def test_a_folder_is_known_again_by_its_card(tmp_path: Path) -> None:
    folder, store = exported(tmp_path, "bert")
    with store:
        row = store.reader().run(1)
    found = read_identity(folder / "bert")
    assert found is not None
    assert (found["run_hash"], found["study"], found["run_id"]) == (row.spec_hash, row.study_id, 1)
    assert found["file_sha256"] == hashlib.sha256((folder / "bert" / "model.safetensors").read_bytes()).hexdigest()
    for text in ("", "---\na: [\n---\n", "no front matter", "---\nemergence_lab: 3\n---\n"):
        (tmp_path / "README.md").write_text(text)
        assert read_identity(tmp_path) is None
    (tmp_path / "README.md").unlink()
    assert read_identity(tmp_path) is None
