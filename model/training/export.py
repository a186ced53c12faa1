"""A trained learner as a checkpoint folder in diffusers' layout."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import nn

from model.training import language
from model.training.learner import TIED, TINY, Learner


def export(learner: Learner, target: Path, kinora: dict[str, Any]) -> None:
    """Write transformer, text encoder, tokenizer and scheduler in diffusers' layout, in float16."""
    config = asdict(TINY) | {"_class_name": "WanTransformer3DModel", "_diffusers_version": "0.42.1"}
    _write(target / "transformer", learner.transformer, "diffusion_pytorch_model", config)
    learner.text.config.architectures = ["UMT5EncoderModel"]
    _write(target / "text_encoder", learner.text, "model", learner.text.config.to_dict())
    language.build_tokenizer(target)
    scheduler = {
        "_class_name": "UniPCMultistepScheduler",
        "_diffusers_version": "0.42.1",
        "num_train_timesteps": 1000,
        "prediction_type": "flow_prediction",
        "use_flow_sigmas": True,
        "flow_shift": kinora["default"]["flow_shift"],
        "solver_order": 2,
        "solver_type": "bh2",
        "predict_x0": True,
        "lower_order_final": True,
        "final_sigmas_type": "zero",
        "thresholding": False,
        "disable_corrector": [],
        "timestep_spacing": "linspace",
    }
    (target / "scheduler").mkdir(parents=True, exist_ok=True)
    written = json.dumps(scheduler, indent=2) + "\n"
    (target / "scheduler" / "scheduler_config.json").write_text(written)
    index = {
        "_class_name": "WanPipeline",
        "_diffusers_version": "0.42.1",
        "boundary_ratio": None,
        "expand_timesteps": True,
        "scheduler": ["diffusers", "UniPCMultistepScheduler"],
        "text_encoder": ["transformers", "UMT5EncoderModel"],
        "tokenizer": ["transformers", "PreTrainedTokenizerFast"],
        "transformer": ["diffusers", "WanTransformer3DModel"],
        "transformer_2": [None, None],
        "vae": ["diffusers", "AutoencoderKLWan"],
    }
    (target / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")
    (target / "kinora.json").write_text(json.dumps(kinora, indent=2) + "\n")


def _write(folder: Path, module: nn.Module, stem: str, config: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=2, default=str) + "\n")
    state = {k: v.half().contiguous() for k, v in module.state_dict().items() if k not in TIED}
    save_file(state, folder / f"{stem}.safetensors", metadata={"format": "pt"})
