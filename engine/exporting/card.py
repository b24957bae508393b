"""The model card of an exported folder: what it was trained on and how, what it scores, and how to know it again.

The front matter follows the model cards of Hugging Face (Mitchell 2019); ``emergence_lab`` in it names the run, so that
results measured on the folder elsewhere find their way back.
"""

import importlib.metadata
import json
import math
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from engine import __version__
from engine.capabilities.cost import NAME as COST
from engine.families import families
from engine.files import sha256
from engine.model_folders import CONFIG
from engine.sources import sources
from engine.study import spec_hash

if TYPE_CHECKING:
    from engine.finished import Finished
    from engine.store import EvaluationRow, Reader

CARD = "README.md"
KEY = "emergence_lab"
WEIGHTS = "model.safetensors"
LIBRARIES = ("torch", "transformers", "safetensors", "tokenizers")
_RECIPE = (
    "optimizer",
    "learning_rate",
    "lr_rule",
    "schedule",
    "batch_size",
    "context",
    "n_steps",
    "tokens",
    "weight_decay",
    "warmup_steps",
    "decay_steps",
)


@dataclass(frozen=True, slots=True)
class Contents:
    """What was written into a folder: how many parameters, and in what form those of a compressed model are."""

    n_params: int
    words: str = ""


def write_card(reader: "Reader", run: "Finished", folder: Path, contents: Contents) -> None:
    """Write ``README.md`` into the folder of an exported model."""
    from huggingface_hub import ModelCardData

    scores = final_scores(reader, run.run_id)
    named: Any = {KEY: identity(reader, run, folder) | _counts(run, contents)}
    data = ModelCardData(
        library_name="transformers",
        tags=["emergence-lab", run.spec.family],
        model_name=run.spec.label,
        eval_results=[_result(run, row) for row in scores] or None,
        **named,
    )
    front = data.to_yaml(line_break="\n")
    text = f"---\n{front}\n---\n\n{_body(reader, run, scores, folder, contents)}"
    (folder / CARD).write_text(text, encoding="utf-8")


def final_scores(reader: "Reader", run_id: int) -> "list[EvaluationRow]":
    """What was measured on the finished model of a run."""
    study = reader.run(run_id).study_id
    return [row for row in reader.evaluations(study, final_only=True) if row.run_id == run_id]


def identity(reader: "Reader", run: "Finished", folder: Path) -> dict[str, Any]:
    """What tells this model from every other: study, run, weights as trained and as they lie in the folder."""
    row = reader.run(run.run_id)
    study = reader.study(row.study_id)
    written = folder / WEIGHTS
    return {
        "study": study.id,
        "study_hash": study.spec_hash,
        "run_id": run.run_id,
        "run_hash": row.spec_hash,
        "weights_sha256": run.weights.sha256,
        "file_sha256": sha256(written) if written.is_file() else "",
    }


def _counts(run: "Finished", contents: Contents) -> dict[str, int]:
    """Parameters, all and without embeddings: what is cut out of a model is none of those."""
    gone = run.spec.n_params - contents.n_params
    return {"n_params": contents.n_params, "n_params_non_embedding": run.spec.n_params_non_embedding - gone}


def read_identity(folder: Path) -> dict[str, Any] | None:
    """What an exported folder says of itself; None where it has no card of this program."""
    from huggingface_hub.repocard import metadata_load

    try:
        front = metadata_load(folder / CARD)
    except (OSError, ValueError, TypeError):
        return None
    except Exception as error:
        if type(error).__module__.partition(".")[0] != "yaml":
            raise
        return None
    found = front.get(KEY) if isinstance(front, dict) else None
    return found if isinstance(found, dict) else None


def _result(run: "Finished", row: "EvaluationRow") -> Any:
    from huggingface_hub import EvalResult

    return EvalResult(
        task_type=row.capability,
        dataset_type=run.spec.source,
        dataset_name=f"{run.spec.source}, held out",
        metric_type=row.metric,
        metric_value=None if math.isnan(row.value) else row.value,
        metric_args={"stderr": row.stderr, "n": row.n, "chance": row.chance},
    )


def _body(reader: "Reader", run: "Finished", scores: "list[EvaluationRow]", folder: Path, contents: Contents) -> str:
    row = reader.run(run.run_id)
    study = reader.study(row.study_id)
    counts = _counts(run, contents)
    parts = [
        f"# {study.title}: {run.spec.label}",
        f"{families[run.spec.family].title}, trained by Emergence Lab {__version__}. {_loading(folder)}",
        "## Size",
        f"{counts['n_params']:,} parameters, {counts['n_params_non_embedding']:,} of them not in embeddings.",
        *(("## Compression", _compression(reader, run, scores, folder, contents)) if run.compressed else ()),
        "## Data",
        _data(run, row.facts),
        "## Recipe",
        _table([(name, getattr(run.spec.training, name)) for name in _RECIPE]),
        f"Seed {run.spec.seed}; {row.facts.get('precision') or 'float32'} on {row.facts.get('device') or 'CPU'}; "
        f"{run.spec.compute_flops:.3g} FLOPs.",
        "## Scores",
        _scores(scores),
        "## Versions",
        _table([("Emergence Lab", __version__), ("Python", platform.python_version()), *_versions()]),
        "## Provenance",
        _table(
            [
                ("study", study.id),
                ("study hash", study.spec_hash),
                ("run hash", spec_hash(run.spec)),
                ("SHA-256 of the weights as trained", run.weights.sha256),
            ]
        ),
        "## Licence",
        "None is given here: choose one that the data allow, and name it in the front matter as `license:`.",
    ]
    return "\n\n".join(parts) + "\n"


def _loading(folder: Path) -> str:
    """How the folder is opened: some carry code."""
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    if "auto_map" not in config:
        return "Load it with plain transformers; no code of the lab is needed."
    auto = next(name for name in config["auto_map"] if name != "AutoConfig")
    files = ", ".join(f"`{path.name}`" for path in sorted(folder.glob("*.py")))
    return (
        f"transformers has no class for it, so its code lies beside the weights ({files}; plain PyTorch, nothing of "
        f"the lab is needed). Read it, then load it with `transformers.{auto}.from_pretrained(FOLDER, "
        "trust_remote_code=True)`; its tokenizer, where it has one, likewise with `AutoTokenizer`."
    )


def _compression(
    reader: "Reader", run: "Finished", scores: "list[EvaluationRow]", folder: Path, contents: Contents
) -> str:
    """What was done to which model, what it saved, and what it cost in scores."""
    parent = None if run.spec.parent is msgspec.UNSET else reader.run_of_hash(run.spec.parent)
    cost = {row.metric: row.value for row in scores if row.capability == COST}
    before = {(row.capability, row.metric): row.value for row in final_scores(reader, parent.id)} if parent else {}
    written = folder / WEIGHTS
    told = [
        *msgspec.to_builtins(run.spec.compression).items(),
        ("made from", f"run {parent.id}, {parent.label}" if parent else "a run that is not here"),
        ("steps of fine-tuning", run.spec.training.n_steps),
        ("bytes of the model it was made from", _number(cost.get("parent_bytes"))),
        ("bytes as the lab keeps it", _number(cost.get("bytes"))),
        ("bytes of this folder's weights", written.stat().st_size if written.is_file() else None),
        ("weights that are not 0", _number(cost.get("nonzero"))),
        ("share of weights that are 0", cost.get("sparsity")),
    ]
    rows = [
        f"| {row.capability} | {row.metric} | {_cell(before[row.capability, row.metric])} | {_cell(row.value)} |"
        for row in scores
        if (row.capability, row.metric) in before
    ]
    head = "| capability | metric | before | compressed |\n| --- | --- | --- | --- |\n"
    return "\n\n".join([contents.words, _table(told), head + "\n".join(rows) if rows else "Nothing was compared."])


def _number(value: float | None) -> int | None:
    return None if value is None else int(value)


def _data(run: "Finished", facts: Any) -> str:
    source = sources[run.spec.source]
    fields = [(name, value) for name, value in run.spec.data.items() if name != "path"]  # where it lay is private
    told = [("source", f"{source.title} (`{source.name}` version {run.spec.source_version})"), *fields]
    told.append(("fingerprint", facts.get("data_fingerprint") or "-"))
    if facts.get("epochs"):
        told.append(("epochs", f"{float(facts['epochs']):.3g}"))
    words = "The data are procedural: a program made them, and no person wrote them.\n\n" if source.procedural else ""
    return words + _table(told)


def _scores(scores: "list[EvaluationRow]") -> str:
    if not scores:
        return "None was measured."
    head = "| capability | metric | value | standard error | n | chance |\n| --- | --- | --- | --- | --- | --- |\n"
    return head + "\n".join(
        "| "
        + " | ".join(_cell(v) for v in (row.capability, row.metric, row.value, row.stderr, row.n, row.chance))
        + " |"
        for row in scores
    )


def _table(rows: list[tuple[str, Any]]) -> str:
    return "| | |\n| --- | --- |\n" + "\n".join(f"| {name} | {_cell(value)} |" for name, value in rows)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return text.replace("|", "\\|").replace("\n", " ")


def _versions() -> list[tuple[str, str]]:
    return [(name, importlib.metadata.version(name)) for name in LIBRARIES]
