"""What a worker registers: what the pipeline can do, within the memory of its machine."""

import os
from collections.abc import Callable
from pathlib import Path

import structlog
import torch

from app.contract.capabilities import Capabilities
from model import Pipeline

#: Sizes worth offering beside the checkpoint's own, lying and standing.
SIZES = ((1280, 720), (1920, 1080))
#: Share of the memory that a job may take by the estimate; the rest is for all that it leaves out.
USABLE = 0.9

log = structlog.get_logger()


def capabilities_of(pipeline: Pipeline, model_id: str, device: str) -> Capabilities:
    """Sizes that would not fit into the machine's memory, however little a job takes, are left out,
    so that they are refused when they are asked for and not when all steps are done.
    """
    able = pipeline.capabilities
    usable = usable_bytes(device)
    needs = lambda width, height: pipeline.memory(width, height, frugal=True).peak
    max_pixels = pixels_within(usable, needs, able.max_pixels, able.grid)
    if max_pixels < able.max_pixels:
        log.warning("memory.limits", max_pixels=max_pixels, usable_bytes=usable)
    sizes = [(able.width, able.height), *SIZES]
    sizes += [(height, width) for width, height in sizes]
    return Capabilities(
        model_id=model_id,
        width=able.width,
        height=able.height,
        frames=able.frames,
        fps=round(able.fps),
        steps=able.steps,
        guidance=able.guidance,
        guidance_2=able.guidance_2,
        flow_shift=able.flow_shift,
        strength=able.strength,
        grid=able.grid,
        min_side=able.grid,
        max_pixels=max_pixels,
        max_frames=able.max_frames,
        frame_step=able.frame_factor,
        modes=able.modes,
        sizes=tuple(dict.fromkeys(size for size in sizes if size[0] * size[1] <= max_pixels)),
    )


def fitting(
    folder: Path, device: str, dtype: torch.dtype, offload: str, usable: int
) -> tuple[torch.dtype, bool]:
    """The VAE's dtype, and whether the transformers' weights wait in host memory.

    Where a GPU is short of memory for a clip of the checkpoint's own size, the VAE gives its
    precision first: what it remembers between two latent frames is most of what a clip takes.
    `offload` is always, never, or auto: if it is short even so.
    """
    if device == "cpu":  # of a large clip most time is the VAE's, and memory is not the question
        return dtype, offload == "always"
    narrow = dtype if dtype == torch.bfloat16 else torch.float32
    is_short = lambda vae_dtype: Pipeline.needed(folder, dtype, vae_dtype=vae_dtype) > usable
    vae_dtype = narrow if is_short(torch.float32) else torch.float32
    return vae_dtype, offload == "always" or (offload == "auto" and is_short(vae_dtype))


def pixels_within(usable: int, needs: Callable[[int, int], int], max_pixels: int, grid: int) -> int:
    """The largest number of pixels, up to `max_pixels`, whose frames fit into `usable` bytes.

    `needs(width, height)` gives bytes, and more of them for more pixels: it is asked for squares.
    """
    side = lambda pixels: max(grid, int(pixels**0.5) // grid * grid)
    if needs(side(max_pixels), side(max_pixels)) <= usable:
        return max_pixels
    fits, too_many = grid, side(max_pixels)
    while too_many - fits > grid:
        middle = (fits + too_many) // 2 // grid * grid
        if needs(middle, middle) <= usable:
            fits = middle
        else:
            too_many = middle
    return fits * fits


def usable_bytes(device: str) -> int:
    """What a job and the weights may take together by the estimates."""
    return int(memory_bytes(torch.device(device)) * USABLE)


def memory_bytes(device: torch.device) -> int:
    """Memory of a GPU; or the host's, but no more than this control group may have."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[1]
    host = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = Path("/sys/fs/cgroup/memory.max")
    text = limit.read_text().strip() if limit.exists() else "max"
    return host if text == "max" else min(host, int(text))
