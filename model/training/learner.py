"""The networks that are trained together: transformer, text encoder and a throw-away head."""

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from model.training import checkpoints, language
from model.training.pools import Clips
from model.training.scenes import BACKGROUNDS, COLOURS, GRAY, MOTIONS, SHAPES, STYLES, Scenes
from model.transformer import FLOAT32_MODULES, Transformer, TransformerConfig

TEXT_DIM = 192
TINY = TransformerConfig(
    num_attention_heads=6,
    attention_head_dim=32,
    in_channels=16,
    out_channels=16,
    text_dim=TEXT_DIM,
    freq_dim=128,
    ffn_dim=768,
    num_layers=12,
)
# The layers of a block whose results are added to what it is given.
LAST_LAYERS = ("attn1.to_out", "attn2.to_out", "ffn.net.2")
# Names under which the text encoder's embedding appears a second time.
TIED = {"encoder.embed_tokens.weight"}


class Truth(nn.Module):
    """The throw-away head: what the object is where it is, what the picture is everywhere."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.classes = (1, len(SHAPES), len(COLOURS), len(MOTIONS))
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, sum(self.classes))
        self.around = nn.Linear(width, len(BACKGROUNDS) + len(STYLES))

    def loss(self, tokens: Tensor, clips: Clips, noisy: Tensor) -> Tensor:
        """Cross-entropies over the noisy frames' tokens `[b, n, d]`; classes where covered."""
        tokens = self.norm(tokens.float())
        cover, *logits = self.out(tokens).split(self.classes, -1)
        coverage = clips.coverage.flatten(1).clamp(max=1)
        wanted = noisy[:, :, None].expand(-1, -1, clips.coverage[0, 0].numel()).flatten(1).float()
        total = F.binary_cross_entropy_with_logits(cover[..., 0], coverage, reduction="none")
        total = (total * wanted).sum() / wanted.sum()
        inside = torch.stack([wanted * (cover.flatten(1) > 0.3) for _, cover in clips.objects])
        for (scenes, _), here in zip(clips.objects, inside, strict=True):
            for scores, name in zip(logits, ("shape", "colour", "motion"), strict=True):
                target = getattr(scenes, name)[:, None].expand(-1, scores.shape[1])
                each = F.cross_entropy(scores.transpose(1, 2), target, reduction="none")
                total = total + 0.3 * (each * here).sum() / inside.sum().clamp(min=1)
        around = self.around(tokens).split((len(BACKGROUNDS), len(STYLES)), -1)
        for scores, name in zip(around, ("background", "style"), strict=True):
            target = getattr(clips.scenes, name)[:, None].expand(-1, scores.shape[1])
            each = F.cross_entropy(scores.transpose(1, 2), target, reduction="none")
            total = total + 0.3 * (each * wanted).sum() / wanted.sum()
        return total


class Said(nn.Module):
    """The throw-away head of the text encoder: what is said of each of two objects.

    It reads as the transformer does, by attention to the words: of each attribute of the first
    object and of the second with a query of its own. So the words come to say whose they are; from
    pictures alone they did not, since neither side gains while the other does not do it.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        classes = {"shape": len(SHAPES), "colour": len(COLOURS), "motion": len(MOTIONS)}
        self.queries = nn.Parameter(torch.randn(2, len(classes), width))
        self.out = nn.ModuleDict({name: nn.Linear(width, n) for name, n in classes.items()})

    def loss(self, text: Tensor, pair: Sequence[Scenes], spoken: Tensor) -> Tensor:
        """Cross-entropies over captions `[b, l, d]` of pairs, where something is said, `[b]`;
        colours where the style has them.
        """
        text = text.float()
        scores = torch.einsum("bld,kad->bkal", text, self.queries)
        scores = scores.masked_fill(~(text != 0).any(-1)[:, None, None], float("-inf"))
        read = torch.einsum("bkal,bld->abkd", scores.softmax(-1), text)
        total = text.new_zeros(())
        for (name, out), part in zip(self.out.items(), read, strict=True):
            for k, scenes in enumerate(pair):
                each = F.cross_entropy(out(part[:, k]), getattr(scenes, name), reduction="none")
                counts = spoken * coloured(scenes.style) if name == "colour" else spoken
                total = total + (each * counts).sum() / counts.sum().clamp(min=1)
        return total


def coloured(style: Tensor) -> Tensor:
    """1 where a style shows colours, else 0."""
    shows = torch.ones_like(style, dtype=torch.float32)
    for name in GRAY:
        shows = shows * (style != STYLES.index(name))
    return shows


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
        """Embeddings `[b, l, d]` of captions' ids `[b, l]`, zero past their ends."""
        mask = ids != 0
        # As what is added to scores; given as 0 and 1, transformers would wait for a GPU to see
        # whether anything is masked at all.
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
    """Begin with the transformer and text encoder of a checkpoint of the same width, which may have
    fewer layers and know fewer words.
    """
    try:
        weights = load_file(folder / "transformer" / "diffusion_pytorch_model.safetensors")
        learner.transformer.load_state_dict(deeper(weights, TINY.num_layers))
        text = load_file(folder / "text_encoder" / "model.safetensors")
        known = text["shared.weight"]
        words = learner.text.shared.weight.detach() * known.float().std()
        words[: len(known)] = known.float()
        text["shared.weight"] = words
        missing, extra = learner.text.load_state_dict(text, strict=False)
    except (OSError, RuntimeError, KeyError, ValueError, SafetensorError) as error:
        raise ValueError(f"{folder}: cannot begin with these weights: {error}") from error
    if extra or set(missing) - TIED:
        raise ValueError(f"{folder}: its text_encoder lacks {missing} and has {extra} beyond")


def deeper(weights: dict[str, Tensor], layers: int) -> dict[str, Tensor]:
    """A transformer's weights with blocks added evenly until there are so many `layers`.

    A new block is a copy of the one before it whose last layers are zero, so that it passes on what
    it is given: the function stays as it is. ValueError if there are more blocks than `layers`.
    """
    blocks: dict[int, dict[str, Tensor]] = {}
    rest: dict[str, Tensor] = {}
    for name, value in weights.items():
        if name.startswith("blocks."):
            _, number, inner = name.split(".", 2)
            blocks.setdefault(int(number), {})[inner] = value
        else:
            rest[name] = value
    if len(blocks) > layers:
        raise ValueError(f"has {len(blocks)} layers, and at most {layers} are trained")
    places = [i * layers // len(blocks) for i in range(len(blocks))]
    for k in range(layers):
        own = max(i for i, place in enumerate(places) if place <= k)
        for inner, value in blocks[own].items():
            silent = places[own] != k and inner.startswith(LAST_LAYERS)
            rest[f"blocks.{k}.{inner}"] = torch.zeros_like(value) if silent else value
    return rest


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
