"""Capabilities on finished runs and folders: what they find, what is remembered, and what is refused."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from msgspec.structs import replace

from engine import cli
from engine.battery.folders import evaluate_folder
from engine.battery.runs import _Subject, evaluate_runs
from engine.capabilities._rolling import Text, log_likelihoods
from engine.errors import InputError
from engine.exporting import export_hf
from engine.figures.builders import build
from engine.lab import Lab
from tests.engine.exporting.homes import finished, shared, study, write_text

NAMES = ("gpt", "cnn", "bert")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A copy of a home with finished runs."""
    return Path(shutil.copytree(finished(*NAMES), tmp_path / "home"))


def loaded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Remembers every model that is loaded."""
    real, seen = _Subject._load, []

    def load(self: Any, on_progress: Any) -> Any:
        seen.append(self._run.run_id)
        return real(self, on_progress)

    monkeypatch.setattr(_Subject, "_load", load)
    return seen


def test_scores_are_kept_and_known_the_second_time(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = loaded(monkeypatch)
    with Lab.open(home) as lab:
        reader = lab.reader()
        (first,) = evaluate_runs(lab.store, [1], ["document-perplexity"])
        (second,) = evaluate_runs(lab.store, [1], ["document-perplexity"])
        assert (first.known, second.known) == (False, True) and first.scores == second.scores
        assert seen == [1]
        rows = [r for r in reader.evaluations(reader.run(1).study_id) if r.capability == "document-perplexity"]
        assert {r.metric: (r.value, r.stderr, r.n, r.chance) for r in rows} == {
            s.metric: (s.value, s.stderr, s.n, s.chance) for s in first.scores
        }
        assert all(s.stderr and s.n and s.chance for s in first.scores)
        study = reader.run(1).study_id
        assert build(reader, "capability-vs-params", study, capability="document-perplexity", metric="bits_per_byte")
        monkeypatch.setattr("engine.capabilities.document_perplexity.DocumentPerplexity.version", 99)
        assert not evaluate_runs(lab.store, [1], ["document-perplexity"])[0].known


def test_other_options_are_other_scores_and_the_run_s_own_stay(home: Path) -> None:
    with Lab.open(home) as lab:
        reader = lab.reader()
        before = reader.run(1).val_loss
        found = evaluate_runs(lab.store, [1], ["language-modelling"], {"tokens": "96"})
        assert found[0].capability == "language-modelling (tokens=96)"
        assert reader.run(1).val_loss == before
        own = evaluate_runs(lab.store, [1])
        assert [one.capability for one in own] == ["language-modelling"]
        loss = next(score.value for score in own[0].scores if score.metric == "loss")
        assert loss == pytest.approx(before, rel=1e-5) and reader.run(1).val_loss == loss


def test_a_run_in_low_precision_gives_its_own_scores_again(tmp_path: Path) -> None:
    spec = study("gpt", write_text(tmp_path / "text"))
    low = replace(spec, execution=replace(spec.execution, precision="bfloat16"))
    with Lab.open(tmp_path / "home", executor="thread") as lab:
        assert lab.runner.wait(lab.runner.submit(low), timeout=120)
        before = lab.reader().run(1).val_loss
        (own,) = evaluate_runs(lab.store, [1])
        loss = next(score.value for score in own.scores if score.metric == "loss")
        assert loss == pytest.approx(before, rel=1e-6)


def test_the_verb(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Lab.open(home) as lab:
        study = lab.reader().run(2).study_id
    command = ["evaluate", study, "--capability", "image-classification", "--home", str(home), "--json"]
    assert cli.main(command) == 0
    (entry,) = json.loads(capsys.readouterr().out)
    assert entry["run_id"] == 2 and not entry["known"]
    assert {"metric", "value", "stderr", "n", "chance"} == entry["scores"][0].keys()
    assert cli.main(["evaluate", "1", "--capability", "image-classification", "--home", str(home)]) == 0
    assert "could not be measured" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["1", "--capability", "telepathy"], "telepathy"),
        (["1", "--set", "tokens"], "field=value"),
        (["1", "--set", "depth=3"], "no option"),
        (["1", "--set", "tokens=1"], "tokens"),
        (["99"], "no run 99"),
        (["nothing-here"], "no study"),
        (["1", "--text", "x"], "--text is for folders"),
    ],
)
def test_bad_input_is_one_sentence(
    arguments: list[str], words: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["evaluate", *arguments, "--home", str(home)]) == 2
    said = capsys.readouterr().err.strip()
    assert words in said and len(said.splitlines()) == 1


def test_a_home_that_is_not_there_is_not_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["evaluate", "1", "--home", str(tmp_path / "nowhere")]) == 2
    assert "no results" in capsys.readouterr().err and list(tmp_path.iterdir()) == []


def test_data_that_changed_are_refused(home: Path) -> None:
    with Lab.open(home) as lab:
        lab.store.writer.call(
            lambda conn: conn.execute(
                "UPDATE run SET facts_json = json_set(facts_json, '$.data_fingerprint', 'x') WHERE id = 1"
            )
        ).result()
        with pytest.raises(InputError, match="have changed"):
            evaluate_runs(lab.store, [1], ["document-perplexity"])


def test_a_folder_scores_as_the_run_it_was_exported_from(home: Path, tmp_path: Path) -> None:
    with Lab.open(home) as lab:
        export_hf(lab.reader(), home, 1, tmp_path / "hf")
        found = evaluate_folder(lab.store, tmp_path / "hf", shared() / "text")
        again = evaluate_folder(lab.store, tmp_path / "hf", shared() / "text")
        assert again.known and again.scores == found.scores and not found.known
        bits = {score.metric: score.value for score in found.scores}
        assert bits["byte_perplexity"] == pytest.approx(2 ** bits["bits_per_byte"])
        assert 0 < bits["bits_per_byte"] < 9
        (tmp_path / "one.txt").write_text("only one")
        with pytest.raises(InputError, match="fewer than two"):
            evaluate_folder(lab.store, tmp_path / "hf", tmp_path / "one.txt")


def test_rolling_windows_predict_every_token_once() -> None:
    """A model of bigrams has the same likelihood however a text is cut; one that counts positions tells the windows."""
    generator = np.random.default_rng(0)
    table = torch.log_softmax(torch.from_numpy(generator.normal(size=(11, 11))), dim=-1).float()
    documents = [Text("", generator.integers(1, 11, n)) for n in (1, 5, 8, 9, 23)]
    found = log_likelihoods(lambda ids: table[ids], documents, 0, 8)
    for document, value in zip(documents, found, strict=True):
        read = np.concatenate([[0], document.tokens[:-1]])
        assert value == pytest.approx(float(table[read, document.tokens].sum()), rel=1e-5)
    assert math.isfinite(found.sum())
