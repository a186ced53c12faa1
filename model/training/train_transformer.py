"""Stage two: the diffusion transformer and its text encoder, trained together by flow matching.

Rectified flow (Liu et al. 2022, arXiv:2209.03003): x_s = (1 - s) x + s noise, and the network
predicts noise - x. Some latent frames of a clip are left clean (s = 0), so that one network learns
text to video, image to video, continuation and the frames between two ends (diffusion forcing,
Chen et al. 2024, arXiv:2407.01392). A throw-away head reads the renderer's truth from the tokens
of the middle layer, which binds words to places long before the flow loss does.
"""

import json
import time
from dataclasses import asdict, dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor, nn

from model.text import TextEncoder
from model.training import captions, checkpoints, language, latents
from model.training.latents import BUCKETS, Clips, Pool, count_path
from model.training.log import Log
from model.training.optim import Weights
from model.training.scenes import BACKGROUNDS, COLOURS, MOTIONS, SHAPES, STYLES
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
    num_layers=8,
)
# How a training clip is conditioned: number of clean latent frames at its beginning and end.
OPENINGS = (
    ((0, 0), 0.70), ((1, 0), 0.15), ((2, 0), 0.05), ((3, 0), 0.02), ((5, 0), 0.02),
    ((0, 1), 0.02), ((1, 1), 0.03), ((0, 2), 0.01),
)  # fmt: skip
CONTINUATIONS = (
    ((2, 0), 0.40), ((3, 0), 0.14), ((4, 0), 0.12), ((5, 0), 0.12), ((1, 0), 0.06),
    ((2, 1), 0.04), ((2, 2), 0.04), ((0, 2), 0.08),
)  # fmt: skip
DETAIL = (((0, 0), 0.6), ((2, 0), 0.4))
# Latent frames of a clip that a step shows: stills, beginnings and whole clips.
LENGTHS = ((1, 0.15), (3, 0.30), (7, 0.55))
# How far half of the noise levels are bent towards 1.
HIGH_SHIFT = 3.0
# Windows of larger pictures teach only how detail is finished: noise levels up to this one.
DETAIL_NOISE = 0.55


# Names under which the text encoder's embedding appears a second time.
TIED = {"encoder.embed_tokens.weight"}
# Matrices that AdamW steps: embeddings, and the layers that meet data and truth.
PLAIN = ("shared", "embed_tokens", "patch_embedding", "proj_out", "truth", "attention_bias")


@dataclass(frozen=True, slots=True)
class TransformerRun:
    """What one run of the stage does; `minutes` bounds it and shapes its learning rate."""

    folder: Path
    vae: Path
    minutes: float = 90.0
    tokens: int = 4200  # a step
    clips: int = 40_000  # size of the pool
    wait_for: int = 600  # clips in the pool before training begins
    lr: float = 3e-3
    seed: int = 0
    device: str = "cpu"
    bf16: bool = True
    start: Path | None = None  # a checkpoint folder to begin with, instead of random weights


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
        coverage = clips.coverage.flatten(1)
        wanted = noisy[:, :, None].expand(-1, -1, clips.coverage[0, 0].numel()).flatten(1).float()
        total = F.binary_cross_entropy_with_logits(cover[..., 0], coverage, reduction="none")
        total = (total * wanted).sum() / wanted.sum()
        inside = wanted * (coverage > 0.3)
        names = ("shape", "colour", "motion")
        for scores, name in zip(logits, names, strict=True):
            target = getattr(clips.scenes, name)[:, None].expand(-1, scores.shape[1])
            each = F.cross_entropy(scores.transpose(1, 2), target, reduction="none")
            total = total + 0.3 * (each * inside).sum() / inside.sum().clamp(min=1)
        around = self.around(tokens).split((len(BACKGROUNDS), len(STYLES)), -1)
        for scores, name in zip(around, ("background", "style"), strict=True):
            target = getattr(clips.scenes, name)[:, None].expand(-1, scores.shape[1])
            each = F.cross_entropy(scores.transpose(1, 2), target, reduction="none")
            total = total + 0.3 * (each * wanted).sum() / wanted.sum()
        return total


class Learner(nn.Module):
    """Everything that is trained together."""

    def __init__(self) -> None:
        super().__init__()
        self.transformer = Transformer(TINY)
        self.text = language.new_text_encoder(TEXT_DIM)
        self.truth = Truth(TINY.width)
        with torch.no_grad():
            nn.init.zeros_(self.transformer.proj_out.weight)
            nn.init.zeros_(self.transformer.proj_out.bias)
            for name, parameter in self.transformer.named_parameters():
                if name.endswith("scale_shift_table") or "time_proj" in name:
                    parameter.mul_(0.1)


def to_compute(module: nn.Module, dtype: torch.dtype) -> None:
    """Cast the parameters, but not those that a checkpoint keeps in float32."""
    for name, parameter in module.named_parameters():
        if not any(part in name for part in (*FLOAT32_MODULES, "truth")):
            parameter.data = parameter.data.to(dtype)


def draw_clean(clips: Clips, generator: torch.Generator, *, detail: bool) -> Tensor:
    """Which latent frames are given, `[b, t]`; clips that do not open always get some."""
    b, t = clips.latents.shape[0], clips.latents.shape[2]
    clean = torch.zeros(b, t, dtype=torch.bool)
    for i in range(b):
        table = CONTINUATIONS if clips.scenes.phase[i] > 0 else OPENINGS
        table = DETAIL if detail else table
        shares = torch.tensor([share for _, share in table])
        head, tail = table[int(torch.multinomial(shares, 1, generator=generator))][0]
        clean[i, : min(head, t - tail - 1)] = True
        clean[i, t - tail :] = True
    return clean


@dataclass(frozen=True, slots=True)
class Lesson:
    """The clips of one step, which of their frames are clean, and the noise of the others."""

    clips: Clips
    clean: Tensor  # [b, t]
    level: Tensor  # [b], sigma of the noisy frames


def draw_lesson(run: TransformerRun, pools: list[Pool], generator: torch.Generator) -> Lesson:
    """Draw one step's clips: stills, or as many of their first latent frames as `LENGTHS` says."""

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator)

    def choose(shares: list[float]) -> int:
        return int(torch.multinomial(torch.tensor(shares), 1, generator=generator))

    k = choose([bucket.share for bucket in BUCKETS])
    detail = BUCKETS[k].detail
    t = pools[k].latent_shape[1]
    if not detail:
        t = LENGTHS[choose([share for _, share in LENGTHS])][0]
    per_frame = BUCKETS[k].height * BUCKETS[k].width // 1024
    clips = pools[k].sample(
        max(1, min(96, run.tokens // (per_frame * t))), generator, opening=t == 1
    )
    clips = Clips(clips.latents[:, :, :t], clips.coverage[:, :t], clips.scenes)
    clean = torch.zeros(len(clips.scenes), 1, dtype=torch.bool)
    if t > 1:
        clean = draw_clean(clips, generator, detail=detail)
    b = len(clips.scenes)
    return Lesson(clips, clean, uniform(b) * DETAIL_NOISE if detail else draw_level(b, generator))


def draw_level(count: int, generator: torch.Generator) -> Tensor:
    """Noise levels sigma `[count]`: half of them high, half logit-normal.

    A flat background shows through noise that hides everything else: at sigma 0.95 it can be read
    off the input, and only above that does the prompt decide. So half of the levels are uniform
    ones bent towards 1 (Esser et al. 2024, arXiv:2403.03206, eq. 23), and some are 1 itself, where
    every sample begins.
    """
    uniform = torch.rand(count, generator=generator)
    high = HIGH_SHIFT * uniform / (1 + (HIGH_SHIFT - 1) * uniform)
    normal = (torch.randn(count, generator=generator) * 1.2 + 0.3).sigmoid()
    kind = torch.rand(count, generator=generator)
    return torch.where(kind < 0.05, 1.0, torch.where(kind < 0.55, high, normal))


def loss_of(
    learner: Learner,
    tokenizer: TextEncoder,
    lesson: Lesson,
    truth_weight: float,
    object_weight: float,
    generator: torch.Generator,
) -> dict[str, Tensor]:
    """The flow loss (object tokens weigh 1 + `object_weight` times coverage) and the head's."""
    dtype = learner.transformer.proj_out.weight.dtype
    device = learner.transformer.proj_out.weight.device
    clips, clean = lesson.clips, lesson.clean
    b, _, t, _, _ = clips.latents.shape
    x = clips.latents.float()
    # Given frames carry up to 5 % noise, as the frames of an earlier window do.
    trace = 0.05 * torch.rand(b, generator=generator) * (torch.rand(b, generator=generator) < 0.5)
    sigma = torch.where(clean, trace[:, None], lesson.level[:, None])  # b t
    noise = torch.randn(x.shape, generator=generator)
    mixed = torch.lerp(x, noise, sigma[:, None, :, None, None])

    texts = captions.describe(clips.scenes, generator)
    silent = torch.rand(b, generator=generator) < 0.1
    texts = ["" if s else c for s, c in zip(silent.tolist(), texts, strict=True)]
    text = tokenizer.encode(texts)

    middle: list[Tensor] = []
    block = learner.transformer.blocks[TINY.num_layers // 2 - 1]
    handle = block.register_forward_hook(lambda *args: middle.append(args[2]))
    velocity = learner.transformer(mixed.to(device, dtype), (sigma * 1000).to(device), text)
    handle.remove()
    error = (velocity.float() - (noise - x).to(device)) ** 2
    weight = 1 + object_weight * clips.coverage.repeat_interleave(2, 2).repeat_interleave(2, 3)
    weight = (weight * ~clean[:, :, None, None]).to(device)[:, None]
    flow = (error * weight).sum() / (weight.sum() * error.shape[1])
    head = learner.truth.loss(middle[0].flatten(1, -2), clips, ~clean)
    name = "still" if t == 1 else "video"
    return {"loss": flow + truth_weight * head, name: flow.detach(), "truth": head.detach()}


def train(run: TransformerRun) -> None:
    """Train until `run.minutes` are over; goes on from the last checkpoint in `run.folder`."""
    torch.manual_seed(run.seed)
    run.folder.mkdir(parents=True, exist_ok=True)
    language.build_tokenizer(run.folder)
    filler = latents.start_filling(run.folder / "pool", run.vae, clips=run.clips, seed=run.seed)
    learner = Learner()
    if run.start is not None:
        _take_weights(learner, run.start)
    learner.to(run.device)
    tokenizer = _text(learner, run.folder)
    weights = Weights(learner, lr=run.lr, ema=0.998, plain=PLAIN)
    if run.bf16:
        to_compute(learner, torch.bfloat16)
    spent = 0.0
    if (found := checkpoints.load(run.folder / "state")) is not None:
        weights.restore(found[0])
        spent = found[1]["minutes"]
    pools = _wait_for_pools(run, filler)
    log = Log(run.folder / "log.jsonl", f"transformer {run.minutes:.0f} min")
    start, saved = time.monotonic() - spent * 60, time.monotonic()
    while (minutes := (time.monotonic() - start) / 60) < run.minutes:
        done = minutes / run.minutes
        generator = torch.Generator().manual_seed(run.seed * 1_000_003 + weights.steps)
        lesson = draw_lesson(run, pools, generator)
        truth_weight = 0.5 if done < 0.75 else 0.1
        object_weight = 4.0 if done < 0.6 else 2.0
        terms = loss_of(learner, tokenizer, lesson, truth_weight, object_weight, generator)
        terms["loss"].backward()
        scale = min(1.0, (weights.steps + 1) / 100) * (0.02 + 0.98 * min(1.0, (1 - done) / 0.6))
        norm = weights.step(scale)
        values = {k: float(v.detach()) for k, v in terms.items() if k != "loss"}
        log.step(weights.steps, done, **values, norm=norm)
        if time.monotonic() - saved > 300:
            checkpoints.save(
                run.folder / "state", weights.state(), {"step": weights.steps, "minutes": minutes}
            )
            saved = time.monotonic()
    checkpoints.save(
        run.folder / "state", weights.state(), {"step": weights.steps, "minutes": run.minutes}
    )
    log.close()
    filler.terminate()


def _take_weights(learner: Learner, folder: Path) -> None:
    """Begin with the transformer and text encoder of a checkpoint of the same shape."""
    try:
        weights = load_file(folder / "transformer" / "diffusion_pytorch_model.safetensors")
        learner.transformer.load_state_dict(weights)
        text = load_file(folder / "text_encoder" / "model.safetensors")
        missing, extra = learner.text.load_state_dict(text, strict=False)
    except (OSError, RuntimeError) as error:
        raise ValueError(f"{folder}: cannot begin with these weights: {error}") from error
    if extra or set(missing) - TIED:
        raise ValueError(f"{folder}: its text_encoder lacks {missing} and has {extra} beyond")


def _text(learner: Learner, folder: Path) -> TextEncoder:
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer" / "tokenizer.json"))
    return TextEncoder(learner.text, tokenizer, language.MAX_LENGTH)


def _wait_for_pools(run: TransformerRun, filler: BaseProcess) -> list[Pool]:
    folder = run.folder / "pool"
    channels = json.loads((run.vae / "vae" / "config.json").read_text())["z_dim"]
    while True:
        paths = [count_path(folder, bucket) for bucket in BUCKETS]
        counts = [int(p.read_text()) if p.exists() else 0 for p in paths]
        if sum(counts) >= run.wait_for and min(counts) > 0:
            return [Pool(folder, bucket, channels, run.clips, "r") for bucket in BUCKETS]
        if not filler.is_alive():
            raise ValueError("the process that renders and encodes clips ended; its error is above")
        time.sleep(1)


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


def export(folder: Path, target: Path, kinora: dict[str, Any]) -> None:
    """Write transformer, text encoder, tokenizer and scheduler in diffusers' layout, in float16."""
    learner = averaged(folder)
    config = asdict(TINY) | {"_class_name": "WanTransformer3DModel", "_diffusers_version": "0.42.1"}
    _write(target / "transformer", learner.transformer, "diffusion_pytorch_model", config)
    learner.text.config.architectures = ["UMT5EncoderModel"]
    _write(target / "text_encoder", learner.text, "model", learner.text.config.to_dict())
    language.build_tokenizer(target)
    scheduler = {
        "_class_name": "UniPCMultistepScheduler",
        "_diffusers_version": "0.42.1",
        "num_train_timesteps": 1000,
        "prediction_type": "flow_prediction",
        "use_flow_sigmas": True,
        "flow_shift": kinora["default"]["flow_shift"],
        "solver_order": 2,
        "solver_type": "bh2",
        "predict_x0": True,
        "lower_order_final": True,
        "final_sigmas_type": "zero",
        "thresholding": False,
        "disable_corrector": [],
        "timestep_spacing": "linspace",
    }
    (target / "scheduler").mkdir(parents=True, exist_ok=True)
    written = json.dumps(scheduler, indent=2) + "\n"
    (target / "scheduler" / "scheduler_config.json").write_text(written)
    index = {
        "_class_name": "WanPipeline",
        "_diffusers_version": "0.42.1",
        "boundary_ratio": None,
        "expand_timesteps": True,
        "scheduler": ["diffusers", "UniPCMultistepScheduler"],
        "text_encoder": ["transformers", "UMT5EncoderModel"],
        "tokenizer": ["transformers", "PreTrainedTokenizerFast"],
        "transformer": ["diffusers", "WanTransformer3DModel"],
        "transformer_2": [None, None],
        "vae": ["diffusers", "AutoencoderKLWan"],
    }
    (target / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")
    (target / "kinora.json").write_text(json.dumps(kinora, indent=2) + "\n")


def _write(folder: Path, module: nn.Module, stem: str, config: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=2, default=str) + "\n")
    state = {k: v.half().contiguous() for k, v in module.state_dict().items() if k not in TIED}
    save_file(state, folder / f"{stem}.safetensors", metadata={"format": "pt"})
