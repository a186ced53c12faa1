"""Reading transformers' encoders from a checkpoint folder: offline, safetensors only, complete."""

from pathlib import Path
from typing import Any

import torch
from transformers.utils import logging

from model.shards import CheckpointError

__all__ = ["load_encoder"]


def load_encoder(
    model: Any, folder: Path, dtype: torch.dtype, unused: frozenset[str] = frozenset()
) -> Any:
    """An instance of the transformers class `model`, frozen, in eval mode, or a CheckpointError.

    transformers itself only warns about a missing weight and invents it; here that is an error, as
    is one too many, but for the keys that are `unused`.
    """
    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        encoder, report = model.from_pretrained(
            folder,
            dtype=dtype,
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
        )
    except Exception as error:  # transformers and safetensors raise many kinds
        raise CheckpointError(f"{folder}: cannot load {model.__name__} ({error})") from error
    finally:
        if bars:
            logging.enable_progress_bar()
    for fault in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs"):
        if keys := set(map(str, report.get(fault, ()))) - unused:
            listed = ", ".join(sorted(keys))
            raise CheckpointError(f"{folder}: {fault.replace('_', ' ')}: {listed}")
    return encoder.eval().requires_grad_(False)
