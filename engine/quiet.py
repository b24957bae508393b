"""Libraries that talk when they are loaded, of things that a user can do nothing about, or act for a whole process."""

import contextlib
import logging
import threading
from collections.abc import Iterator
from typing import Any

_ONE_THREAD = threading.RLock()


def quiet_torchao() -> None:
    """Keep to itself what torchao says when it is loaded: of kernels for other devices, and of names it has left."""
    for name in ("torchao", "torch.utils._pytree"):
        logging.getLogger(name).setLevel(logging.ERROR)


@contextlib.contextmanager
def making_models() -> Iterator[None]:
    """Where transformers makes or loads a model: without its bars and reports, and in one thread at a time.

    What is newly drawn here is known and meant. And meanwhile transformers puts other functions in the place of its own
    and of torch's, for the whole process (``no_tie_weights``, ``guard_torch_init_functions``): of two threads one would
    leave the other's behind, and from then on no output layer would be tied to its table of tokens.
    """
    import transformers

    log: Any = transformers.utils.logging
    with _ONE_THREAD:
        level, bars = log.get_verbosity(), log.is_progress_bar_enabled()
        log.set_verbosity_error()
        log.disable_progress_bar()
        try:
            yield
        finally:
            log.set_verbosity(level)
            if bars:
                log.enable_progress_bar()
