"""Libraries that talk when they are loaded, of things that a user can do nothing about."""

import contextlib
import logging
from collections.abc import Iterator
from typing import Any


def quiet_torchao() -> None:
    """Keep to itself what torchao says when it is loaded: of kernels for other devices, and of names it has left."""
    for name in ("torchao", "torch.utils._pytree"):
        logging.getLogger(name).setLevel(logging.ERROR)


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """Without transformers' bars and reports: what is newly drawn here is known and meant."""
    import transformers

    log: Any = transformers.utils.logging
    level, bars = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(level)
        if bars:
            log.enable_progress_bar()
