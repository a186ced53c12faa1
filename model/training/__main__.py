"""`python -m model.training STAGE`: train kinora-tiny stage by stage, and score it.

Every stage goes on from its last checkpoint when it is started again.
"""

import argparse
import math
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import SafetensorError

from model import CheckpointError
from model.training import (
    evaluate,
    export,
    reward,
    train_detector,
    train_transformer,
    train_upsampler,
    train_vae,
)
from model.training.learner import averaged
from model.training.train_detector import DetectorRun
from model.training.train_transformer import TransformerRun
from model.training.train_upsampler import UpsamplerRun
from model.training.weights import load_vae

WEIGHTS = Path(__file__).parents[1] / "weights" / "kinora-tiny"
STAGES = (
    "vae", "polish", "detector", "transformer", "reward", "export", "upsampler", "evaluate", "all",
)  # fmt: skip
#: Minutes of the transformer's training in all once it has learnt from the reward model as well.
REWARDED_MINUTES = 130.0
KINORA = {
    "model_id": "kinora-tiny",
    "max_sequence_length": 64,
    "max_frames": 961,
    "window_frames": 65,
    "window_overlap": 4,
    "default": {
        "width": 256,
        "height": 160,
        "frames": 25,
        "fps": 16,
        "steps": 16,
        "guidance": 3.5,
        "flow_shift": 4.0,
        "strength": 0.6,
    },
    "train_grid": [5, 8],
    "refine": {
        "base_pixels": 40960,
        "strength": 0.35,
        "steps": 2,
        "tile": [6, 8],
        "overlap": 2,
    },
}


def above(least: int, kind: type[int] | type[float] = int) -> Callable[[str], float]:
    """What reads a number of the command line that must be above `least`."""

    def read(text: str) -> float:
        if not least < (value := kind(text)) < math.inf:
            raise argparse.ArgumentTypeError(f"must be above {least}, not {text}")
        return value

    read.__name__ = kind.__name__  # argparse tells of an invalid int
    return read


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line; exits with a message for a wrong flag."""
    parser = argparse.ArgumentParser(prog="python -m model.training", description=__doc__)
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="training state (runs/)")
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="where to export")
    parser.add_argument("--start", type=Path, help="checkpoint whose transformer to train further")
    parser.add_argument(
        "--minutes", type=above(0, float), help="length of the stage (its own default)"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=above(0), default=torch.get_num_threads())
    parser.add_argument(
        "--workers",
        type=above(0),
        default=1,
        help="processes that train the transformer, or score, together (1)",
    )
    parser.add_argument(
        "--tokens", type=above(0), default=4200, help="of a transformer's step (4200)"
    )
    parser.add_argument("--clips", type=above(0), default=40_000, help="drawn for it (40000)")
    parser.add_argument(
        "--loaders", type=above(-1), default=0, help="processes that draw its clips, for a GPU (0)"
    )
    parser.add_argument(
        "--lr", type=above(0, float), default=1.5e-3, help="its rate of learning (0.0015)"
    )
    parser.add_argument("--compile", action="store_true", help="its blocks, for a GPU")
    parser.add_argument("--count", type=above(0), default=200, help="prompts to score (200)")
    parser.add_argument("--only", default="", help="score the modes whose name contains this")
    options = parser.parse_args(arguments)
    if options.loaders and options.workers > 1 and options.stage != "evaluate":
        parser.error("--workers: must be 1 beside --loaders, whose clips no other process has")
    return options


def main(arguments: list[str]) -> int:
    """Run one stage, or all; returns the exit status."""
    options = parse(arguments)
    torch.set_num_threads(options.threads)
    torch.set_flush_denormal(True)  # as in `parallel.py`
    try:
        check_device(options.device)
        options.runs.mkdir(parents=True, exist_ok=True)
        for stage in STAGES[:-1] if options.stage == "all" else (options.stage,):
            run(stage, options)
    except (OSError, ValueError, CheckpointError, SafetensorError) as error:
        print(f"python -m model.training: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped; start the same command again to go on from the last checkpoint")
        return 130
    return 0


def check_device(device: str) -> None:
    """Raise ValueError for a device that is not there."""
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError("--device cuda: PyTorch sees no GPU here; README.md has how to set it up")
    try:
        torch.empty(0, device=device)
    except (AssertionError, RuntimeError) as error:
        raise ValueError(f"--device {device}: must be cpu or cuda ({error})") from error


def run(stage: str, options: argparse.Namespace) -> None:
    """Run one stage."""
    runs = options.runs
    common = {"seed": options.seed, "device": options.device}
    length = {"minutes": options.minutes} if options.minutes else {}
    if stage == "vae":
        train_vae.train(train_vae.VaeRun(runs / "vae", **common, **length))
        train_vae.export(runs / "vae", runs / "exported")
    elif stage == "polish":
        polish = train_vae.VaeRun(
            runs / "polish",
            polish=runs / "exported",
            minutes=options.minutes or 60,
            lr=1.5e-3,
            **common,
        )
        train_vae.polish(polish, runs / "exported")
    elif stage == "transformer":
        train_transformer.train(transformer_run(options))
    elif stage == "reward":
        plain = transformer_run(options)
        judge = plain.folder / "reward.safetensors"
        if not judge.exists():
            reward.train(plain.folder, clips=plain.clips, seed=plain.seed)
        minutes = options.minutes or REWARDED_MINUTES
        train_transformer.train(replace(plain, reward=judge, minutes=minutes))
    elif stage == "export":
        load_vae(runs / "exported")  # both are there, and whole, before anything is written
        learner = averaged(runs / "transformer")
        train_vae.export_half(runs / "exported", options.weights)
        export.export(learner, options.weights, KINORA)
    elif stage == "upsampler":
        train_upsampler.train(UpsamplerRun(runs / "upsampler", options.weights, **common, **length))
        train_upsampler.export(runs / "upsampler", options.weights)
    elif stage == "detector":
        files = (runs / "detector", runs / "exported", runs / "detector.safetensors")
        train_detector.train(DetectorRun(*files, **common, **length))
    else:
        evaluate.evaluate(
            options.weights,
            evaluate.find_detector(runs),
            count=options.count,
            workers=options.workers,
            only=options.only,
            report=runs / "evaluation",
        )


def transformer_run(options: argparse.Namespace) -> TransformerRun:
    """The transformer's training as the command line asks for it."""
    length = {"minutes": options.minutes} if options.minutes else {}
    return TransformerRun(
        options.runs / "transformer",
        options.runs / "exported",
        start=options.start,
        workers=options.workers,
        loaders=options.loaders,
        tokens=options.tokens,
        compiled=options.compile,
        lr=options.lr,
        clips=options.clips,
        wait_for=max(600, options.tokens // 25),
        seed=options.seed,
        device=options.device,
        **length,
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
