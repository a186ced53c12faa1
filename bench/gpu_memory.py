"""What a clip takes of a GPU's memory beside what is counted, and what happens where it is short.

    python -m bench.gpu_memory [--seconds 30] [--device cpu]

MiB: `counted` is `Pipeline.memory`, or what there is; `peak` what tensors took at once; `in use`
has what was freed, too, while work that reads it queues (offloaded blocks); `reserved` is what the
allocator took from the card. `dB` is the whole clip's variance over the mean squared difference to
it. On a CPU all is of toy size, nothing is measured, and memory runs out by decree.
"""

import argparse
import gc
import json
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from model import Pipeline, Progress, Request
from model.memory import compute_dtype
from model.transformer import Transformer, TransformerConfig
from model.vae import VAE, VAEConfig

TINY = Path(__file__).parents[1] / "model" / "weights" / "kinora-tiny"
TEXT_DIM = 192  # of kinora-tiny, whose text encoder the random checkpoint takes
#: Wan 2.1's 1.3 B with a third of its layers, and a toy; a window of each is as long as its clip,
#: because that is what is counted.
LARGE = TransformerConfig(num_attention_heads=12, ffn_dim=8960, num_layers=10, text_dim=TEXT_DIM)
TOY = replace(LARGE, num_attention_heads=2, attention_head_dim=12, ffn_dim=32, num_layers=3)
WINDOW = 33
MIB = 2**20
say = partial(print, flush=True)  # what is printed outlasts a lease that ends


class Bench:
    """Clips on one device, and their frames by name, until the time is up."""

    def __init__(self, device: torch.device, seconds: float) -> None:
        self._device, self._gpu = device, device.type == "cuda"
        self._end = time.perf_counter() + seconds
        self._whole: dict[str, Tensor] = {}

    def checkpoint(self, folder: Path, *clips: str, offload: bool) -> None:
        """All WIDTHxHEIGHTxFRAMES: offloaded, or whole, frugal, and where memory is short."""
        start = time.perf_counter()
        dtype = compute_dtype(self._device)
        pipeline = Pipeline.load(folder, self._device, dtype, offload=offload)
        # Libraries set themselves up with the first clip, and keep some memory.
        list(pipeline.generate(Request("a ball", width=64, height=64, frames=5, steps=1)))
        seconds, weights = time.perf_counter() - start, pipeline.memory(64, 64).weights
        kept = torch.cuda.memory_allocated() - weights if self._gpu else 0
        needed = Pipeline.needed(folder, dtype)
        say(f"{folder.name}, {offload=}: {seconds:.1f} s to load and begin; weights", end=" ")
        say(f"{weights / MIB:.0f} MiB, {kept / MIB:+.0f} beside; needed {needed / MIB:.0f}")
        for clip in clips:
            width, height, frames = map(int, clip.split("x"))
            request = Request("a red ball", width=width, height=height, frames=frames, steps=2)
            counted, make = (
                pipeline.memory(width, height).peak,
                partial(together, pipeline, request),
            )
            if offload:
                self.row(clip, "offloaded", counted, make)
                continue
            highest = self.row(clip, "whole", counted, make)
            counted = pipeline.memory(width, height, frugal=True).peak
            least = self.row(clip, "frugal", counted, partial(make, frugal=True))
            if self._gpu and not 0 < least < 0.95 * highest:  # it would not help
                continue
            worker = partial(by_worker, pipeline, request)
            self.short(clip, "retried", (highest + least) // 2, worker, 1)
            self.short(clip, "must fail", int(0.7 * least), worker, 2)
            self.row(clip, "again", highest, make)  # a failure must leave nothing behind

    def short(
        self, clip: str, way: str, limit: int, make: Callable[[int], Tensor], failures: int
    ) -> None:
        """As the worker makes it on a card of `limit` bytes."""
        if self._gpu:
            torch.cuda.empty_cache()
            total = torch.cuda.get_device_properties(self._device).total_memory
            torch.cuda.set_per_process_memory_fraction(limit / total)
        self.row(clip, way, limit, partial(make, 0 if self._gpu else failures))
        if self._gpu:
            torch.cuda.set_per_process_memory_fraction(1.0)

    def row(self, clip: str, way: str, counted: int, make: Callable[[], Tensor]) -> int:
        """Print what `make` takes, and return the peak. A failure is printed, and others go on."""
        label = f"{clip:>13} {way:>9} {counted / MIB:8.0f}"
        if time.perf_counter() > self._end:
            say(f"{label} left out: the time is up")
            return 0
        gc.collect()
        if self._gpu:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        start = time.perf_counter()
        try:
            frames = make()
        except Exception as error:  # noqa: BLE001 - a lent GPU's time is short: see all of it
            where = traceback.extract_tb(error.__traceback__)[-1]
            kind, place = type(error).__name__, f"{Path(where.filename).name}:{where.lineno}"
            say(f"{label} {kind} at {place}: {error!s:.150}")
            return 0
        seconds = time.perf_counter() - start  # with all work done: the frames are on the host
        stats = torch.cuda.memory_stats() if self._gpu else {}
        kinds = ("allocated", "active", "reserved")
        peak, active, reserved = (int(stats.get(f"{k}_bytes.all.peak", 0)) for k in kinds)
        ratio = peak / counted if counted else 0.0
        apart = decibels(self._whole.setdefault(clip, frames), frames)
        sizes = f"{peak / MIB:7.0f} {ratio:6.2f} {active / MIB:7.0f} {reserved / MIB:9.0f}"
        say(f"{label} {sizes} {seconds:6.1f} {apart:>6}")
        return peak


def together(pipeline: Pipeline, request: Request, *, frugal: bool = False) -> Tensor:
    """All frames of a clip."""
    return torch.cat(list(pipeline.generate(request, frugal=frugal)))


def by_worker(pipeline: Pipeline, request: Request, failures: int) -> Tensor:
    """The same as a worker makes it; without a GPU memory runs out `failures` times."""
    from worker.generation import Generation  # late, as it needs the service's libraries

    left = [None] * failures

    def checkpoint(progress: Progress) -> None:
        if left and progress.stage == "decode":
            left.pop()
            raise MemoryError

    job: Any = SimpleNamespace(id="bench", attempt=1, spec=request)
    unheard: Any = SimpleNamespace(report=lambda *_: None, put=lambda *_: None)
    place: Any = SimpleNamespace(pipeline=pipeline, usable=sys.maxsize, previews=unheard)
    frames = Generation(job, place, unheard, checkpoint).frames(request)
    return torch.cat([torch.from_numpy(chunk) for chunk in frames])


def write_random(folder: Path, config: TransformerConfig, vae: VAEConfig) -> None:
    """A checkpoint of the Wan 2.1 kind in bfloat16; made on a GPU if there is one, for speed."""
    for name in ("text_encoder", "tokenizer", "scheduler"):
        shutil.copytree(TINY / name, folder / name)
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "WanPipeline"}))
    (folder / "kinora.json").write_text(json.dumps({"window_frames": WINDOW}))
    torch.manual_seed(0)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        parts = {"transformer": Transformer(config), "vae": VAE(vae)}
    kinds = {"transformer": "WanTransformer3DModel", "vae": "AutoencoderKLWan"}
    for name, module in parts.items():
        (folder / name).mkdir()
        own = {"_class_name": kinds[name], **asdict(module.config)}
        (folder / name / "config.json").write_text(json.dumps(own))
        weights = {key: w.to("cpu", torch.bfloat16) for key, w in module.state_dict().items()}
        save_file(weights, folder / name / "diffusion_pytorch_model.safetensors")


def decibels(whole: Tensor, frames: Tensor) -> str:
    """How far every eighth frame is from the whole clip's; one by one, as clips may be large."""
    if torch.equal(whole, frames):
        return "same"
    pairs = list(zip(whole[::8], frames[::8], strict=True))
    error = sum(float((a.float() - b.float()).square().mean()) for a, b in pairs)
    return f"{10 * torch.tensor(sum(float(a.float().var()) for a, _ in pairs) / error).log10():.1f}"


def as_a_worker(device: str) -> None:
    """What a worker does with the card before it takes jobs."""
    from worker.abilities import capabilities_of, usable_bytes
    from worker.cards import take

    able = capabilities_of(Pipeline.load(TINY, device, compute_dtype(device)), "tiny", device)
    say(f"card {take()}, usable {usable_bytes(device) / MIB:.0f} MiB, {able.max_pixels} pixels")


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--seconds", type=float, default=30, help="begin nothing after that")
    asked = parser.parse_args()
    toy = asked.device == "cpu"
    if not toy and not torch.cuda.is_available():
        say("no CUDA device here; --device cpu runs toys")
        return 1
    say(asked.device if toy else torch.cuda.get_device_name())
    bench = Bench(torch.device(asked.device), asked.seconds)
    titles = f"{'clip':>13} {'way':>9} {'counted':>8} {'peak':>7} {'ratio':>6} {'in use':>7}"
    say(f"{titles} {'reserved':>9} {'s':>6} {'dB':>6}")
    try:
        as_a_worker(asked.device)
    except ImportError as error:
        say(f"worker: {error}")
    with tempfile.TemporaryDirectory(prefix="kinora-bench-") as folder:
        vae = VAEConfig(base_dim=8, num_res_blocks=1) if toy else VAEConfig()
        write_random(Path(folder, "random"), TOY if toy else LARGE, vae)
        clip = f"{'64x64' if toy else '832x480'}x{WINDOW}"
        for offload in (False, True):
            bench.checkpoint(Path(folder, "random"), clip, offload=offload)
    clips = ("64x48x5", "272x160x9") if toy else ("848x480x65", "1920x1080x65")
    for offload in (False, True):
        bench.checkpoint(TINY, *clips, offload=offload)
    return 0


if __name__ == "__main__":
    sys.exit(main())
