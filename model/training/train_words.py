"""The text encoder's first lessons, from captions alone: to tell of each object what is said of it.

A minute on a GPU, a quarter of an hour on a CPU. Without them a transformer takes long to find that
words say whose they are, since neither side gains while the other does not do it (`Said`).
"""

import time
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from model.training import captions, language, scenes
from model.training.learner import OF_OBJECTS, OF_SCENES, TIED, Learner, Said, coloured
from model.training.log import Log
from model.training.optim import Weights
from model.training.scenes import Scenes
from model.training.train_transformer import HELD, PLAIN

ASPECTS = (1.6, 1.0, 0.625)


@dataclass(frozen=True, slots=True)
class WordsRun:
    """What one run of the stage does."""

    folder: Path
    minutes: float = 15.0
    batch: int = 96
    lr: float = 2e-3
    seed: int = 0
    device: str = "cpu"


def labels_of(batch: Scenes, device: str) -> dict[str, Tensor]:
    """What scenes are asked for."""
    names = (*OF_OBJECTS, *OF_SCENES, "count")
    return {name: getattr(batch, name).to(device) for name in names}


def train(run: WordsRun) -> None:
    """Train a new text encoder and write it to `run.folder`."""
    torch.manual_seed(run.seed)
    tokenizer = language.plain_tokenizer()
    learner = Learner().to(run.device)
    both = nn.ModuleDict({"text": learner.text, "said": learner.said})
    weights = Weights(both, lr=run.lr, plain=PLAIN, held=HELD)
    log = Log(run.folder / "log.jsonl", f"words {run.minutes:.1f} min")
    start = time.monotonic()
    while (done := (time.monotonic() - start) / 60 / run.minutes) < 1:
        generator = torch.Generator().manual_seed(run.seed * 1_000_003 + weights.steps)
        aspect = ASPECTS[weights.steps % len(ASPECTS)]
        batch = scenes.sample(run.batch, generator, aspect=aspect)
        ids = language.encode_captions(tokenizer, captions.describe(batch, generator))
        # Nothing here is computed beyond the longest caption.
        ids = ids[:, : int((ids != 0).sum(1).max())].long().to(run.device)
        labels = labels_of(batch, run.device)
        spoken = torch.ones(len(ids), dtype=torch.bool, device=run.device)
        present = batch.present().to(run.device)
        loss = learner.said.loss(learner.read(ids), labels, present, spoken)
        loss.backward()
        norm = weights.step(min(1.0, (weights.steps + 1) / 50) * min(1.0, (1 - done) / 0.6))
        log.step(weights.steps, done, said=float(loss.detach()), norm=float(norm))
    log.close()
    state = weights.averaged()
    text, said = (
        {k.split(".", 1)[1]: v for k, v in state.items() if k.startswith(f"{part}.")}
        for part in ("text", "said")
    )
    # The folder comes last: a stage that waits for it takes all of it from then on.
    save_file(said, run.folder / "said.safetensors")
    partial = run.folder / "text_encoder.part"
    partial.mkdir(parents=True, exist_ok=True)
    kept = {k: v.half() for k, v in text.items() if k not in TIED}
    save_file(kept, partial / "model.safetensors")
    partial.replace(run.folder / "text_encoder")


@torch.no_grad()
def score(learner: Learner, said: Said, *, count: int = 512, seed: int = 77) -> dict[str, float]:
    """How often each attribute is read rightly from complete captions of held-out pairs."""
    generator = torch.Generator().manual_seed(seed)
    batch = scenes.sample(count, generator, held_out=True, aspect=1.6)
    texts = captions.describe(batch, generator, complete=True)
    ids = language.encode_captions(language.plain_tokenizer(), texts).long()
    labels, present = labels_of(batch, "cpu"), batch.present()
    out: dict[str, float] = {}
    for name, logits in said.read(learner.read(ids)).items():
        right = logits.argmax(-1) == labels[name]
        counted = present if name in OF_OBJECTS else torch.ones_like(right)
        if name == "colour":
            counted = counted & coloured(labels)[:, None]
        out[name] = float((right & counted).sum() / counted.sum())
    return out
