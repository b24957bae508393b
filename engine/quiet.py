"""Libraries that talk when they are loaded, of things that a user can do nothing about."""

import logging


def quiet_torchao() -> None:
    """Keep to itself what torchao says when it is loaded: of kernels for other devices, and of names it has left."""
    for name in ("torchao", "torch.utils._pytree"):
        logging.getLogger(name).setLevel(logging.ERROR)
