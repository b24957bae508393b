"""Each file is opened again: it is what its suffix says, at the size asked, and tells where it comes from."""

import csv
import io
import json
import shutil
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from PIL import Image

from engine.errors import InputError, ResourceError
from engine.figures.builders import FIGURES, build
from engine.figures.export import export
from engine.figures.style import load_style, styles
from engine.i18n import set_language
from engine.store import Reader
from tests.engine.figures.example import OF_OTHER_STUDIES

Study = tuple[Reader, str]
SVG = "{http://www.w3.org/2000/svg}"
DC = "{http://purl.org/dc/elements/1.1/}"


@pytest.fixture(autouse=True)
def fixed_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")


def test_svg(study: Study, tmp_path: Path) -> None:
    reader, key = study
    path = export(build(reader, "loss-vs-params", key), tmp_path / "f.svg")
    root = ET.parse(path).getroot()
    assert root.tag == f"{SVG}svg"
    style = load_style("paper")
    points = 72 / 25.4
    assert float(root.attrib["width"].removesuffix("pt")) == pytest.approx(style.width_mm * points, abs=0.1)
    metadata = root.find(f"{SVG}metadata")
    assert metadata is not None
    description = next(metadata.iter(f"{DC}description")).text or ""
    facts = json.loads(description.splitlines()[-1])
    assert facts["study_id"] == key and facts["equation"].startswith("L = ") and len(facts["run_ids"]) == 12
    assert facts["data_fingerprint"] == ["ab" * 32] and facts["created"].startswith("2023-11-14")


def test_pdf(study: Study, tmp_path: Path) -> None:
    reader, key = study
    path = export(build(reader, "loss-vs-params", key), tmp_path / "f.pdf")
    content = path.read_bytes()
    assert content.startswith(b"%PDF-1.") and content.rstrip().endswith(b"%%EOF")
    info = content[content.index(b"/Keywords") :][:4000]
    assert key.encode() in info and b"study_hash" in info
    assert b"/Title (Loss against size: Scaling on text)" in content
    if shutil.which("pdfinfo"):
        told = subprocess.run(["pdfinfo", str(path)], capture_output=True, text=True, check=True).stdout
        assert "Pages:           1" in told and "Loss against size" in told


def test_png_at_300_dpi(study: Study, tmp_path: Path) -> None:
    reader, key = study
    path = export(build(reader, "capability-vs-params", key, capability="copying"), tmp_path / "f.png")
    with Image.open(path) as image:
        image.load()
        assert image.format == "PNG"
        assert image.info["dpi"] == pytest.approx((300, 300), abs=0.1)
        assert image.width == pytest.approx(85 / 25.4 * 300, abs=1.5)
        facts = json.loads(image.text["Provenance"])  # type: ignore[attr-defined]
        assert len(set(image.convert("L").tobytes())) > 10
    assert facts["study_id"] == key and facts["capability"] == "copying"


def test_csv_is_what_is_plotted(study: Study, tmp_path: Path) -> None:
    reader, key = study
    figure = build(reader, "loss-vs-params", key)
    text = export(figure, tmp_path / "f.csv").read_text(encoding="utf-8")
    head = dict(line[2:].split(": ", 1) for line in text.splitlines() if line.startswith("# "))
    assert head["study_id"] == key and json.loads(head["run_ids"]) == figure.provenance["run_ids"]
    body = "".join(line for line in text.splitlines(keepends=True) if not line.startswith("#"))
    rows = list(csv.DictReader(io.StringIO(body)))
    assert len(rows) == len(figure.table()[1])
    means = [float(row["y"]) for row in rows if row["series"] == "mean of seeds"]
    assert means == next(s for s in figure.series if s.name == "mean of seeds").y.tolist()


@pytest.mark.parametrize("suffix", ["svg", "pdf", "png", "csv"])
def test_equal_figures_give_equal_bytes(study: Study, tmp_path: Path, suffix: str) -> None:
    reader, key = study
    first, second = (export(build(reader, "residuals", key), tmp_path / f"{i}.{suffix}").read_bytes() for i in (1, 2))
    assert first == second


@pytest.mark.parametrize("style", styles())
def test_every_style_draws_every_figure(study: Study, tmp_path: Path, style: str) -> None:
    reader, key = study
    for name in FIGURES.keys() - OF_OTHER_STUDIES:
        path = export(build(reader, name, key), tmp_path / f"{name}.svg", style)
        assert path.stat().st_size > 5000


def test_chinese_is_drawn_with_the_bundled_font(study: Study, tmp_path: Path) -> None:
    from dataclasses import replace

    reader, key = study
    set_language("zh_CN")
    figure = replace(build(reader, "loss-curves", key), title="损失与规模", caption="验证损失")
    # A missing glyph is a warning, and a warning is an error here.
    path = export(figure, tmp_path / "f.pdf", "slide")
    assert b"NotoSansSC" in path.read_bytes()
    with Image.open(export(figure, tmp_path / "f.png", "slide")) as image:
        image.load()
        assert image.text["Title"] == "损失与规模"  # type: ignore[attr-defined]


def test_what_cannot_be_written_is_said_and_leaves_nothing(study: Study, tmp_path: Path) -> None:
    reader, key = study
    figure = build(reader, "residuals", key)
    with pytest.raises(InputError, match=r"\.svg"):
        export(figure, tmp_path / "f.docx")
    with pytest.raises(InputError, match="paper"):
        export(figure, tmp_path / "f.svg", "poster")
    (tmp_path / "file").write_text("x")
    with pytest.raises(ResourceError):
        export(figure, tmp_path / "file" / "f.csv")
    (tmp_path / "taken.csv").mkdir()
    with pytest.raises(ResourceError):
        export(figure, tmp_path / "taken.csv")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "taken.csv"]
