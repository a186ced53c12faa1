"""Stage one: the video autoencoder, trained on crops of scenes at many picture heights."""

import json
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from model.training import checkpoints, scenes
from model.training.log import Log
from model.training.optim import Weights
from model.training.principal import basis, turned
from model.training.rendering import render
from model.training.tracks import track
from model.training.weights import load_vae
from model.vae import VAE, Attention, VAEConfig

TINY_VAE = VAEConfig(
    base_dim=24,
    decoder_base_dim=32,
    z_dim=32,
    dim_mult=(1, 2, 2),
    num_res_blocks=1,
    attn_scales=(),
    temperal_downsample=(True, True),
    is_residual=True,
    in_channels=48,
    out_channels=48,
    patch_size=4,
    scale_factor_temporal=4,
    scale_factor_spatial=16,
    latents_mean=(0.0,) * 32,
    latents_std=(1.0,) * 32,
)


# Latents are turned onto this many principal components, scaled this far towards equal variance.
COMPONENTS = 16
EVENNESS = 0.7

# Kinds of crops (clips, frames, pixels a side, share), all of about the same cost. A decoder that
# saw only short clips drifts in longer ones: its causal history reaches back some ten latents. What
# is fast in a large picture is out of a small crop in three frames.
CROPS = (
    (8, 9, 96, 0.15),
    (6, 25, 64, 0.20),
    (5, 57, 48, 0.15),
    (3, 9, 160, 0.25),
    (2, 25, 112, 0.25),
)
# The height of the pictures that crops are of, at least and at most; of large crops at least half
# as much again as the crop.
HEIGHTS = (144, 1088)
# An autoencoder that goes on from another decodes latents under up to so much noise, in their
# deviations, as what a transformer makes is never quite what an encoder makes.
TRACE = 0.06


@dataclass(frozen=True, slots=True)
class VaeRun:
    """What one run of the stage does; `minutes` bounds it, `steps` shapes its learning rate."""

    folder: Path
    minutes: float = 30.0
    lr: float = 4e-3
    kl: float = 5e-5
    seed: int = 0
    device: str = "cpu"
    bf16: bool = True
    start: Path | None = None  # go on from the autoencoder in this folder's `vae`
    times: int = 1  # as many crops a step as `CROPS` says: a GPU takes more


def crops(generator: torch.Generator, times: int, device: str) -> Tensor:
    """Windows `[b, 3, f, crop, crop]`, most of them on an object's outline, of scenes as pictures
    of some height; `times` as many as `CROPS` says.
    """

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator)

    kinds = torch.tensor([share for *_, share in CROPS])
    clips, frames, crop, _ = CROPS[int(torch.multinomial(kinds, 1, generator=generator))]
    clips *= times
    aspect = (1.0, 5 / 3, 0.6)[int(torch.randint(3, (), generator=generator))]
    low, high = math.log(max(HEIGHTS[0], 1.5 * crop)), math.log(HEIGHTS[1])
    height = round(math.exp(low + (high - low) * float(uniform())))
    width = max(crop, round(height * aspect))
    aspect = width / height
    batch = scenes.sample(clips, generator, aspect=aspect, later=0.2)
    length = (frames - 1) / 16
    moment = torch.tensor([length * float(uniform())])
    # About one of the objects, or anywhere.
    every, which = torch.arange(clips), (uniform(clips) * batch.count).long()
    x, y, r = (v[every, which, 0] for v in track(batch, moment, length, aspect)[:3])
    near = (uniform(clips) < 0.8).float()
    angle, far = uniform(clips) * 2 * math.pi, uniform(clips) * 1.1
    centre_x = near * (x + far * r * angle.cos()) + (1 - near) * (uniform(clips) * 2 - 1) * aspect
    centre_y = near * (y + far * r * angle.sin()) + (1 - near) * (uniform(clips) * 2 - 1)
    top = ((centre_y + 1) * height / 2 - crop / 2).round().clamp(0, height - crop)
    left = ((centre_x + aspect) * height / 2 - crop / 2).round().clamp(0, width - crop)
    window = (top, left, crop, crop)
    return render(batch, frames, height, width, window=window, device=device)[0]


def loss_of(vae: VAE, frames: Tensor, run: VaeRun, generator: torch.Generator) -> dict[str, Tensor]:
    """Reconstruction (L1, L2 and L1 of the differences in space and time) and KL divergence; for
    an autoencoder that goes on from another, whose latents are to keep their scale, without it.
    """
    dtype = next(vae.parameters()).dtype
    mean, logvar = vae.encode_distribution(frames.to(dtype))
    noise = torch.randn(mean.shape, generator=generator, device=mean.device)
    kl = mean.new_zeros((), dtype=torch.float32)
    if run.start is None:
        logvar = logvar.float().clamp(-20, 10)
        latents = mean.float() + noise * torch.exp(0.5 * logvar)
        kl = 0.5 * (mean.float() ** 2 + logvar.exp() - 1 - logvar).mean()
    else:
        # In parts of the latents' own deviation: of a fixed one, they would outgrow the noise.
        latents = mean.float()
        std = latents.detach().std((0, 2, 3, 4), keepdim=True)
        trace = TRACE * torch.rand(len(mean), 1, 1, 1, 1, generator=generator, device=mean.device)
        latents = latents + noise * trace * std
    decoded = vae.decode(latents.to(dtype)).float()
    error = decoded - frames
    slopes = [(error.diff(dim=d)).abs().mean() for d in (2, 3, 4)]
    reconstruction = error.abs().mean() + 2 * (error**2).mean() + 0.5 * sum(slopes)
    psnr = -10 * torch.log10((error.clamp(-2, 2) ** 2).mean() / 4)
    return {"loss": reconstruction + run.kl * kl, "kl": kl.detach(), "psnr": psnr.detach()}


def initialise(vae: VAE, *, afresh: bool = True) -> None:
    """Start with a narrow posterior: unit variance would drown the latents in noise at first.

    The attention between all pixels of a frame is switched off for good (its last layer is zero and
    not trained): it would see 36 cells in a training crop and 8,160 in a 1080p picture. Without it
    the autoencoder is a convolution, and does the same at every size.
    """
    for name, module in vae.named_modules():
        if name.endswith("attentions.0"):
            assert isinstance(module, Attention)
            module.requires_grad_(False)
            for parameter in module.proj.parameters():
                nn.init.zeros_(parameter)
    if not afresh:
        return
    z = vae.config.z_dim
    with torch.no_grad():
        vae.quant_conv.weight[z:] *= 0.1
        assert vae.quant_conv.bias is not None
        vae.quant_conv.bias[z:] = -4.0


def evaluate(
    vae: VAE, height: int, width: int, *, clips: int = 8, frames: int = 9, device: str = "cpu"
) -> float:
    """Mean PSNR in dB of reconstructions of unseen scenes."""
    generator = torch.Generator().manual_seed(10_000_019)
    batch = scenes.sample(clips, generator, aspect=width / height)
    total = 0.0
    dtype = next(vae.parameters()).dtype
    for i in range(clips):
        one = batch.take(slice(i, i + 1))
        truth, _ = render(one, frames, height, width, device=device)
        with torch.no_grad():
            decoded = vae.decode(vae.encode(truth.to(dtype))).float().clamp(-1, 1)
        total += float(-10 * torch.log10(((decoded - truth) ** 2).mean() / 4))
    return total / clips


def train(run: VaeRun) -> None:
    """Train until `run.minutes` are over; goes on from the last checkpoint in `run.folder`."""
    torch.manual_seed(run.seed)
    vae = VAE(TINY_VAE) if run.start is None else load_vae(run.start).train().requires_grad_()
    vae.to(run.device)
    initialise(vae, afresh=run.start is None)
    weights = Weights(vae, lr=run.lr)
    if run.bf16:
        vae.to(torch.bfloat16)
    spent = 0.0
    if (found := checkpoints.load(run.folder / "state")) is not None:
        tensors, meta = found
        weights.restore(tensors)
        spent = meta["minutes"]
    log = Log(run.folder / "log.jsonl", f"vae {run.minutes:.1f} min")
    draws = torch.Generator(run.device).manual_seed(run.seed * 7919 + weights.steps)
    start, saved = time.monotonic() - spent * 60, time.monotonic()
    told: list[dict[str, Tensor]] = []
    while (minutes := (time.monotonic() - start) / 60) < run.minutes:
        generator = torch.Generator().manual_seed(run.seed * 1_000_003 + weights.steps)
        terms = loss_of(vae, crops(generator, run.times, run.device), run, draws)
        terms["loss"].backward()
        done = minutes / run.minutes
        scale = min(1.0, (weights.steps + 1) / 50) * (0.02 + 0.98 * min(1.0, (1 - done) / 0.6))
        terms["norm"] = weights.step(scale)
        told.append(terms)
        if len(told) == 10:
            for number, each in enumerate(told, weights.steps - 9):
                log.step(number, done, **{k: float(v.detach()) for k, v in each.items()})
            told = []
        if time.monotonic() - saved > 180:
            _save(run, weights, minutes)
            saved = time.monotonic()
    _save(run, weights, run.minutes)
    log.close()


def _save(run: VaeRun, weights: Weights, minutes: float) -> None:
    meta = {"step": weights.steps, "minutes": minutes}
    checkpoints.save(run.folder / "state", weights.state(), meta)


def averaged(folder: Path, vae: VAE) -> VAE:
    """`vae` in fp32 with the moving average of the weights in a stage's folder."""
    found = checkpoints.load(folder / "state")
    if found is None:
        raise ValueError(f"{folder}: no VAE checkpoint; run the vae stage first")
    tensors, _ = found
    with torch.no_grad():
        for name, parameter in vae.named_parameters():
            kept = tensors.get(f"average/{name}")
            if kept is not None:
                parameter.copy_(kept.reshape(parameter.shape))
            elif "attentions" not in name:
                raise ValueError(f"{folder}: no weights for {name}")
    return vae.eval()


def export(folder: Path, target: Path, *, clips: int = 96) -> None:
    """Write `target`/vae in diffusers' layout, with its latents along principal components."""
    vae = VAE(TINY_VAE)
    initialise(vae)
    vae = averaged(folder, vae)
    write(along_components(vae, clips=clips), target)


@torch.no_grad()
def along_components(vae: VAE, *, clips: int = 96, device: str = "cpu") -> VAE:
    """`vae` with latents along their principal components, and their mean and deviation."""
    generator = torch.Generator().manual_seed(77)
    vae = vae.to(device)
    means: list[Tensor] = []
    for height, width in ((160, 256), (192, 192), (256, 160)):
        batch = scenes.sample(clips // 3, generator, aspect=width / height)
        for i in range(len(batch)):
            one = batch.take(slice(i, i + 1))
            frames, _ = render(one, 25, height, width, device=device)
            means.append(vae.encode(frames).flatten(2)[0].cpu())
    vae = vae.cpu()
    return turned(vae, basis(vae, torch.cat(means, 1), COMPONENTS), evenness=EVENNESS)


def write(vae: VAE, target: Path) -> None:
    """Write `target`/vae in diffusers' layout, in float32."""
    config = asdict(vae.config) | {
        "_class_name": "AutoencoderKLWan",
        "_diffusers_version": "0.42.1",
    }
    (target / "vae").mkdir(parents=True, exist_ok=True)
    save_file(vae.state_dict(), target / "vae" / "diffusion_pytorch_model.safetensors")
    # Last: a stage that waits for the autoencoder takes it from here on.
    (target / "vae" / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def polish(run: VaeRun, target: Path) -> None:
    """Train the autoencoder of `run.start` further and write it to `target`."""
    train(run)
    assert run.start is not None
    vae = averaged(run.folder, load_vae(run.start))
    write(along_components(vae, device=run.device), target)


def export_half(exported: Path, target: Path) -> None:
    """Copy the exported autoencoder into a checkpoint folder, in float16."""
    (target / "vae").mkdir(parents=True, exist_ok=True)
    config = (exported / "vae" / "config.json").read_text()
    (target / "vae" / "config.json").write_text(config)
    name = "diffusion_pytorch_model.safetensors"
    state = {k: v.half() for k, v in load_file(exported / "vae" / name).items()}
    save_file(state, target / "vae" / name, metadata={"format": "pt"})
