"""Settings of a GPU worker, read from `KINORA_*` variables beside the shared ones."""

import json
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from app.contract.settings import SettingsError, read_environment, setting

#: x264's, from the quickest to the one that makes the smallest files.
PRESETS = (
    "ultrafast",
    "superfast",
    "veryfast",
    "faster",
    "fast",
    "medium",
    "slow",
    "slower",
    "veryslow",
    "placebo",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """What one worker renders, on what, and how it encodes."""

    checkpoint: Path | None = setting(  # noqa: RUF009 - `setting` makes a field
        None, "Folder of the checkpoint that a worker serves, in the diffusers layout."
    )
    model_id: str = setting(
        "",
        "Name under which a worker serves its checkpoint. Default: the one the checkpoint gives.",
    )
    worker_name: str = setting(
        "", "Name of a worker, unique among all. Default: its host and process id."
    )
    device: str = setting("auto", "Torch device of a worker; `auto` is the GPU if there is one.")
    dtype: str = setting(
        "auto",
        "Torch dtype of a worker; `auto` is bfloat16 where its GPU or CPU multiplies it, "
        "else float32.",
    )
    offload: str = setting(
        "auto",
        "Whether a checkpoint's weights wait in host memory and come to the GPU block by block: "
        "`always`, `never`, or `auto`, where the GPU could not hold them and a clip.",
    )
    torch_threads: int = setting(0, "CPU threads of a worker's torch; 0 leaves it to torch.")
    scratch: Path | None = setting(  # noqa: RUF009
        None,
        "Folder for a worker's temporary files. Default: the system's. "
        "With `kinora serve` it is in the data folder.",
    )
    min_scratch_mb: int = setting(
        64, "Free megabytes in that folder below which a worker takes no job."
    )
    checkpoint_s: float = setting(
        30.0, "Seconds of work that a worker which dies may lose: the time between checkpoints."
    )
    patience_s: float = setting(
        300.0, "Seconds that a worker waits with a job for an object storage that does not answer."
    )
    stall_s: float = setting(
        1800.0,
        "Seconds after which a worker's process is replaced whose job stands still, as with a GPU "
        "that hangs: more than the slowest step takes. 0 is never.",
    )
    encode_preset: str = setting("veryfast", "x264 preset: slower ones make smaller files.")
    encode_crf: int = setting(17, "x264 quality, from 1 to 51: lower is better and larger.")
    metrics_port: int = setting(
        0,
        "Port on which a worker or courier shows Prometheus metrics; 0 is none. "
        "With `kinora serve` the courier's, and the next ones the workers'.",
    )

    def __post_init__(self) -> None:
        """Checks what has few values."""
        if self.encode_preset not in PRESETS:
            raise SettingsError(
                f"KINORA_ENCODE_PRESET is {self.encode_preset!r}, "
                f"but must be one of {', '.join(PRESETS)}"
            )
        if not 1 <= self.encode_crf <= 51:  # 0 is without loss, which H.264 High does not have
            raise SettingsError(f"KINORA_ENCODE_CRF is {self.encode_crf}, but must be 1 to 51")
        if not self.stall_s >= 0:
            raise SettingsError(f"KINORA_STALL_S is {self.stall_s}, but must be 0, never, or above")
        if not 0 <= self.metrics_port < 2**16:
            raise SettingsError(
                f"KINORA_METRICS_PORT is {self.metrics_port}, but must be below 65536"
            )
        if self.offload not in ("auto", "always", "never"):
            raise SettingsError(
                f"KINORA_OFFLOAD is {self.offload!r}, but must be auto, always or never"
            )

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Self:
        """Reads the process environment (or the given one)."""
        return read_environment(cls, os.environ if environ is None else environ)

    @property
    def folder(self) -> Path:
        """The checkpoint's folder. Raises SettingsError when none is set or it is no checkpoint."""
        if self.checkpoint is None:
            raise SettingsError("KINORA_CHECKPOINT must name the folder of a checkpoint")
        if not (self.checkpoint / "model_index.json").is_file():
            raise SettingsError(
                f"KINORA_CHECKPOINT is {self.checkpoint}, but there is no model_index.json in it"
            )
        return self.checkpoint

    @property
    def served_id(self) -> str:
        """The model id that the checkpoint is served under; torch is not needed to know it."""
        about = self.folder / "kinora.json"
        if self.model_id or not about.is_file():
            return self.model_id or self.folder.resolve().name
        return str(json.loads(about.read_text()).get("model_id", self.folder.resolve().name))

    @property
    def name(self) -> str:
        """The worker's name."""
        return self.worker_name or f"{socket.gethostname()}-{os.getpid()}"
