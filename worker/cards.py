"""Which of a machine's GPUs is this worker's: the first that no other worker holds.

Docker gives every replica of a service the same GPUs, and `kinora serve --workers 2` is two
processes on one machine; each would take the first GPU.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import structlog

from worker.locks import locked

log = structlog.get_logger()

DEVICES = Path("/dev")


@dataclass(frozen=True, slots=True)
class Card:
    """A GPU, by its number among those that CUDA sees, which is held until `lock` is closed."""

    number: int
    lock: IO[str]


def take(devices: Path = DEVICES) -> Card | None:
    """Hold the first free GPU. None where there are less than two, which leaves no choice, or none
    is free: workers beyond the number of GPUs share the first.

    CUDA counts the fastest first, and the same for all who see the same: the files of devices give
    their number, and names for the locks.
    """
    nodes = sorted(devices.glob("nvidia[0-9]*"), key=lambda node: int(node.name[6:]))
    if len(nodes) < 2:
        return None
    for number, node in enumerate(nodes):
        if (lock := locked(Path(tempfile.gettempdir(), f"kinora-{node.name}.lock"))) is not None:
            log.info("gpu.taken", gpu=number, of=len(nodes))
            return Card(number, lock)
    log.warning("gpu.shared", of=len(nodes), hint="there are more workers than GPUs")
    return None
