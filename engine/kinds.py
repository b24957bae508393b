"""What does the runs of each kind, named here and loaded when one runs."""

from engine.task import RunOne


def run_one_of(kind: str) -> RunOne:
    """What does the runs of a kind; the trainer loads torch when something trains, not before."""
    if kind == "simulate":
        from engine.simulating.run import run_one as simulate

        return simulate
    if kind == "compress":
        from engine.adapting.compression.run import run_one as compress

        return compress
    if kind == "distil":
        from engine.adapting.distillation.run import run_one as distil

        return distil
    from engine.training.run import run_one as train

    return train
