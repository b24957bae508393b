"""Where the models come from that a study begins with: runs and ladders of this home, and, where allowed, the hub.

What a run or a study trained is written once as a model folder into the home's cache; then ``expand`` finds folders
and nothing else.
"""

import hashlib
import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from engine.errors import InputError, ResourceError, StudyError
from engine.expand import model_family
from engine.families import families
from engine.finished import finished_run
from engine.i18n import tr
from engine.model_folders import CONFIG
from engine.store import Store
from engine.study import StudySpec, convert

if TYPE_CHECKING:
    from engine.store import Reader, RunRow

RUN, STUDY = "run:", "study:"
DOWNLOADS = "EMERGENCE_LAB_DOWNLOADS"
"""Environment variable that must be 1 for a model to be fetched from the hub."""
CACHE = Path("cache", "bases")
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")
_HUB_FILES = ("*.json", "*.safetensors", "*.txt", "*.model")


def settle(study: StudySpec, home: Path) -> StudySpec:
    """The study with every base as a folder on this disk and its sizes those of the bases; others as they are.

    Raises:
        InputError: there is no such run, study or model, or it cannot be written as a folder.
        ResourceError: the disk is full or read-only.
    """
    if study.kind != "finetune":
        return study
    model = {**study.model, "base": folder_of(str(study.model.get("base", "")), home)}
    vary = dict(study.ladder.vary)
    if "model.base" in vary:
        vary["model.base"] = tuple(folder_of(str(base), home) for base in vary["model.base"])
    settled = msgspec.structs.replace(study, model=model, ladder=msgspec.structs.replace(study.ladder, vary=vary))
    family = model_family(settled)
    if "model.base" in vary or not model["base"]:
        return settled
    fields = {name: value for name, value in model.items() if name != "family"}
    sizes = family.own_sizes(convert(fields, family.Spec, "model")) or study.ladder.sizes
    return msgspec.structs.replace(settled, ladder=msgspec.structs.replace(settled.ladder, sizes=sizes))


def folder_of(base: str, home: Path) -> str:
    """What ``model.base`` is to say: a run, a study and a name on the hub become a folder.

    Raises ``KnownError`` as ``settle`` does.
    """
    if base.startswith((RUN, STUDY)):
        return str(_of_home(base, home))
    if _HUB_NAME.fullmatch(base) and not Path(base).is_dir():
        return str(_from_hub(base))
    return base


def _of_home(base: str, home: Path) -> Path:
    """The model folder of a run, or a folder with one for each size of a study."""
    if not (home / "lab.db").is_file():
        raise StudyError(
            tr("model.base: {base} is to be of this home, and {home} holds no results.", base=base, home=str(home))
        )
    store = Store.open(home, read_only=True)
    try:
        reader = store.reader()
        if base.startswith(STUDY):
            return _ladder(reader, home, base.removeprefix(STUDY))
        number = base.removeprefix(RUN)
        if not number.isdecimal():
            raise StudyError(tr("model.base: {base} is no run; give its number.", base=base))
        digest = finished_run(reader, home, int(number)).weights.sha256
        return _exported(reader, home, int(number), home / CACHE / f"run-{number}-{digest[:12]}")
    finally:
        store.close()


def _ladder(reader: "Reader", home: Path, identity: str) -> Path:
    """Of a study's first variant, and of it the first seed that is finished."""
    by_size: dict[int, RunRow] = {}
    for row in reader.ladder(identity):
        if row.state == "finished":
            by_size.setdefault(row.size, row)
    if not by_size:
        raise StudyError(
            tr("model.base: the study {study} has no finished run in this home.", study=identity),
            tr("Let it finish first, or name another."),
        )
    digests = {row.id: finished_run(reader, home, row.id).weights.sha256 for row in by_size.values()}
    key = hashlib.sha256("".join(digests.values()).encode()).hexdigest()
    folder = home / CACHE / f"{identity}-{key[:12]}"
    for row in by_size.values():
        _exported(reader, home, row.id, folder / f"{row.n_params_non_embedding}-{digests[row.id][:12]}")
    return folder


def _exported(reader: "Reader", home: Path, run_id: int, folder: Path) -> Path:
    """The run's model as a folder, written now unless it is there."""
    from engine.exporting import export_hf

    spec = finished_run(reader, home, run_id).spec
    if families[spec.family].goes_with_code(spec.shape):
        raise StudyError(
            tr("model.base: transformers has no class for run {run}, {label}.", run=run_id, label=spec.label),
            tr("Fine-tuning builds on its classes: choose a run of another family or shape."),
        )
    if (folder / CONFIG).is_file():
        return folder
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        export_hf(reader, home, run_id, partial)
        partial.rename(folder)
    except OSError as error:
        raise ResourceError(
            tr("{folder} cannot be written: {why}.", folder=str(folder), why=error.strerror or str(error)),
            tr("Free some space, or choose another home with --home."),
        ) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def _from_hub(name: str) -> Path:
    if os.environ.get(DOWNLOADS) != "1":
        raise StudyError(
            tr("model.base: {name!r} is no folder here, and nothing is downloaded unless you allow it.", name=name),
            tr("Give a folder, or set the environment variable {variable} to 1.", variable=DOWNLOADS),
        )
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=list(_HUB_FILES)))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        why = str(error).strip().partition("\n")[0].rstrip(".")
        raise InputError(tr("model.base: {name} could not be downloaded: {why}.", name=name, why=why)) from None
