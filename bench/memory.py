"""Whether a worker's memory stays flat: its resident size after each of many jobs.

python bench/memory.py --checkpoint FOLDER [--jobs 200]
"""

import argparse
import tempfile
from pathlib import Path

from app.embedded import default_checkpoint
from bench.harness.cluster import Cluster
from bench.harness.trials import LONG, SHORT, Trials

#: Jobs after which everything that is loaded late is loaded.
WARM = 10


def resident_mb(process: int) -> float:
    """Physical memory of a process that it does not share with files, in MiB."""
    fields = dict(
        line.split(":", 1) for line in Path(f"/proc/{process}/status").read_text().splitlines()
    )
    return int(fields["RssAnon"].split()[0]) / 1024


def main() -> None:
    """Runs the jobs on one worker and prints the curve."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--checkpoint", type=Path, default=default_checkpoint())
    parser.add_argument("--jobs", type=int, default=200)
    asked = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="kinora-memory-") as folder,
        Cluster(Path(folder), asked.checkpoint) as cluster,
    ):
        trials = Trials(cluster)
        sizes: list[float] = []
        for number in range(asked.jobs):
            fields = LONG if number % 4 == 0 else SHORT
            trials.wait_completed(trials.create(fields), fields)
            sizes.append(resident_mb(cluster.parts["worker-0"].pid))
            if number % 10 == WARM - 1:
                print(f"{number + 1:4} jobs: {sizes[-1]:.1f} MiB", flush=True)
        first, last = sizes[min(WARM, len(sizes)) - 1], sizes[-1]
        print(f"{(last / first - 1) * 100:+.1f} % from job {WARM} to job {asked.jobs}")


if __name__ == "__main__":
    main()
