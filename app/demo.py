"""`kinora demo`: one prompt to one MP4 through a whole service that is started for this alone."""

import tempfile
import time
from pathlib import Path

from rich.console import Console

from app.client import ServerError
from app.generate import UNREACHABLE, Target, generate
from app.local import StartError, free_port, service
from app.wishes import Wish


def run(prompt: str, output: Path, size: str) -> int:
    """Make the clip and say what to do next; returns the exit code."""
    console = Console(stderr=True, highlight=False)
    with tempfile.TemporaryDirectory(prefix="kinora-demo-") as folder:
        port = free_port()
        console.print("starting the service: API, Redis, worker, courier", markup=False)
        try:
            with service(Path(folder), port) as client:
                console.print(f"its studio is at http://127.0.0.1:{port}/ while this runs")
                console.print(f'POST /v1/videos "{prompt}" {size}', markup=False)
                began = time.monotonic()
                wish = Wish({"prompt": prompt, "size": size})
                code = generate(client, wish, Target(str(output)))
        except (StartError, ServerError) as error:
            console.print(str(error), style="red", markup=False)
            return UNREACHABLE
    if code == 0:
        megabytes = output.stat().st_size / 1e6
        console.print(
            f"{output} ({megabytes:.1f} MB) took {time.monotonic() - began:.0f} s.\n"
            "Next: `make serve`, then open http://127.0.0.1:8000/ for the studio, or\n"
            '  .venv/bin/kinora generate "a blue ball bounces on a beach" -o ball.mp4',
            markup=False,
        )
    return code
