"""What a ``save_pretrained`` folder holds, read without running anything that is in it.

The configuration is JSON, the weights are safetensors; nothing is unpickled, executed or fetched. Imports no torch.
"""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from engine.i18n import tr

CONFIG = "config.json"
PICKLED = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib")
_POSITIONS = ("max_position_embeddings", "n_positions", "n_ctx", "max_sequence_length")
_FROM_PADDING = frozenset({"roberta", "xlm-roberta", "camembert", "longformer"})
"""Architectures whose positions begin after the padding's id."""


class FolderError(Exception):
    """Why a folder cannot be used, a clause without its subject; who asked says of what."""


def config_of(folder: Path) -> dict[str, Any]:
    """The folder's configuration; raises ``FolderError`` where there is none."""
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FolderError(tr("it has no config.json")) from None
    except OSError as error:
        raise FolderError(tr("config.json: {why}", why=error.strerror or str(error))) from None
    except (ValueError, RecursionError):
        raise FolderError(tr("its config.json is not valid JSON")) from None
    if not isinstance(config, dict):
        raise FolderError(tr("its config.json is not valid JSON"))
    return config


def pickled_in(folder: Path) -> Path | None:
    """The first file of the folder that may be a pickle."""
    return next((path for path in sorted(folder.iterdir()) if path.suffix.lower() in PICKLED), None)


def check_safetensors(path: Path) -> None:
    """Raise ``FolderError`` where the file is no safetensors file, or ends before its last tensor does."""
    try:
        with safe_open(path, framework="np") as opened:
            opened.keys()
    except SafetensorError as error:
        if "not fully covered" in str(error):
            raise FolderError(tr("it is cut short or damaged ({size:,} bytes)", size=path.stat().st_size)) from None
        raise FolderError(tr("it is no safetensors file, or its beginning is damaged")) from None
    except OSError as error:
        raise FolderError(error.strerror or str(error)) from None


def longest_text(config: dict[str, Any]) -> int:
    """Tokens of the longest text that a model reads; 0 where its configuration does not say."""
    found = next((config[key] for key in _POSITIONS if isinstance(config.get(key), int)), 0)
    if config.get("model_type") in _FROM_PADDING and found:
        return int(found) - int(config.get("pad_token_id") or 0) - 1
    return int(found)


def pad_id(config: dict[str, Any]) -> int:
    """The id that fills short texts: the model's own, else its end of text, else 0. The mask hides it in any case."""
    for key in ("pad_token_id", "eos_token_id"):
        value = config.get(key)
        value = value[0] if isinstance(value, list) and value else value
        if isinstance(value, int) and value >= 0:
            return value
    return 0


def load_tokenizer(folder: Path | str) -> Any:
    """The folder's own tokenizer; raises ``FolderError`` where it has none that transformers can read."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError, ImportError) as error:
        raise FolderError(first_line(error)) from None


def first_line(error: Exception) -> str:
    """What a library says of an error, without what it says after."""
    return str(error).strip().partition("\n")[0].rstrip(".")
