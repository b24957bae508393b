"""Writing a folder for an architecture that transformers has no class for: the weights with the code that runs them.

``from_pretrained`` loads such a folder where its reader says ``trust_remote_code=True``. The code is the lab's own,
file by file, with nothing changed but where it finds the file beside it.
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

HERE = Path(__file__).parent
_OURS = re.compile(r"from engine\.families\.(_\w+) import")


def write_own(
    folder: Path,
    code: str,
    classes: Mapping[str, str],
    weights: Mapping[str, Tensor],
    shape: Mapping[str, Any],
    constants: Mapping[str, float],
    **settings: Any,
) -> None:
    """Write ``config.json``, ``model.safetensors`` and the code.

    ``code`` names the module beside this one that has the class of transformers; ``classes`` are the classes by the
    ``Auto`` class that loads them; ``weights`` are those of the network; ``settings`` go into the configuration.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in sources(code):
        (folder / f"{name}.py").write_text(text, encoding="utf-8")
    config = {
        "architectures": list(classes.values()),
        "auto_map": {
            "AutoConfig": "_hub_model.NetworkConfig",
            **{auto: f"{code}.{name}" for auto, name in classes.items()},
        },
        "constants": dict(constants),
        "dtype": "float32",
        "model_type": "emergence_lab",
        "shape": dict(shape),
        **settings,
    }
    tensors = {f"network.{name}": tensor.detach().cpu().clone().contiguous() for name, tensor in weights.items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def sources(code: str) -> Iterator[tuple[str, str]]:
    """(name, text) of a module here and of every one that it needs, each looking for the others beside itself."""
    wanted, seen = [code], {code}
    while wanted:
        name = wanted.pop()
        text = (HERE / f"{name}.py").read_text(encoding="utf-8")
        needed = [other for other in _OURS.findall(text) if other not in seen]
        wanted += needed
        seen.update(needed)
        yield name, _OURS.sub(r"from .\1 import", text)
