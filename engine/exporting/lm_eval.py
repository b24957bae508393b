"""A study's held-out documents as tasks of lm-evaluation-harness, so that the harness measures what the lab measures.

``NAME_documents`` is the likelihood of whole documents by rolling windows: its perplexities are those of the capability
``document-perplexity``. ``NAME_continuation`` asks which of four texts goes on a document.
"""

import json
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.errors import InputError
from engine.families import families
from engine.files import write_text
from engine.i18n import tr
from engine.sources import sources
from engine.sources._tokenizers import SEPARATOR
from engine.study import convert

if TYPE_CHECKING:
    from engine.capabilities._rolling import Text
    from engine.store import Reader

N_CHOICES = 4
MOST_WORDS = 48
"""Of a question and one of its answers; fewer where the models read less."""
_SALT = 0x1E7A


def export_lm_eval_task(reader: "Reader", home: Path, study_id: str, folder: Path, n_documents: int = 200) -> list[str]:
    """Write the tasks of a study into ``folder``, with a README that says what to type; returns their names.

    Raises:
        InputError: the study's data are no text, its models do not predict what comes next, or there is too little.
        ResourceError: the folder cannot be written.
    """
    from engine.capabilities._rolling import held_out

    runs = reader.runs(study_id)
    if not runs:
        raise InputError(tr("{study} has no runs.", study=study_id))
    spec = reader.run_spec(runs[0].id)
    known = spec.family in families and spec.source in sources
    if not (known and families[spec.family].predicts_next):
        raise InputError(
            tr("{study} trains no model of what comes next.", study=study_id),
            tr("The harness is for language models, such as the family gpt."),
        )
    source = sources[spec.source]
    data = source.prepare(convert(dict(spec.data), source.Spec, "data"), home / "cache", lambda step, fraction: None)
    documents = held_out(data, n_documents)
    if len(documents) < 2:
        raise InputError(tr("{study} has fewer than two held-out documents of text.", study=study_id))
    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    name = re.sub(r"[^a-z0-9]+", "_", study_id.lower())
    tasks = [f"{name}_documents"]
    _lines(folder / "documents.jsonl", [{"text": document.text} for document in documents])
    write_text(folder / f"{tasks[0]}.yaml", _documents_task(tasks[0], folder, study_id))
    questions = _questions(documents, spec.training.context)
    if questions:
        tasks.append(f"{name}_continuation")
        _lines(folder / "continuation.jsonl", questions)
        write_text(folder / f"{tasks[1]}.yaml", _continuation_task(tasks[1], folder, study_id))
    write_text(folder / "README.md", _readme(study_id, tasks, folder, spec.training.context, len(documents)))
    return tasks


def _lines(path: Path, rows: list[dict[str, Any]]) -> None:
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def _questions(documents: "list[Text]", context: int) -> list[dict[str, Any]]:
    """A document's first words, how it goes on, and how three others go on at the same place.

    Question and answer fit into the context as a rule: the harness cuts longer ones from the left.
    """
    per_word = sum(len(d.tokens) for d in documents) / sum(d.n_words for d in documents)
    n_words = min(MOST_WORDS, int(0.8 * context / per_word))
    n_answer = max(1, n_words // 3)
    n_asked = max(1, n_words - n_answer)
    words = [found for d in documents if len(found := d.text.split()) >= n_asked + n_answer]
    going_on = [" ".join(found[n_asked : n_asked + n_answer]) for found in words]
    generator = np.random.default_rng(_SALT)
    questions = []
    for number, found in enumerate(words):
        others = sorted(set(going_on) - {going_on[number]})
        if len(others) < N_CHOICES - 1:
            continue
        choices = [str(text) for text in generator.choice(others, N_CHOICES - 1, replace=False)]
        answer = int(generator.integers(N_CHOICES))
        choices.insert(answer, going_on[number])
        questions.append({"context": " ".join(found[:n_asked]), "choices": choices, "answer": answer})
    return questions


def _documents_task(name: str, folder: Path, study_id: str) -> str:
    metrics = "".join(f"  - metric: {m}\n" for m in ("word_perplexity", "byte_perplexity", "bits_per_byte"))
    return (
        _head(name, folder / "documents.jsonl", "loglikelihood_rolling")
        + 'doc_to_text: ""\ndoc_to_target: text\nmetric_list:\n'
        + metrics
        + _foot(study_id)
    )


def _continuation_task(name: str, folder: Path, study_id: str) -> str:
    return (
        _head(name, folder / "continuation.jsonl", "multiple_choice")
        + "doc_to_text: context\ndoc_to_target: answer\ndoc_to_choice: choices\nmetric_list:\n"
        + "".join(f"  - metric: {m}\n    aggregation: mean\n    higher_is_better: true\n" for m in ("acc", "acc_norm"))
        + _foot(study_id)
    )


def _head(name: str, file: Path, kind: str) -> str:
    # JSON is YAML; the harness looks for data files from where it is started, so the path is a whole one.
    data = json.dumps({"data_files": {"test": str(file)}}, ensure_ascii=False)
    return f"task: {name}\ndataset_path: json\ndataset_kwargs: {data}\ntest_split: test\noutput_type: {kind}\n"


def _foot(study_id: str) -> str:
    return f"metadata:\n  version: 1.0\n  emergence_lab_study: {json.dumps(study_id)}\n"


def command(folder: Path, tasks: list[str], context: int, model: str = "MODEL_FOLDER") -> str:
    """What to type so that the harness measures an exported folder on the tasks."""
    arguments = f"pretrained={model},dtype=float32,max_length={context},prefix_token_id={SEPARATOR}"
    where = shlex.quote(str(folder))
    return (
        f"lm_eval --model hf --model_args {arguments} --tasks {','.join(tasks)} --include_path {where}"
        " --device cpu --batch_size 8 --output_path results"
    )


def _readme(study_id: str, tasks: list[str], folder: Path, context: int, n: int) -> str:
    return f"""# Held-out documents of {study_id}

{n} documents that the models of the study have not seen, as tasks of lm-evaluation-harness: {", ".join(tasks)}.

```sh
python3 main.py export hf RUN_ID --out MODEL_FOLDER
{command(folder, tasks, context)}
python3 main.py import results
```

`dtype=float32`, `max_length={context}` (the context that the models were trained with) and
`prefix_token_id={SEPARATOR}` (the separator that every document begins after) make the perplexities those of the lab's
`document-perplexity`. The data files are named by whole paths: if you move this folder, write it again or mend them in
the YAML files.
"""
