"""`python -m model.training STAGE`: train kinora-tiny stage by stage, and score it.

Every stage goes on from its last checkpoint when it is started again.
"""

import argparse
import sys
from pathlib import Path

import torch

from model.training import detector, evaluate, export, train_transformer, train_vae, train_words
from model.training.train_transformer import TransformerRun
from model.training.train_words import WordsRun
from model.training.weights import load_vae

WEIGHTS = Path(__file__).parents[1] / "weights" / "kinora-tiny"
STAGES = ("vae", "polish", "detector", "words", "transformer", "export", "evaluate", "all")
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
    },
    "train_grid": [5, 8],
    "refine": {
        "base_pixels": 40960,
        "strength": 0.35,
        "steps": 3,
        "tile": [6, 8],
        "overlap": 2,
    },
}


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line; exits with a message for a wrong flag."""
    parser = argparse.ArgumentParser(prog="python -m model.training", description=__doc__)
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="training state (runs/)")
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="where to export")
    parser.add_argument(
        "--start", type=Path, help="checkpoint to go on from (its vae or transformer)"
    )
    parser.add_argument("--minutes", type=float, help="length of the stage (its own default)")
    parser.add_argument(
        "--until", type=float, help="stop the transformer's stage after so many of its minutes"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--workers", type=int, default=1, help="processes that score (1)")
    parser.add_argument("--tokens", type=int, default=4200, help="of a transformer's step (4200)")
    parser.add_argument("--clips", type=int, default=20_000, help="that it has at a time (20000)")
    parser.add_argument("--times", type=int, default=1, help="as many crops a VAE's step (1)")
    parser.add_argument("--batch", type=int, default=16, help="clips of a detector's step (16)")
    parser.add_argument(
        "--loaders", type=int, default=0, help="processes that think of clips, for a GPU (0)"
    )
    parser.add_argument("--compile", action="store_true", help="the transformer's blocks")
    parser.add_argument(
        "--waits", action="store_true", help="for the vae, which another process trains"
    )
    parser.add_argument("--count", type=int, default=200, help="prompts to score (200)")
    parser.add_argument("--only", default="", help="score the modes whose name contains this")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    """Run one stage, or all; returns the exit status."""
    options = parse(arguments)
    torch.set_num_threads(options.threads)
    try:
        check_device(options.device)
        # On a GPU what is left in float32 (the heads) may round as tensor cores do.
        torch.set_float32_matmul_precision("highest" if options.device == "cpu" else "high")
        options.runs.mkdir(parents=True, exist_ok=True)
        for stage in STAGES[:-1] if options.stage == "all" else (options.stage,):
            run(stage, options)
    except (OSError, ValueError) as error:
        print(f"python -m model.training: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped; start the same command again to go on from the last checkpoint")
        return 130
    return 0


def check_device(device: str) -> None:
    """Raise ValueError for a GPU that is not there."""
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError("--device cuda: PyTorch sees no GPU here; README.md has how to set it up")


def run(stage: str, options: argparse.Namespace) -> None:
    """Run one stage."""
    runs = options.runs
    common = {"seed": options.seed, "device": options.device}
    length = {"minutes": options.minutes} if options.minutes else {}
    if stage == "vae":
        times = {"times": options.times}
        train_vae.train(train_vae.VaeRun(runs / "vae", **common, **length, **times))
        train_vae.export(runs / "vae", runs / "exported")
    elif stage == "polish":
        run = train_vae.VaeRun(
            runs / "polish",
            start=options.start or runs / "exported",
            minutes=options.minutes or 60,
            lr=1.5e-3,
            times=options.times,
            **common,
        )
        train_vae.polish(run, runs / "exported")
    elif stage == "words":
        large = options.device != "cpu"
        words = WordsRun(runs / "words", batch=768 if large else 96, **common, **length)
        train_words.train(words)
    elif stage == "transformer":
        train_transformer.train(transformer_run(options))
    elif stage == "export":
        train_vae.export_half(runs / "exported", options.weights)
        export.export(runs / "transformer", options.weights, KINORA)
    elif stage == "detector":
        detector.train(
            runs,
            load_vae(options.start or runs / "exported"),
            minutes=options.minutes or 12,
            batch=options.batch,
            **common,
        )
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
    """The transformer's training as the command line asks for it; it begins with the words' stage
    if that has been run.
    """
    length = {"minutes": options.minutes} if options.minutes else {}
    words = options.runs / "words"
    large = options.device != "cpu"
    return TransformerRun(
        options.runs / "transformer",
        options.runs / "exported",
        start=options.start or (words if options.waits or words.exists() else None),
        loaders=options.loaders,
        tokens=options.tokens,
        clips=options.clips,
        wait_for=min(options.clips // 2, 4000 if large else 400),
        pixels=64_000_000 if large else 4_000_000,
        until=options.until,
        compiled=options.compile,
        waits=options.waits,
        seed=options.seed,
        device=options.device,
        **length,
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
