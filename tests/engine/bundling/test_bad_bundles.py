"""Bundles that lie, lead out of their folder or burst: one sentence, exit code 2, nothing changed on the disk."""

import hashlib
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine import cli
from engine.bundling.writing import export_bundle
from engine.lab import Lab
from tests.engine import fakes

Files = dict[str, bytes]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """The files of a bundle that is as it should be."""
    folder = tmp_path_factory.mktemp("good")
    with Lab.open(folder / "home", jobs=1, run_one=fakes.run_one) as lab:
        study = lab.runner.submit(fakes.tiny_study())
        assert lab.runner.wait(study, timeout=60)
        lab.store.writer.flush()
        export_bundle(lab.reader(), lab.home, study, folder / "b.zip")
    with zipfile.ZipFile(folder / "b.zip") as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write(path: Path, files: Files, *, fix: bool = True, link: str = "", twice: str = "") -> Path:
    """A bundle of these files; with ``fix`` the manifest is made to agree with them."""
    files = dict(files)
    if fix:
        manifest = json.loads(files["manifest.json"])
        manifest["files"] = {
            name: {"sha256": hashlib.sha256(content).hexdigest(), "n_bytes": len(content)}
            for name, content in files.items()
            if name != "manifest.json"
        }
        files["manifest.json"] = json.dumps(manifest).encode()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = (0o120777 if name == link else 0o100644) << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, content)
        if twice:
            archive.writestr(twice, files.get(twice, b"x"))
    return path


def refused(file: Path, home: Path, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert cli.main(["import", str(file), "--home", str(home)]) == 2
    said = capsys.readouterr().err.strip()
    assert len(said.splitlines()) == 1 and words in said, said
    assert not home.exists()


@pytest.mark.parametrize(
    "name",
    [
        "../evil.txt",
        "files/../../evil.txt",
        "/etc/evil",
        "C:/evil.txt",
        "files/1/a:b",
        "files\\..\\evil",
        "files/1/nul.txt",
        "files/1/dot.",
        "files//x",
    ],
)
def test_names_that_lead_out_are_refused(
    name: str, good: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refused(write(tmp_path / "b.zip", good | {name: b"x"}), tmp_path / "home", "unsafe name", capsys)
    assert {path.name for path in tmp_path.iterdir()} == {"b.zip"}


def changed(good: Files, name: str, change: Callable[[Any], Any]) -> Files:
    document = json.loads(good[name])
    return good | {name: json.dumps(change(document)).encode()}


def first_run(**over: Any) -> Callable[[Any], Any]:
    return lambda runs: [runs[0] | over, *runs[1:]]


CASES: dict[str, tuple[Callable[[Files], Files], str]] = {
    "no manifest": (lambda g: {k: v for k, v in g.items() if k != "manifest.json"}, "no study bundle"),
    "no runs": (lambda g: {k: v for k, v in g.items() if k != "runs.json"}, "has no runs.json"),
    "of no run": (lambda g: g | {"files/99/weights.safetensors": b"x"}, "of no run"),
    "a pickle": (lambda g: g | {"runs.json": b"\x80\x04cos\nsystem\n"}, "cannot be read"),
    "another study": (
        lambda g: changed(g, "study.json", lambda s: s | {"spec_json": s["spec_json"].replace("2000", "2001")}),
        "not the one",
    ),
    "same number": (lambda g: changed(g, "runs.json", lambda runs: [runs[0], *runs[:-1]]), "same number"),
    "a bad spec": (lambda g: changed(g, "runs.json", first_run(spec_json="{}")), "runs.json in the bundle"),
    "a new field": (lambda g: changed(g, "runs.json", first_run(new=1)), "newer version"),
    "an unknown family": (
        lambda g: changed(
            g, "runs.json", lambda r: [x | {"spec_json": x["spec_json"].replace('"gpt"', '"ufo"')} for x in r]
        ),
        "does not know",
    ),
    "another table": (lambda g: g | {"curves.parquet": g["events.parquet"]}, "other columns"),
    "a broken table": (lambda g: g | {"curves.parquet": b"PAR1" + b"\0" * 50}, "cannot be read"),
    "tables of other runs": (
        lambda g: changed(g, "runs.json", lambda runs: runs[1:]),
        "contradict each other",
    ),
    "a newer bundle": (lambda g: changed(g, "manifest.json", lambda m: m | {"version": 2}), "version 2"),
    "another zip": (lambda g: changed(g, "manifest.json", lambda m: m | {"format": "x"}), "no study bundle"),
    "a bomb": (lambda g: g | {"files/1/weights.safetensors": b"\0" * (30 << 20)}, "times its size"),
    "the same name in capitals": (lambda g: g | {"RUNS.json": b"[]"}, "twice"),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_bundles_are_one_sentence(
    case: str, good: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change, words = CASES[case]
    files = change(good)
    file, home = write(tmp_path / "b.zip", files, fix="manifest.json" in files), tmp_path / "home"
    if case == "tables of other runs":  # found only when it is stored: the home is made, and stays empty
        capsys.readouterr()
        assert cli.main(["import", str(file), "--home", str(home)]) == 2
        assert words in capsys.readouterr().err
        with Lab.open(home) as lab:
            assert lab.reader().studies() == [] and list((home / "artifacts").iterdir()) == []
        return
    refused(file, home, words, capsys)


def test_a_link_a_double_and_a_changed_byte(good: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    link = write(tmp_path / "link.zip", good | {"files/1/link": b"/etc/passwd"}, link="files/1/link")
    refused(link, tmp_path / "home", "a link", capsys)
    with pytest.warns(UserWarning, match="Duplicate"):
        double = write(tmp_path / "double.zip", good, twice="runs.json")
    refused(double, tmp_path / "home", "twice", capsys)
    changed_byte = good | {"study.toml": good["study.toml"].replace(b"tiny", b"tinx")}
    refused(write(tmp_path / "sum.zip", changed_byte, fix=False), tmp_path / "home", "checksum", capsys)
    refused(write(tmp_path / "more.zip", good | {"x": b""}, fix=False), tmp_path / "home", "manifest", capsys)
    cut = tmp_path / "cut.zip"
    cut.write_bytes(write(tmp_path / "whole.zip", good).read_bytes()[:-2000])
    refused(cut, tmp_path / "home", "damaged zip", capsys)
    hurt = bytearray(write(tmp_path / "whole.zip", good).read_bytes())
    hurt[2000:2040] = bytes(40)
    (tmp_path / "hurt.zip").write_bytes(hurt)
    refused(tmp_path / "hurt.zip", tmp_path / "home", "", capsys)
