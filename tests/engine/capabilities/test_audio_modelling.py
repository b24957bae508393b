"""Capability ``audio-modelling``: known answers of every metric, and a run of wavenet from data to its sounds."""

import math
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine.capabilities import audio_modelling as am
from engine.capabilities import capabilities
from engine.capabilities._spectra import distance_db, formants, power
from engine.events import Evaluation, RunState, Sample
from engine.expand import expand
from engine.families import families
from engine.sources import sources
from engine.sources.spoken_vowels import SpokenClips
from engine.study import RunSpec, parse_study
from engine.task import Task
from engine.training.evaluate import under_test
from engine.training.run import run_one
from tests.engine.training import toy


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> SpokenClips:
    source = sources["spoken-vowels"]
    return source.prepare(source.Spec(clips=200), tmp_path_factory.mktemp("cache"), lambda step, fraction: None)


def run_spec(**data: Any) -> RunSpec:
    table = {
        "name": "sound",
        "title": "Sound",
        "model": {"family": "wavenet", "dilations": 5},
        "data": {"source": "spoken-vowels", "clips": 200, "vowels": 2} | data,
        "ladder": {"sizes": [1_000]},
        "training": {"steps": 4, "batch_size": 2, "context": 64, "eval_tokens": 512, "final_eval_tokens": 1_024},
        "execution": {"precision": "float32", "device": "cpu"},
        "capabilities": [
            {"name": "audio-modelling", "options": {"samples": 4_096, "clips": 2, "seconds": 0.1}},
        ],
    }
    return expand(parse_study(table))[0]


def real(data: SpokenClips, n: int, split: str = "validation") -> list:
    return [(c, w) for c in range(6) for w in data.waves(split, c, n, 0.25)]


def test_formants_of_known_resonances_are_found_and_silence_has_none() -> None:
    from scipy.signal import lfilter

    excitation = np.random.default_rng(0).standard_normal(8_000)
    for hz in (600.0, 1_500.0):
        r = math.exp(-math.pi * 80 / 8_000)
        excitation = lfilter([1.0], [1, -2 * r * math.cos(2 * math.pi * hz / 8_000), r * r], excitation)
    assert formants(excitation, 8_000) == pytest.approx([600, 1_500], rel=0.02)
    assert np.isnan(formants(np.zeros(800), 8_000)).all()


def test_spectral_distance_is_in_db_and_blind_to_loudness() -> None:
    noise = np.random.default_rng(0).standard_normal(4_000)
    one = power(noise, 8_000)
    assert distance_db(one, power(0.1 * noise, 8_000)) == pytest.approx(0, abs=1e-6)
    assert distance_db(one, one * 10) == pytest.approx(10)


def test_real_vowels_have_their_formants_and_others_do_not(data: SpokenClips) -> None:
    scores = {s.metric: s for s in am._formant_scores(real(data, 3), data, "_real")}
    error, right = scores["formant_error_real"], scores["vowels_right_real"]
    assert error.value < 6 and error.chance is not None and error.chance > 30
    assert right.value == 1 and right.chance == pytest.approx(1 / 6) and right.n == error.n == 18
    swapped = [((c + 1) % 6, w) for c, w in real(data, 3)]
    scores = {s.metric: s.value for s in am._formant_scores(swapped, data, "")}
    assert scores["vowels_right"] == 0 and scores["formant_error"] > 20
    silent = [(c, np.zeros(2_000)) for c in range(6)]
    scores = {s.metric: s.value for s in am._formant_scores(silent, data, "")}
    assert scores == {"formant_error": 100.0, "vowels_right": 0.0}


def test_the_same_sound_is_near_and_noise_is_far(data: SpokenClips) -> None:
    held_out, trained = real(data, 4), real(data, 4, "train")
    scores = {s.metric: s for s in am._spectral(trained, held_out, data.rate, 0)}
    near, floor = scores["spectral_distance"], scores["spectral_distance_real"]
    assert near.value == pytest.approx(floor.value, rel=0.4) and near.n == 24 and near.stderr is not None
    assert near.chance is not None and near.chance > 2.5 * near.value
    others = [((c + 1) % 6, w) for c, w in trained]
    assert am._spectral(others, held_out, data.rate, 0)[0].value > 2 * near.value


def test_a_model_of_single_levels_scores_chance(data: SpokenClips) -> None:
    spec = run_spec(vowels=6)
    model = families["wavenet"].build(spec.shape, 0)
    subject = under_test(model, spec, torch.device("cpu"))
    capability = capabilities["audio-modelling"]
    options = capability.Spec(samples=8_192, clips=0)
    targets = np.concatenate([b["targets"].ravel() for b in data.held_out_batches("validation", 128, 64, 8_192)])
    share = np.bincount(targets, minlength=256) / len(targets)
    with torch.no_grad():
        model.output.zero_()
        model.output_bias.copy_(torch.from_numpy(np.log(np.maximum(share, 1e-30))))
        scores = {s.metric: s for s in capability.evaluate(options, subject, data)}
    assert set(scores) == {"bits_per_sample", "accuracy", "ood_bits_per_sample", "ood_accuracy"}
    bits, accuracy = scores["bits_per_sample"], scores["accuracy"]
    assert bits.value == pytest.approx(bits.chance, abs=1e-4) and bits.n == 128
    assert accuracy.value == pytest.approx(accuracy.chance) == pytest.approx(share.max()) and accuracy.n == 8_192


def test_nothing_is_measured_where_it_means_nothing(data: SpokenClips) -> None:
    capability = capabilities["audio-modelling"]
    spec = run_spec()
    subject = under_test(families["wavenet"].build(spec.shape, 0), spec, torch.device("cpu"))
    parity = sources["sparse-parity"]
    other = parity.prepare(parity.Spec(), Path(), lambda step, fraction: None)
    assert capability.evaluate(capability.Spec(), subject, other) == []
    plain = under_test(torch.nn.Linear(2, 2), spec, torch.device("cpu"))
    assert capability.evaluate(capability.Spec(), plain, data) == []


def test_stop_and_resume_changes_nothing(tmp_path: Path) -> None:
    spec, cache = run_spec(), tmp_path / "cache"
    for name, controls in (("whole", [toy.Commands()]), ("stopped", [toy.StopAfter(2), toy.Commands()])):
        folder = tmp_path / name / "run"
        folder.mkdir(parents=True)
        states = [run_one(Task(1, spec, folder, cache), toy.Recorder(), control).state for control in controls]
        assert states[-1] is RunState.FINISHED and len(set(states)) == len(states)
    assert toy.same_weights(tmp_path / "whole", tmp_path / "stopped")
    sounds = [sorted((tmp_path / name / "run" / "samples").iterdir()) for name in ("whole", "stopped")]
    assert sounds[0] and [p.read_bytes() for p in sounds[0]] == [p.read_bytes() for p in sounds[1]]


@pytest.mark.parametrize("content", ["vowels", "tones"])
def test_a_run_from_data_to_evaluations_and_sounds(content: str, tmp_path: Path) -> None:
    spec = run_spec(content=content)
    reporter = toy.Recorder()
    outcome = run_one(Task(1, spec, tmp_path, tmp_path / "cache"), reporter, toy.Commands())
    assert outcome.state is RunState.FINISHED
    found = {(e.capability, e.metric): e for e in reporter.of(Evaluation)}
    assert math.isfinite(found["validation", "loss"].value)
    measured = {metric for name, metric in found if name == "audio-modelling"}
    listed = {metric.name for metric in capabilities["audio-modelling"].metrics}
    spoken = {metric for metric in listed if "formant" in metric or "vowels" in metric}
    assert measured == (listed if content == "vowels" else listed - spoken)
    sample = next(iter(reporter.of(Sample)))
    name, caption = sample.content.split("\n")
    assert sample.kind == "audio" and caption == ("a man's /i/" if content == "vowels" else "pure tone")
    with wave.open(str(tmp_path / name)) as file:
        assert file.getframerate() == 8_000 and file.getnframes() == 4_000
