"""Writing a bundle: everything that is known of a study, and the weights that were asked for."""

import contextlib
import datetime
import hashlib
import json
import math
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import pyarrow as pa
import pyarrow.parquet

from engine import __version__
from engine.bundling import contents as c
from engine.capabilities import higher_is_better
from engine.errors import InputError
from engine.events import RunState
from engine.files import replacing, require_space
from engine.i18n import mark, tr
from engine.sources.base import OnProgress
from engine.study import DERIVED, to_toml_table
from engine.tables import to_toml, write_table

if TYPE_CHECKING:
    from engine.store import ArtifactRow, Reader, RunRow

Weights = Literal["none", "best", "all"]
WEIGHTS: tuple[Weights, ...] = ("none", "best", "all")
MODELS = frozenset({"weights", "best", "compressed"})
MADE = frozenset({"sample", "predictions"})
"""Kinds of a run's files: models, and what was made with them. A checkpoint stays: it is for going on where it lies."""
BESIDE = ("model.json", "tokenizer.json", "tokenizer_config.json")
"""Small files that make weights of use."""
MAX_SAMPLE_BYTES = 64 << 20
"""Images and sounds that runs made are left out beyond this; texts are always in."""
_BLOCK = 1 << 20


def export_bundle(
    reader: "Reader",
    home: Path,
    study_id: str,
    path: Path,
    weights: Weights | str = "none",
    on_progress: OnProgress = lambda step, fraction: None,
) -> None:
    """Write a study as a zip to ``path``, whole or not at all.

    ``weights`` of finished runs: ``none``, those of the ``best`` run by the study's headline, or ``all``.

    Raises:
        InputError: there is no such study, or no such choice of weights.
        ResourceError: the disk is full or the folder cannot be written.
    """
    if weights not in WEIGHTS:
        raise InputError(tr("--weights {given!r} is none of {known}.", given=weights, known=", ".join(WEIGHTS)))
    runs = reader.runs(study_id)
    chosen = _chosen(reader, study_id, runs, weights)
    artifacts = [part for run in runs for part in _artifacts(reader, home, run, run.id in chosen)]
    files = [(f"{c.FILES}/{part.number}/{part.path}", home / "artifacts" / str(part.number) / part.path)
             for part in artifacts]  # fmt: skip
    for number in sorted(chosen):
        folder = home / "artifacts" / str(number)
        files += [(f"{c.FILES}/{number}/{name}", folder / name) for name in BESIDE if (folder / name).is_file()]
    require_space(path.parent, sum(source.stat().st_size for _, source in files))
    with tempfile.TemporaryDirectory() as made, replacing(path) as temporary:
        files = [*_documents(reader, study_id, runs, artifacts, Path(made), on_progress), *files]
        _zip(temporary, study_id, weights, files, on_progress)


def _chosen(reader: "Reader", study_id: str, runs: "list[RunRow]", weights: str) -> set[int]:
    kept = {run.id for run in runs if run.state == RunState.FINISHED and _models(reader, run.id)}
    if weights != "best":
        return kept if weights == "all" else set()
    finished = kept - {run.id for run in runs if run.kind in DERIVED}
    headline = reader.study_spec(study_id).headline
    scores = reader.scores(study_id, headline.capability, headline.metric)
    scores = {run: value for run, value in scores.items() if math.isfinite(value)}
    if not scores.keys() & finished:
        scores = {run.id: run.val_loss for run in runs if run.val_loss is not None}
    known = [run for run in finished if run in scores]
    best = max if higher_is_better(headline.capability, headline.metric) else min
    return {best(known, key=lambda run: (scores[run], run))} if known else set()


def _models(reader: "Reader", run_id: int) -> "list[ArtifactRow]":
    return [row for row in reader.artifacts(run_id) if row.kind in MODELS]


def _artifacts(reader: "Reader", home: Path, run: "RunRow", with_weights: bool) -> Iterator[c.ArtifactPart]:
    kinds = MADE | MODELS if with_weights else MADE
    samples = 0
    for row in reader.artifacts(run.id):
        if row.kind not in kinds or not (home / "artifacts" / str(run.id) / row.path).is_file():
            continue
        if row.kind == "sample":
            samples += row.n_bytes
            if samples > MAX_SAMPLE_BYTES:
                continue
        yield c.ArtifactPart(
            number=run.id,
            kind=row.kind,
            path=row.path,
            step=row.step,
            n_bytes=row.n_bytes,
            sha256=row.sha256,
            created=row.created,
        )


Files = list[tuple[str, Path]]


def _documents(
    reader: "Reader",
    study_id: str,
    runs: "list[RunRow]",
    artifacts: list[c.ArtifactPart],
    folder: Path,
    on_progress: OnProgress,
) -> Files:
    """Everything but the files of runs, written into ``folder``; names in the bundle and paths."""
    on_progress(mark("tables"), 0.0)
    study = reader.study(study_id)
    documents: dict[str, Any] = {
        c.STUDY: c.StudyPart(
            title=study.title, spec_json=study.spec_json, created=study.created, notes=study.notes, tags=study.tags
        ),
        c.RUNS: [_run_part(run) for run in runs],
        c.LAWS: [
            c.LawPart(form=law.form, document=json.loads(law.document_json), created=law.created)
            for law in reader.law_rows(study_id)
        ],
        c.FORECASTS: [
            c.ForecastPart(
                form=row.form,
                document_json=row.document_json,
                created=row.created,
                score_json=row.score_json,
                scored=row.scored,
            )
            for row in reader.forecasts(study_id)
        ],
        c.ARTIFACTS: artifacts,
    }
    for name, document in documents.items():
        (folder / name).write_bytes(msgspec.json.format(msgspec.json.encode(document)))
    _tables(reader, study_id, runs, folder)
    spec = reader.study_spec(study_id)
    if spec.kind != "import":
        (folder / "study.toml").write_text(to_toml(to_toml_table(spec)), encoding="utf-8")
    if runs:
        write_table(reader, study_id, folder / "results.csv", "csv")
    _figures(reader, study_id, folder / "figures", on_progress)
    return [(p.relative_to(folder).as_posix(), p) for p in sorted(folder.rglob("*")) if p.is_file()]


def _run_part(run: "RunRow") -> c.RunPart:
    """What is under way or waits is written as interrupted: where it goes, nothing runs yet."""
    same = {
        name: getattr(run, name) for name in c.RunPart.__struct_fields__ if name not in ("number", "state", "facts")
    }
    over = run.state in (RunState.FINISHED, RunState.FAILED, RunState.CANCELLED)
    state = run.state if over else RunState.INTERRUPTED.value
    return c.RunPart(number=run.id, state=state, facts=run.facts, **same)


def _tables(reader: "Reader", study_id: str, runs: "list[RunRow]", folder: Path) -> None:
    evaluations = [
        {"number": row.run_id} | {name: getattr(row, name) for name in c.SCHEMAS[c.EVALUATIONS].names[1:]}
        for row in reader.evaluations(study_id)
    ]
    _parquet(folder / c.EVALUATIONS, [pa.Table.from_pylist(evaluations, c.SCHEMAS[c.EVALUATIONS])])
    _parquet(folder / c.CURVES, (_curve(reader, run.id, key) for run in runs for key in reader.metric_keys(run.id)))
    _parquet(folder / c.EVENTS, (_events(reader, run.id) for run in runs))


def _curve(reader: "Reader", run_id: int, key: str) -> pa.Table:
    steps, values = reader.curve_full(run_id, key)
    columns = [pa.array([run_id] * len(steps), pa.int64()), pa.array([key] * len(steps)), steps, values]
    return pa.Table.from_arrays([pa.array(column) for column in columns], schema=c.SCHEMAS[c.CURVES])


def _events(reader: "Reader", run_id: int) -> pa.Table:
    rows = [
        {"time": row.time, "kind": row.kind, "level": row.level, "step": row.step, "text": row.text}
        for row in reader.log(run_id)
    ]
    rows += [
        {"time": row.time, "kind": "sample", "level": row.kind, "step": row.step, "text": row.content}
        for row in reader.samples(run_id)
    ]
    rows.sort(key=lambda row: row["time"] or 0.0)
    return pa.Table.from_pylist([{"number": run_id} | row for row in rows], c.SCHEMAS[c.EVENTS])


def _parquet(path: Path, tables: Any) -> None:
    with pyarrow.parquet.ParquetWriter(path, c.SCHEMAS[path.name], compression="zstd") as writer:
        for table in tables:
            writer.write_table(table)


def _figures(reader: "Reader", study_id: str, folder: Path, on_progress: OnProgress) -> None:
    from engine.figures.builders import FIGURES, build
    from engine.figures.export import export

    names = [name for name in FIGURES if name != "comparison"]
    for done, name in enumerate(names):
        on_progress(mark("figures"), done / len(names))
        with contextlib.suppress(InputError):  # a figure that this study has not
            figure = build(reader, name, study_id)
            folder.mkdir(exist_ok=True)
            for suffix in ("svg", "csv"):
                export(figure, folder / f"{name}.{suffix}")


def _zip(path: Path, study_id: str, weights: str, files: Files, on_progress: OnProgress) -> None:
    entries: dict[str, c.FileEntry] = {}
    total = sum(source.stat().st_size for _, source in files) or 1
    done = 0
    with zipfile.ZipFile(path, "w") as archive:
        for name, source in files:
            digest, n_bytes = hashlib.sha256(), 0
            with source.open("rb") as stream, archive.open(_info(name), "w", force_zip64=True) as inside:
                while block := stream.read(_BLOCK):
                    digest.update(block)
                    inside.write(block)
                    n_bytes += len(block)
                    done += len(block)
                    on_progress(mark("files"), min(1.0, done / total))
            entries[name] = c.FileEntry(sha256=digest.hexdigest(), n_bytes=n_bytes)
        manifest = c.Manifest(
            format=c.FORMAT,
            version=c.VERSION,
            program=__version__,
            study=study_id,
            created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            weights=weights,
            files=entries,
        )
        archive.writestr(_info(c.MANIFEST), msgspec.json.format(msgspec.json.encode(manifest)))


def _info(name: str) -> zipfile.ZipInfo:
    """A plain file; what is compressed already is stored as it is."""
    info = zipfile.ZipInfo(name)
    info.external_attr = 0o100644 << 16
    packed = name.endswith((".safetensors", ".parquet", ".png"))
    info.compress_type = zipfile.ZIP_STORED if packed else zipfile.ZIP_DEFLATED
    return info
