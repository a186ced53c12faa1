"""The losses of training runs that followed each other, as one picture.

    python -m bench.training_curve runs/transformer/log.jsonl … --picture docs/training-curve.png

Losses are those on clips and on stills, each the mean of the lines around it.
"""

import argparse
import json
from pathlib import Path

from bench.pictures import Curve, lines


def main() -> None:
    """Draws the picture."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("logs", nargs="+", type=Path)
    parser.add_argument("--picture", type=Path, required=True)
    parser.add_argument("--smooth", type=int, default=40, help="lines of a log to a point")
    asked = parser.parse_args()
    logged = [json.loads(line) for log in asked.logs for line in log.read_text().splitlines()]
    curves = {
        "clips": curve(logged, "video", asked.smooth),
        "stills": curve(logged, "still", asked.smooth),
    }
    lines(asked.picture, curves, "steps", "flow loss")


def curve(logged: list[dict[str, float]], name: str, smooth: int) -> Curve:
    """Steps and the mean of a value around them, of so many lines."""
    found = [(line["step"], line[name]) for line in logged if name in line]
    starts = range(0, max(1, len(found) - smooth + 1), max(1, smooth // 4))
    parts = [found[i : i + smooth] for i in starts]
    means = [[sum(values) / len(part) for values in zip(*part, strict=True)] for part in parts]
    return [mean[0] for mean in means], [mean[1] for mean in means]


if __name__ == "__main__":
    main()
