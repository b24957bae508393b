"""A study is one TOML file; a run is one frozen, fully resolved training that comes out of it.

``load_study`` reads and validates the file. ``engine.expand.expand`` turns the study into ``RunSpec``s.
"""

import hashlib
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from engine.errors import InputError, StudyError
from engine.i18n import tr

RESOURCES = Path(__file__).resolve().parent.parent / "resources" / "studies"

Positive = Annotated[int, msgspec.Meta(ge=1)]
PositiveFloat = Annotated[float, msgspec.Meta(gt=0)]
Fraction = Annotated[float, msgspec.Meta(ge=0, le=1)]
Scalar = str | int | float | bool
HOW_LONG = frozenset({"tokens", "tokens_per_param", "steps", "epochs"})
"""Fields of ``training`` of which exactly one says how long a run is."""


DERIVED = frozenset({"compress", "distil", "teacher"})
"""Kinds of runs made from another run or for one: never points of a ladder, its laws or forecasts."""
LARGEST = "largest"
"""The teacher of a distillation that is the study's own largest model."""


class Strict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every part of a study: frozen, named fields only, unknown fields are errors."""


class TableSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of the ``Spec`` of a family, source or capability.

    The app makes its form, and the guide its table, from the fields: give each one a type, a default and
    ``msgspec.Meta(title=..., description=..., ge=..., le=...)`` with the texts passed through ``mark``.
    """


class LadderSpec(Strict, frozen=True, kw_only=True):
    """The sizes of a study and what else is varied, smallest first."""

    sizes: Annotated[tuple[Positive, ...], msgspec.Meta(min_length=1)]
    """Targets of ``n_params_non_embedding``; each family turns one into a shape that comes close."""
    seeds: Annotated[tuple[Annotated[int, msgspec.Meta(ge=0)], ...], msgspec.Meta(min_length=1)] = (0,)
    vary: dict[str, tuple[Scalar, ...]] = {}
    """Dotted field of the study -> the values it takes; the cross product is run at every size and seed."""


class TrainingSpec(Strict, frozen=True, kw_only=True):
    """How every run of the ladder is trained. Give one of ``tokens``, ``tokens_per_param``, ``steps``, ``epochs``."""

    tokens: Positive | None = None
    tokens_per_param: PositiveFloat | None = None
    steps: Positive | None = None
    epochs: PositiveFloat | msgspec.UnsetType = msgspec.UNSET
    """Passes over the training items, for sources that list them. Left out of the JSON where it is not given."""
    context: Positive = 64
    batch_size: Annotated[int, msgspec.Meta(ge=0)] = 16
    """Sequences (or samples) per optimizer step, over all accumulated micro-batches; 0 takes every training item."""
    micro_batch_size: Positive | None = None
    optimizer: Literal["adamw", "muon"] = "adamw"
    learning_rate: PositiveFloat = 0.01
    """Peak rate at ``base_width``; ``lr_rule`` carries it to the other widths."""
    lr_rule: Literal["mup", "width", "fixed"] = "mup"
    base_width: Positive = 32
    beta1: Fraction = 0.9
    beta2: Fraction = 0.95
    eps: PositiveFloat = 1e-8
    weight_decay: Annotated[float, msgspec.Meta(ge=0)] = 0.1
    grad_clip: Annotated[float, msgspec.Meta(ge=0)] = 1.0
    """Largest norm of the gradient; 0 turns clipping off."""
    schedule: Literal["wsd", "cosine", "constant"] = "wsd"
    warmup_fraction: Fraction = 0.02
    decay_fraction: Fraction = 0.2
    """Share of the steps in which WSD decays linearly; cosine decays over all of them."""
    final_lr_fraction: Fraction = 0.0
    eval_every_fraction: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.1
    eval_tokens: Positive = 65_536
    final_eval_tokens: Positive = 262_144
    checkpoint_seconds: PositiveFloat = 60.0
    keep_best: bool = False
    early_stopping_patience: Annotated[int, msgspec.Meta(ge=0)] = 0
    """Evaluations without improvement after which the run ends; 0 turns early stopping off."""


class ExecutionSpec(Strict, frozen=True, kw_only=True):
    """Where and how runs execute. ``auto`` is decided per machine and then frozen with the run."""

    executor: Literal["auto", "thread", "process"] = "auto"
    jobs: Annotated[int, msgspec.Meta(ge=0)] = 0
    """Runs at a time; 0 lets the machine decide."""
    threads: Annotated[int, msgspec.Meta(ge=0)] = 0
    """Threads of one run on CPU; 0 lets the machine decide."""
    device: str = "auto"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    compile: Literal["auto", "on", "off"] = "auto"


class CapabilityUse(Strict, frozen=True, kw_only=True):
    """One capability to measure, with the fields of its own Spec under ``options``."""

    name: str
    options: dict[str, Scalar] = {}
    during_training: bool | msgspec.UnsetType = msgspec.UNSET
    """Also measure it at every evaluation, as curves. Left out of the JSON where it is not given: ids stay."""


class Headline(Strict, frozen=True, kw_only=True):
    """The one number a study is about: by default validation loss."""

    capability: str = "language-modelling"
    metric: str = "loss"


class Budget(Strict, frozen=True, kw_only=True):
    """What a study was measured to cost on two CPU cores; only a first guess until this machine is calibrated."""

    cpu_seconds: PositiveFloat = 600.0


class ForecastSpec(Strict, frozen=True, kw_only=True):
    """The second act of a study: its largest sizes are trained only once a forecast of them is locked."""

    hold: Positive = 1
    """How many of the largest sizes wait for the forecast."""
    level: Annotated[float, msgspec.Meta(gt=0, lt=1)] = 0.9
    """What share of such intervals ought to hold what comes."""


class CompressionMethod(Strict, frozen=True, kw_only=True):
    """One way to make trained models smaller. The last four fields are of pruning."""

    method: Literal["prune-unstructured", "prune-structured", "int8-dynamic", "int8-weights", "int4-weights"]
    amount: Fraction = 0.5
    """Share of the weights of every pruned matrix that is cut, or of the heads, hidden units and channels."""
    schedule: Literal["gradual", "one-shot"] = "gradual"
    """Little by little over the first half of the fine-tuning (Zhu & Gupta 2017), or all at once before it."""
    fine_tune: Annotated[float, msgspec.Meta(ge=0, le=10)] = 1.0
    """Steps of fine-tuning as a share of the parent's.

    Measured with the recipe of ``digits-cnn``, seeds 100 and 101, on a quarter of the training images: of 0.5 and 1
    times the steps at 0.3 and 1 times the rate, once and gradually, these lost least at 2,000 parameters or were as
    good as any.
    """
    learning_rate: PositiveFloat = 1.0
    """Peak rate of the fine-tuning as a share of the parent's."""


class CompressionSpec(Strict, frozen=True, kw_only=True):
    """What is done to every finished run of a study: each method makes a run of its own that builds on it."""

    methods: Annotated[tuple[CompressionMethod, ...], msgspec.Meta(min_length=1)]
    of: str = ""
    """Name of the study whose runs are compressed, the other fields being its own; empty: this one, trained first."""
    sizes: tuple[Positive, ...] = ()
    """Only runs of these sizes; empty: of all."""
    seeds: tuple[int, ...] = ()
    """Only runs of these seeds; empty: of all."""
    variant: dict[str, Scalar] = {}
    """Only runs with these values of what the study varies; empty: all."""


class DistillationSpec(Strict, frozen=True, kw_only=True):
    """Every smaller size of a ladder once more, taught by a larger model beside its labels (Hinton 2015)."""

    temperature: PositiveFloat = 2.0
    """What both models' logits are divided by where the student is to match its teacher."""
    weight: Fraction = 0.5
    """The teacher's share of the loss; the rest is the loss that the student has when it is trained alone."""
    hidden_weight: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    """Weight of matching the teacher's hidden states through a learned linear map; 0 leaves them out."""
    teacher: str = LARGEST
    """``largest`` of this ladder, a built-in study's name, whose largest model teaches, or a run's ``spec_hash``."""
    teacher_with: dict[str, Scalar] = {}
    """Dotted fields in which the training of the largest model, as a teacher, differs from that of the ladder."""


class Distillation(Strict, frozen=True, kw_only=True):
    """How a run of kind ``distil`` is taught; its teacher is its parent."""

    temperature: float
    weight: float
    hidden_weight: float


class ImportedFile(Strict, frozen=True, kw_only=True):
    """A file that results were read from, by name; where it lay is the reader's own business and is not kept."""

    name: str
    sha256: str
    n_bytes: int


class Imported(Strict, frozen=True, kw_only=True):
    """Where the results of an imported study come from."""

    format: Literal["table", "lm-eval", "tensorboard"]
    files: tuple[ImportedFile, ...]
    digest: str
    """SHA-256 of the files' contents and of how they were read: what the study's id is made of."""
    date: str
    """Day of the import, ISO 8601."""


class StudySpec(Strict, frozen=True, kw_only=True):
    """A question asked of a ladder. ``model`` and ``data`` hold the fields of the family's and source's Spec."""

    name: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9-]*$", max_length=64)]
    title: str
    question: str = ""
    zh_CN: dict[str, str] = {}
    kind: Literal["pretrain", "finetune", "simulate", "import"] = "pretrain"
    """``finetune`` begins with models that are there already, and its finished models are the best, where kept.

    ``simulate`` trains nothing: its runs draw results from a law that is known (``engine.simulating``).

    ``import`` holds results that were made elsewhere (``engine.importing``) and is never run.
    """
    model: dict[str, Scalar]
    data: dict[str, Scalar]
    ladder: LadderSpec
    training: TrainingSpec = TrainingSpec()
    capabilities: tuple[CapabilityUse, ...] = ()
    headline: Headline = Headline()
    forecast: ForecastSpec | msgspec.UnsetType = msgspec.UNSET
    """Left out of the JSON where it is not given: ids stay."""
    compression: CompressionSpec | msgspec.UnsetType = msgspec.UNSET
    """Left out of the JSON where it is not given: ids stay."""
    distillation: DistillationSpec | msgspec.UnsetType = msgspec.UNSET
    """Left out of the JSON where it is not given: ids stay."""
    imported: Imported | msgspec.UnsetType = msgspec.UNSET
    """Only with ``kind = "import"``; left out of the JSON otherwise: ids stay."""
    execution: ExecutionSpec = ExecutionSpec()
    budget: Budget = Budget()
    profiles: dict[str, dict[str, Any]] = {}
    """Overrides by name (``gpu``), merged over the rest by ``with_profile``."""

    def text(self, field: Literal["title", "question"], language: str) -> str:
        """The title or question in the language asked for, English where there is no translation."""
        english: str = getattr(self, field)
        return self.zh_CN.get(field, english) if language == "zh_CN" else english


class ResolvedTraining(Strict, frozen=True, kw_only=True):
    """``TrainingSpec`` with everything derived filled in for one size."""

    context: int
    batch_size: int
    micro_batch_size: int
    n_steps: int
    tokens: int
    optimizer: str
    learning_rate: float
    lr_rule: str
    base_width: int
    beta1: float
    beta2: float
    eps: float
    weight_decay: float
    grad_clip: float
    schedule: str
    warmup_steps: int
    decay_steps: int
    final_lr_fraction: float
    eval_every: int
    eval_tokens: int
    final_eval_tokens: int
    checkpoint_seconds: float
    keep_best: bool
    early_stopping_patience: int


class RunSpec(Strict, frozen=True, kw_only=True):
    """One training, resolved and frozen. Two equal specs on one machine give equal weights on CPU."""

    study: str
    kind: str
    family: str
    family_version: int
    shape: dict[str, Scalar]
    """Every dimension of the model, as ``Family.resolve`` chose them."""
    size: int
    size_index: int
    seed: int
    variant: dict[str, Scalar] = {}
    n_params: int
    n_params_non_embedding: int
    compute_flops: float
    memory_bytes: int
    source: str
    source_version: int
    data: dict[str, Scalar]
    training: ResolvedTraining
    capabilities: tuple[CapabilityUse, ...] = ()
    execution: ExecutionSpec = ExecutionSpec()
    parent: str | msgspec.UnsetType = msgspec.UNSET
    """``spec_hash`` of the run it builds on, which must finish first: what it compresses, or its teacher."""
    compression: CompressionMethod | msgspec.UnsetType = msgspec.UNSET
    """Of a run of kind ``compress``: what it does to its parent."""
    distillation: Distillation | msgspec.UnsetType = msgspec.UNSET
    """Of a run of kind ``distil``: how its parent teaches it."""

    @property
    def label(self) -> str:
        """Short name of the run inside its study; an imported run keeps the name it came with."""
        if self.kind == "import" and self.data.get("name"):
            return str(self.data["name"])
        varied = "".join(f" {k.rsplit('.', 1)[-1]}={v}" for k, v in self.variant.items())
        return f"{self.family} {self.n_params_non_embedding:,}{varied} seed {self.seed}"


def canonical_json(spec: msgspec.Struct) -> bytes:
    """The one JSON text of a spec: sorted keys, no spaces; what hashes are taken of."""
    return msgspec.json.encode(spec, order="sorted")


def spec_hash(spec: msgspec.Struct) -> str:
    """SHA-256 of the canonical JSON, in hexadecimal."""
    return hashlib.sha256(canonical_json(spec)).hexdigest()


def study_id(study: StudySpec) -> str:
    """Name and a short hash of what decides the results: equal studies share an id and are resumed, not repeated."""
    if study.imported is not msgspec.UNSET:
        return f"{study.name}-{study.imported.digest[:8]}"
    silent = {"title": "", "question": "", "zh_CN": {}, "profiles": {}, "budget": Budget()}
    return f"{study.name}-{spec_hash(msgspec.structs.replace(study, **silent))[:8]}"


def convert(value: object, kind: Any, prefix: str = "") -> Any:
    """``msgspec.convert`` whose error names the field from the top of the study: ``ladder.sizes[2]: …``."""
    try:
        return msgspec.convert(value, kind, strict=True)
    except msgspec.ValidationError as error:
        raise StudyError(_name_the_field(str(error), prefix)) from None


def load_study(name_or_path: str, overrides: Sequence[str] = (), profile: str = "") -> StudySpec:
    """Read a built-in study by name or a TOML file by path; ``overrides`` are ``dotted.field=value``.

    Raises:
        InputError: there is no such study or file, or it is not TOML.
        StudyError: a field is unknown, missing or of the wrong type; the message names it.
    """
    return parse_study(_read_toml(find_study(name_or_path)), overrides, profile)


def parse_study(table: Mapping[str, Any], overrides: Sequence[str] = (), profile: str = "") -> StudySpec:
    """The same from an already parsed table."""
    merged = dict(table)
    if profile:
        profiles = merged.get("profiles", {})
        if not isinstance(profiles, dict) or profile not in profiles:
            raise StudyError(tr("profiles: this study has no profile {name!r}.", name=profile))
        merged = _merge(merged, profiles[profile])
    for override in overrides:
        path, separator, text = override.partition("=")
        if not separator or not path.strip():
            raise InputError(tr("--set {text!r} is not of the form field=value.", text=override))
        merged = _merge(merged, _nest(path.strip().split("."), _parse_value(text.strip())))
        merged = _not_varied(merged, path.strip())
    study: StudySpec = convert(merged, StudySpec)
    given = [f for f in HOW_LONG if getattr(study.training, f) not in (None, msgspec.UNSET)]
    if len(given) != 1:
        raise StudyError(tr("training: give exactly one of tokens, tokens_per_param, steps and epochs."))
    return study


def refuse_imported(study: StudySpec) -> None:
    """Raise ``StudyError`` where a study only holds results that were made elsewhere."""
    if study.kind == "import":
        raise StudyError(
            tr(
                "kind: {study} was imported; it holds results only and can be neither run nor copied.", study=study.name
            ),
            tr("Make a new study to train models of your own."),
        )


def builtin_studies() -> list[Path]:
    """The TOML files that come with the program, by name."""
    return sorted(RESOURCES.glob("*.toml"))


def find_study(name_or_path: str) -> Path:
    """The file a name or path means; raises ``InputError`` with the known names where there is none."""
    path = Path(name_or_path).expanduser()
    if path.suffix == ".toml":
        if not path.is_file():
            raise InputError(tr("there is no study file {path}.", path=str(path)))
        return path
    built_in = RESOURCES / f"{name_or_path}.toml"
    if not built_in.is_file():
        known = ", ".join(p.stem for p in builtin_studies())
        raise InputError(tr("there is no study {name!r} (built in: {known}).", name=name_or_path, known=known))
    return built_in


def to_toml_table(study: StudySpec) -> dict[str, Any]:
    """The study as plain data without fields left at their default, for writing it out again."""
    table: dict[str, Any] = msgspec.to_builtins(study)
    return _drop_defaults(table, msgspec.to_builtins(_DEFAULTS))


_DEFAULTS = StudySpec(name="x", title="", model={}, data={}, ladder=LadderSpec(sizes=(1,)))


def _drop_defaults(table: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for key, value in table.items():
        default = defaults.get(key)
        if isinstance(value, dict) and isinstance(default, dict):
            value = _drop_defaults(value, default)
            if value:
                kept[key] = value
        elif value is not None and (value != default or key in {"name", "sizes"}):
            kept[key] = value
    return kept


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError:
        raise InputError(tr("{path} is not a text file.", path=str(path))) from None
    except tomllib.TOMLDecodeError as error:
        raise InputError(tr("{path} is not valid TOML: {error}.", path=str(path), error=str(error))) from None
    except OSError as error:
        raise InputError(tr("{path} cannot be read: {error}.", path=str(path), error=error.strerror or "")) from None


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        merged[key] = _merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    if over.keys() & HOW_LONG and "name" not in over:
        # Choosing one way to say how long replaces the others.
        merged = {k: v for k, v in merged.items() if k not in HOW_LONG or k in over}
    return merged


def _not_varied(table: dict[str, Any], field: str) -> dict[str, Any]:
    """Without ``ladder.vary`` of a field that has just been given one value."""
    ladder = table.get("ladder")
    vary = ladder.get("vary") if isinstance(ladder, dict) else None
    if not isinstance(ladder, dict) or not isinstance(vary, dict) or field not in vary:
        return table
    return {**table, "ladder": {**ladder, "vary": {k: v for k, v in vary.items() if k != field}}}


def _nest(path: Sequence[str], value: object) -> dict[str, Any]:
    return {path[0]: value if len(path) == 1 else _nest(path[1:], value)}


def _parse_value(text: str) -> object:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text  # a bare word is a string


def _name_the_field(message: str, prefix: str) -> str:
    """msgspec says ``Expected `int`, got `str` - at `$.ladder.sizes[2]```; we lead with the field."""
    what, _, where = message.partition(" - at `$")
    path = where.rstrip("`").lstrip(".")
    full = ".".join(part for part in (prefix, path) if part)
    readable = what[:1].lower() + what[1:].replace("`", "")
    return f"{full}: {readable}." if full else f"{readable}."
