"""Folders of plain transformers of every kind that is measured, and those of which nothing is."""

import math
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from engine import cli
from engine.battery.folder_kinds import MASKED_SHARE
from engine.battery.folders import FolderMeasurement, evaluate_folder
from engine.battery.runs import evaluate_runs
from engine.errors import InputError
from engine.exporting import export_hf
from engine.lab import Lab
from tests.engine.exporting.homes import finished, shared, write_text
from tests.engine.small_bases import WORDS, bert_folder, rows, table

CLASSES = list(WORDS)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """On a copy of a home with a finished run."""
    home = Path(shutil.copytree(finished("vit"), tmp_path_factory.mktemp("lab") / "home"))
    with Lab.open(home, executor="thread") as opened:
        yield opened


def classifier(folder: Path, names: list[str]) -> Path:
    """A BERT with a fresh head."""
    from transformers import AutoModelForSequenceClassification

    bert_folder(folder)
    known = dict(enumerate(names))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = AutoModelForSequenceClassification.from_pretrained(
            folder, num_labels=len(names), id2label=known, label2id={name: i for i, name in known.items()}
        )
        torch.nn.init.normal_(model.classifier.weight, std=1.0)
    model.save_pretrained(folder)
    return folder


def values(found: FolderMeasurement) -> dict[str, float]:
    return {score.metric: score.value for score in found.scores}


def test_a_classifier_of_texts_scores_as_plain_transformers_has_it(lab: Lab, tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    folder, given = classifier(tmp_path / "hf", CLASSES), rows(70)
    csv = table(tmp_path / "rows.csv", given)
    found = evaluate_folder(lab.store, folder, data=str(csv))
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForSequenceClassification.from_pretrained(folder)
    with torch.no_grad():
        logits = torch.cat([model.eval()(**tokenizer(text, return_tensors="pt")).logits for text, _ in given])
    truth = torch.tensor([CLASSES.index(label) for _, label in given])
    wanted = float(torch.nn.functional.cross_entropy(logits, truth))
    assert values(found)["log_likelihood"] == pytest.approx(-wanted, abs=1e-5)
    assert values(found)["accuracy"] == pytest.approx(float((logits.argmax(1) == truth).double().mean()))
    assert {score.n for score in found.scores if "[" not in score.metric} == {len(given)}
    assert evaluate_folder(lab.store, folder, data=str(csv)).known
    renamed = csv.rename(tmp_path / "other.csv")
    renamed.write_text(renamed.read_text().replace("text,label", "words,topic", 1))
    again = evaluate_folder(lab.store, folder, None, {"data.text": "words", "data.label": "topic"}, data=str(renamed))
    assert values(again) == values(found) and again.known


def test_a_label_that_the_model_does_not_know_is_named(lab: Lab, tmp_path: Path) -> None:
    folder = classifier(tmp_path / "hf", ["fruit", "tool"])
    with pytest.raises(InputError, match=r"'river' is no class of the model \(fruit, tool\)"):
        evaluate_folder(lab.store, folder, data=str(table(tmp_path / "rows.csv")))
    numbered = classifier(tmp_path / "numbered", ["LABEL_0", "LABEL_1", "LABEL_2"])
    given = [(text, str(CLASSES.index(label))) for text, label in rows(30)]
    assert evaluate_folder(lab.store, numbered, data=str(table(tmp_path / "numbers.csv", given))).scores


def test_a_masked_language_model_is_asked_for_hidden_tokens_between_its_own_ends(lab: Lab, tmp_path: Path) -> None:
    from transformers import AutoModelForMaskedLM

    folder = bert_folder(tmp_path / "hf")
    AutoModelForMaskedLM.from_pretrained(folder).save_pretrained(folder)
    texts = tmp_path / "texts"
    texts.mkdir()
    for number, (text, _) in enumerate(rows(40)):
        (texts / f"{number}.txt").write_text(text)
    found = evaluate_folder(lab.store, folder, texts)
    assert found.capability == "masked-tokens"
    n_tokens = 40 * 16  # six words and "and the" between them
    windows = n_tokens // 30  # of 32 places two are the tokenizer's own
    assert {score.n for score in found.scores} == {windows * round(30 * MASKED_SHARE)}
    assert values(found)["log_likelihood"] == pytest.approx(-math.log(31), abs=0.5)


def test_a_classifier_of_images_scores_as_the_run_it_came_from(lab: Lab, tmp_path: Path) -> None:
    from engine.sources import sources
    from engine.sources._images import ImageData, to_pixels
    from engine.study import convert

    export_hf(lab.reader(), lab.home, 1, tmp_path / "hf")
    found = values(evaluate_folder(lab.store, tmp_path / "hf", data="digits"))
    (own,) = evaluate_runs(lab.store, [1], ["image-classification"])
    of_run = {score.metric: score.value for score in own.scores}
    assert found["accuracy"] == of_run["top1"]
    assert found["log_likelihood"] == pytest.approx(-of_run["nll"], abs=1e-5)
    source = sources["digits"]
    data = source.prepare(convert({}, source.Spec), lab.store.cache, lambda *_: None)
    assert isinstance(data, ImageData)
    batch = data.held_out("validation", 40)
    for number, (image, target) in enumerate(zip(to_pixels(batch["inputs"]), batch["targets"], strict=True)):
        (tmp_path / "images" / str(target)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(tmp_path / "images" / str(target) / f"{number}.png")
    in_files = evaluate_folder(lab.store, tmp_path / "hf", data=str(tmp_path / "images"))
    assert in_files.scores[0].n == 40
    run = lab.reader().run_spec(1)
    assert run.family == "vit" and np.isfinite(in_files.scores[0].value)
    with pytest.raises(InputError, match="has no labelled images"):
        evaluate_folder(lab.store, tmp_path / "hf", data="python-text")


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ([], "is measured on a labelled table"),
        (["--text", "TEXT"], "is measured on a labelled table"),
        (["--data", "TABLE", "--capability", "addition"], "with such a model classification can be measured"),
        (["--data", "nowhere.csv"], "nowhere.csv"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], given: list[str], sentence: str
) -> None:
    names = {"TEXT": str(write_text(shared() / "text")), "TABLE": str(table(tmp_path / "rows.csv"))}
    command = ["evaluate", str(classifier(tmp_path / "hf", CLASSES)), "--home", str(tmp_path / "home")]
    assert cli.main([*command, *(names.get(word, word) for word in given)]) == 2
    assert sentence in " ".join(capsys.readouterr().err.split())


def test_a_bare_body_answers_nothing(lab: Lab, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds a BertModel, of which nothing can be measured"):
        evaluate_folder(lab.store, bert_folder(tmp_path / "hf"), shared() / "text")
