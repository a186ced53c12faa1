"""The networks that are trained together: transformer, text encoder and two throw-away heads."""

from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from model.training import checkpoints, language
from model.training.latents import Clips
from model.training.scenes import (
    BACKGROUNDS,
    CAMERAS,
    COLOURS,
    MOTIONS,
    OBJECTS,
    SHAPES,
    STYLES,
)
from model.transformer import FLOAT32_MODULES, Transformer, TransformerConfig

TEXT_DIM = 256
TINY = TransformerConfig(
    num_attention_heads=8,
    attention_head_dim=32,
    in_channels=16,
    out_channels=16,
    text_dim=TEXT_DIM,
    freq_dim=128,
    ffn_dim=1024,
    num_layers=10,
)
# Names under which the text encoder's embedding appears a second time.
TIED = {"encoder.embed_tokens.weight"}
# What is asked of each object, and of the whole picture, with the number of answers.
OF_OBJECTS = {"shape": len(SHAPES), "colour": len(COLOURS), "motion": len(MOTIONS)}
OF_SCENES = {"background": len(BACKGROUNDS), "style": len(STYLES), "camera": len(CAMERAS)}
# Styles that hide an object's colour.
GRAY = tuple(STYLES.index(name) for name in ("bw", "sketch"))


def coloured(labels: dict[str, Tensor]) -> Tensor:
    """Which scenes `[b]` show the colours of their objects."""
    style = labels["style"]
    return (style != GRAY[0]) & (style != GRAY[1])


class Truth(nn.Module):
    """The throw-away head of the transformer: what an object is where it is, what the picture is
    everywhere. It binds words to places long before the flow loss does.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, 1 + sum(OF_OBJECTS.values()))
        self.around = nn.Linear(width, sum(OF_SCENES.values()))

    def loss(self, tokens: Tensor, clips: Clips, noisy: Tensor) -> Tensor:
        """Cross-entropies over the noisy frames' tokens `[b, n, d]`; classes where covered."""
        tokens = self.norm(tokens.float())
        cover, *logits = self.out(tokens).split((1, *OF_OBJECTS.values()), -1)
        each_covers = clips.coverage.flatten(2)  # b k n
        per_frame = clips.coverage[0, 0, 0].numel()
        wanted = noisy.repeat_interleave(per_frame, 1).float()  # b n
        covered = each_covers.sum(1).clamp(max=1)
        total = F.binary_cross_entropy_with_logits(cover[..., 0], covered, reduction="none")
        total = (total * wanted).sum() / wanted.sum()
        # A token belongs to the object that covers the most of it.
        most, owner = each_covers.max(1)
        here = wanted * (most > 0.3)
        for scores, name in zip(logits, OF_OBJECTS, strict=True):
            target = clips.labels[name].gather(1, owner)
            each = F.cross_entropy(scores.transpose(1, 2), target, reduction="none")
            counts = here * coloured(clips.labels)[:, None] if name == "colour" else here
            total = total + 0.3 * (each * counts).sum() / counts.sum().clamp(min=1)
        around = self.around(tokens).split(tuple(OF_SCENES.values()), -1)
        for scores, name in zip(around, OF_SCENES, strict=True):
            target = clips.labels[name][:, None].expand(-1, scores.shape[1])
            each = F.cross_entropy(scores.transpose(1, 2), target, reduction="none")
            total = total + 0.3 * (each * wanted).sum() / wanted.sum()
        return total


class Said(nn.Module):
    """The throw-away head of the text encoder: what is said of each object, and of the picture.

    It reads as the transformer does, by attention to the words: of each attribute of the first,
    second and third object with a query of its own. So the words come to say whose they are; from
    pictures alone they did not, since neither side gains while the other does not do it.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.randn(OBJECTS * len(OF_OBJECTS), width))
        self.general = nn.Parameter(torch.randn(len(OF_SCENES), width))
        self.out = nn.ModuleDict(
            {name: nn.Linear(width, n) for name, n in (OF_OBJECTS | OF_SCENES).items()}
        )

    def read(self, text: Tensor) -> dict[str, Tensor]:
        """Logits by attribute, of objects `[b, OBJECTS, n]`, else `[b, n]`, from `[b, l, d]`."""
        text = text.float()
        queries = torch.cat([self.queries, self.general])
        scores = torch.einsum("bld,qd->bql", text, queries)
        scores = scores.masked_fill(~(text != 0).any(-1)[:, None], float("-inf"))
        read = torch.einsum("bql,bld->bqd", scores.softmax(-1), text)
        of_objects = read[:, : len(self.queries)].unflatten(1, (OBJECTS, -1)).unbind(2)
        logits = {n: self.out[n](x) for n, x in zip(OF_OBJECTS, of_objects, strict=True)}
        general = read[:, len(self.queries) :].unbind(1)
        return logits | {n: self.out[n](x) for n, x in zip(OF_SCENES, general, strict=True)}

    def loss(
        self, text: Tensor, labels: dict[str, Tensor], present: Tensor, spoken: Tensor
    ) -> Tensor:
        """Cross-entropies over captions `[b, l, d]`; colours where the style has them."""
        total = text.new_zeros((), dtype=torch.float32)
        counted = present * spoken[:, None]
        for name, logits in self.read(text).items():
            if name in OF_OBJECTS:
                each = F.cross_entropy(logits.transpose(1, 2), labels[name], reduction="none")
                counts = counted * coloured(labels)[:, None] if name == "colour" else counted
            else:
                each = F.cross_entropy(logits, labels[name], reduction="none")
                counts = spoken
            total = total + (each * counts).sum() / counts.sum().clamp(min=1)
        return total


class Learner(nn.Module):
    """Everything that is trained together."""

    def __init__(self) -> None:
        super().__init__()
        self.transformer = Transformer(TINY)
        self.text = language.new_text_encoder(TEXT_DIM)
        self.truth = Truth(TINY.width)
        self.said = Said(TEXT_DIM)
        with torch.no_grad():
            nn.init.zeros_(self.transformer.proj_out.weight)
            nn.init.zeros_(self.transformer.proj_out.bias)
            for name, parameter in self.transformer.named_parameters():
                if name.endswith("scale_shift_table") or "time_proj" in name:
                    parameter.mul_(0.1)

    def read(self, ids: Tensor) -> Tensor:
        """Embeddings `[b, l, d]` of captions' ids `[b, l]`, zero where nothing is said."""
        mask = ids != 0
        # As what is added to scores; given as 0 and 1, transformers would wait for the device to
        # see whether anything is masked at all.
        added = (~mask)[:, None, None] * torch.finfo(torch.float32).min
        dtype = self.text.shared.weight.dtype
        embeds = self.text(input_ids=ids, attention_mask=added.to(dtype)).last_hidden_state
        return embeds * mask[..., None].to(embeds.dtype)


def to_compute(module: nn.Module, dtype: torch.dtype) -> None:
    """Cast the parameters, but not those that a checkpoint keeps in float32."""
    for name, parameter in module.named_parameters():
        if not any(part in name for part in (*FLOAT32_MODULES, "truth", "said")):
            parameter.data = parameter.data.to(dtype)


def take_weights(learner: Learner, folder: Path) -> None:
    """Begin with the transformer and text encoder of a checkpoint of the same shape, or with what
    of the two is in the folder.
    """
    try:
        if (folder / "transformer").exists():
            weights = load_file(folder / "transformer" / "diffusion_pytorch_model.safetensors")
            learner.transformer.load_state_dict(weights)
        text = load_file(folder / "text_encoder" / "model.safetensors")
        missing, extra = learner.text.load_state_dict(text, strict=False)
        if (folder / "said.safetensors").exists():
            learner.said.load_state_dict(load_file(folder / "said.safetensors"))
    except (OSError, RuntimeError) as error:
        raise ValueError(f"{folder}: cannot begin with these weights: {error}") from error
    if extra or set(missing) - TIED:
        raise ValueError(f"{folder}: its text_encoder lacks {missing} and has {extra} beyond")


def averaged(folder: Path) -> Learner:
    """The fp32 modules with the moving average of the weights in a stage's folder."""
    found = checkpoints.load(folder / "state")
    if found is None:
        raise ValueError(f"{folder}: no transformer checkpoint; run the transformer stage first")
    learner = Learner()
    with torch.no_grad():
        for name, parameter in learner.named_parameters():
            parameter.copy_(found[0][f"average/{name}"].reshape(parameter.shape))
    return learner.eval()


@torch.no_grad()
def remade(learner: Learner, x: Tensor, noise: Tensor, text: Tensor, level: Tensor) -> Tensor:
    """Clips `x` as the learner makes them again of a noisy version, in two steps of Euler's."""
    dtype, t = learner.transformer.proj_out.weight.dtype, x.shape[2]
    level = level[:, None, None, None, None]
    made = torch.lerp(x, noise, level)
    for before, after in ((1.0, 0.4), (0.4, 0.0)):
        sigma = (before * level).flatten(1).expand(-1, t)
        velocity = learner.transformer(made.to(dtype), sigma * 1000, text)
        made = made - (before - after) * level * velocity.float()
    return made
