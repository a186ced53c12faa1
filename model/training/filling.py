"""Pools are filled: footage is drawn by CPU cores, and encoded.

On a CPU a process beside the trainer does all of it (`start_filling`), into pools on disk. For a
GPU many processes draw, and the trainer encodes what they have drawn between its steps, into pools
in the GPU's memory (`Filling`). Clips of one number are always the same: an interrupted pool goes
on where it stopped, and another seed has other clips.
"""

import itertools
import multiprocessing
import os
import queue
import threading
from contextlib import suppress
from multiprocessing.process import BaseProcess
from multiprocessing.queues import Queue
from pathlib import Path

import torch
import torch.multiprocessing
from torch import Tensor

from model.memory import compute_dtype
from model.training import led, reading
from model.training.footage import Drawn, draw_batch
from model.training.pools import BUCKETS, Pool, new_pools
from model.training.weights import load_vae
from model.vae import VAE

# Tokens of a step for each frame that is drawn together with others, and the most of these, which
# bounds the memory.
TOKENS_A_FRAME, TOGETHER = 20, 800
# Batches of new clips that are encoded between two steps, at most: each takes a GPU some 10 ms, and
# a step of 384,000 tokens 360. With two, 250 clips a second came in of thirteen processes.
BETWEEN = 6
# Batches that each process may have drawn before they are fetched: a trainer compiles for a minute.
AHEAD = 12


def next_bucket(drawn: list[float]) -> int:
    """The bucket whose clips are shown most often, if so many were drawn of each. Those of which
    there are none come first: training waits until each has one.
    """
    wanted = [(n > 0, (n + 0.5) / b.wanted) for n, b in zip(drawn, BUCKETS, strict=True)]
    return wanted.index(min(wanted))


def together(k: int, tokens: int) -> int:
    """How many clips of bucket `k` are drawn together, for steps of so many tokens."""
    # What is drawn wrong, and said, counts too.
    return max(1, min(TOGETHER, tokens // TOKENS_A_FRAME) // (BUCKETS[k].frames + 7))


@torch.no_grad()
def encode(vae: VAE, pool: Pool, drawn: Drawn) -> None:
    """Put drawn clips into their pool, as normalised latents."""
    weight = next(vae.parameters())

    def pictures(frames: Tensor) -> Tensor:
        return frames.to(weight.device, non_blocking=True).to(weight.dtype).div_(127.5).sub_(1)

    def latents_of(frames: Tensor) -> Tensor:
        # Without gradients a clip passes group by group, which spares a CPU's caches; a GPU takes
        # all of it at once.
        with torch.set_grad_enabled(weight.is_cuda):
            return vae.normalize(vae.encode(frames).detach().float())

    frames = pictures(drawn.frames)
    latents = latents_of(frames)
    tail = pool.bucket.tail
    if tail:
        latents[:, :, -tail:] = led.ending(vae, frames, tail)
    bent = latents_of(pictures(drawn.bent)) if len(drawn.bent) else None
    pool.add(latents, bent, drawn.cells, drawn.records, drawn.ids)


def fill(
    folder: Path, vae_folder: Path, text: Path, *, tokens: int, clips: int, seed: int, parent: int
) -> None:
    """Draw clips into a folder's pools until `clips` exist, or the process `parent` is gone."""
    os.setsid()  # Ctrl-C is for the trainer, which ends this process
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)  # as in `parallel.py`
    vae = load_vae(vae_folder).to(compute_dtype("cpu")).requires_grad_(requires_grad=False)
    pools = new_pools(vae.config.z_dim, clips, folder=folder, device="cpu")
    tokenizer = reading.plain_tokenizer(text)
    while os.getppid() == parent:
        counts = [p.drawn for p in pools]
        if sum(counts) >= clips and min(counts) > 0:
            return
        k = next_bucket([float(count) for count in counts])
        generator = torch.Generator().manual_seed(seed * 7919 + k * 104_729 + pools[k].drawn)
        encode(vae, pools[k], draw_batch(k, together(k, tokens), generator, tokenizer))


def start_filling(
    folder: Path, vae_folder: Path, text: Path, *, tokens: int, clips: int, seed: int
) -> BaseProcess:
    """Fill the pools in a process of its own, which ends with this one."""
    context = multiprocessing.get_context("spawn")
    process = context.Process(
        target=fill,
        args=(folder, vae_folder, text),
        kwargs={"tokens": tokens, "clips": clips, "seed": seed, "parent": os.getpid()},
        daemon=True,
        name="kinora-latents",
    )
    process.start()
    return process


def draw_on(
    drawn: "Queue[Drawn]", text: Path, *, tokens: int, seed: int, at: int, every: int, parent: int
) -> None:
    """Draw clips until the process `parent` is gone, each `every`-th batch, in the proportions in
    which they are shown.
    """
    os.setsid()  # Ctrl-C is for the trainer, which ends this process
    drawn.cancel_join_thread()  # nobody takes what is left when it is gone
    os.nice(10)  # a GPU must not wait for the process that feeds it
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)  # as in `parallel.py`
    tokenizer = reading.plain_tokenizer(text)
    counts = [0.0] * len(BUCKETS)
    for number in itertools.count():
        k = next_bucket(counts)
        count = together(k, tokens)
        counts[k] += count
        if number % every == at:
            generator = torch.Generator().manual_seed(seed * 1_000_003 + number)
            batch = draw_batch(k, count, generator, tokenizer)
            while not _put(drawn, batch):
                if os.getppid() != parent:
                    return


def _put(drawn: "Queue[Drawn]", batch: Drawn) -> bool:
    """Whether there was room for a batch within a second."""
    try:
        drawn.put(batch, timeout=1)
    except queue.Full:
        return False
    return True


class Filling:
    """Encodes what other processes draw, between a trainer's steps, a few batches at a time.

    The trainer never waits for a drawing, once it has begun: it is shown what there is.
    """

    def __init__(
        self,
        vae: VAE,
        pools: list[Pool],
        text: Path,
        *,
        tokens: int,
        seed: int,
        loaders: int,
    ) -> None:
        self.vae, self.pools = vae, pools
        self.device = next(vae.parameters()).device
        context = torch.multiprocessing.get_context("spawn")
        self.arriving: Queue[Drawn] = context.Queue(AHEAD * loaders)
        self.ready: queue.Queue[Drawn] = queue.Queue(BETWEEN)
        self.processes = [
            context.Process(
                target=draw_on,
                args=(self.arriving, text),
                kwargs={
                    "tokens": tokens,
                    "seed": seed,
                    "at": at,
                    "every": loaders,
                    "parent": os.getpid(),
                },
                daemon=True,
                name=f"kinora-drawing-{at}",
            )
            for at in range(loaders)
        ]
        for process in self.processes:
            process.start()
        threading.Thread(target=self._fetch, daemon=True).start()

    @property
    def drawn(self) -> int:
        """How many clips have been drawn so far."""
        return sum(pool.drawn for pool in self.pools)

    def once(self) -> None:
        """Encode the next clips; raises ValueError when a process that draws has ended."""
        drawn = None
        while drawn is None:
            if not all(process.is_alive() for process in self.processes):
                raise ValueError("a process that draws clips ended; its error is above")
            with suppress(queue.Empty):
                drawn = self.ready.get(timeout=1)
        encode(self.vae, self.pools[drawn.k], drawn)

    def until(self, clips: int) -> None:
        """Encode until there are so many clips, and some of every kind."""
        while self.drawn < clips or min(pool.drawn for pool in self.pools) == 0:
            self.once()

    def go_on(self) -> None:
        """Encode what has been drawn, `BETWEEN` batches at most."""
        for _ in range(min(BETWEEN, self.ready.qsize())):
            self.once()

    def close(self) -> None:
        """End the processes that draw."""
        for process in self.processes:
            process.terminate()
            process.join()

    def _fetch(self) -> None:
        """Bring what was drawn to where a GPU reads it fast."""
        while True:
            drawn = self.arriving.get()
            if self.device.type == "cuda":
                k, *tensors = drawn
                drawn = Drawn(k, *(tensor.pin_memory() for tensor in tensors))
            self.ready.put(drawn)
