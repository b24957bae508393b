"""A ladder with compressed children whose results are made up, so that what ought to be said of them is known."""

from engine.events import Evaluation, RunState, StateChanged
from engine.expand import expand
from engine.store import Store, mutations
from engine.study import RunSpec, StudySpec, parse_study, study_id

SIZES = (400, 2_000, 8_000, 32_000)
SEEDS = (0, 1, 2)
METHODS = ({"method": "int8-weights"}, {"method": "prune-structured", "amount": 0.5})


def study(**over: object) -> StudySpec:
    table: dict[str, object] = {
        "name": "ladder",
        "title": "A ladder",
        "model": {"family": "cnn"},
        "data": {"source": "digits"},
        "ladder": {"sizes": list(SIZES), "seeds": list(SEEDS)},
        "training": {"steps": 100, "batch_size": 16},
        "headline": {"capability": "image-classification", "metric": "top1"},
        "capabilities": [{"name": "image-classification"}],
        "compression": {"methods": list(METHODS)},
    }
    return parse_study({key: value for key, value in (table | over).items() if value is not None})


def accuracy(run: RunSpec) -> float:
    """Grows with size; 8 bits cost nothing, cutting units half of what is right."""
    whole = 0.5 + 0.12 * run.size_index + 0.004 * run.seed
    return whole if run.variant.get("compression.method") != "prune-structured" else whole / 2


def loss(run: RunSpec) -> float:
    return 0.4 + 40 / run.n_params**0.8 + 0.001 * run.seed + (0.5 if run.kind == "compress" else 0.0)


def store_results(store: Store, made: StudySpec, only: int | None = None) -> str:
    """Every run of the study finished, with scores and, of compressed ones, their cost; returns the study's id."""
    specs = expand(made)
    ids = store.writer.call(lambda conn: mutations.add_study(conn, made, specs)).result(10)
    for run_id, spec in list(zip(ids, specs, strict=True))[:only]:
        emit = store.writer.emit
        emit(StateChanged(run_id, RunState.RUNNING, 1.0))
        emit(Evaluation(run_id, "image-classification", "top1", accuracy(spec), 0.01, 449, 0.1))
        emit(Evaluation(run_id, "validation", "loss", loss(spec)))
        if spec.kind == "compress":
            for metric, value in cost(spec).items():
                emit(Evaluation(run_id, "cost", metric, value))
        emit(StateChanged(run_id, RunState.FINISHED, 2.0))
    store.writer.flush(10)
    return study_id(made)


def cost(run: RunSpec) -> dict[str, float]:
    """A quarter of the bytes in twice the time, of either method."""
    whole = 4.0 * run.n_params
    before = {"bytes": whole, "memory": whole, "latency": 1e-4 * run.n_params, "latency_batch": 1e-3 * run.n_params}
    now = {name: value / 4 if name in ("bytes", "memory") else 2 * value for name, value in before.items()}
    return (
        now
        | {f"parent_{name}": value for name, value in before.items()}
        | {
            "smaller": 4.0,
            "faster": 0.5,
            "faster_batch": 0.5,
            "nonzero": run.n_params,
            "sparsity": 0.0,
        }
    )
