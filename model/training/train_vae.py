"""Stage one: the video autoencoder, trained on crops of scenes at many picture heights."""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from model.memory import compute_dtype
from model.training import checkpoints, rendering, scenes, trajectories
from model.training.course import Course, rate
from model.training.optim import Weights
from model.training.principal import basis, turned
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
# A decoder that is polished sees up to so much noise in its latents, in their deviations, as what a
# transformer makes is never quite what an encoder makes.
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
    polish: Path | None = None  # train on the decoder in this folder's `vae`, the encoder as it is


def crops(generator: torch.Generator) -> Tensor:
    """Frames `[b, 3, f, h, w]` of scenes at one random virtual height, mostly near an edge."""

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator)

    kinds = torch.tensor([share for *_, share in CROPS])
    clips, frames, crop, _ = CROPS[int(torch.multinomial(kinds, 1, generator=generator))]
    aspect = (1.0, 5 / 3, 0.6)[int(torch.randint(3, (), generator=generator))]
    low, high = math.log(max(HEIGHTS[0], 1.5 * crop)), math.log(HEIGHTS[1])
    height = round(math.exp(low + (high - low) * float(uniform())))
    width = max(crop, round(height * aspect))
    batch = scenes.sample(clips, generator, aspect=width / height, later=0.2)
    length = (frames - 1) / 16
    moment = length * float(uniform())
    x, y, r = (
        v[:, 0] for v in trajectories.track(batch, torch.tensor([moment]), length, width / height)
    )
    near = (uniform(clips) < 0.8).float()
    angle = uniform(clips) * 2 * math.pi
    centre_x = near * (x + r * angle.cos()) + (1 - near) * (uniform(clips) * 2 - 1) * width / height
    centre_y = near * (y + r * angle.sin()) + (1 - near) * (uniform(clips) * 2 - 1)
    top = ((centre_y + 1) * height / 2 - crop / 2).round().clamp(0, height - crop)
    left = ((centre_x + width / height) * height / 2 - crop / 2).round().clamp(0, width - crop)
    return rendering.render(batch, frames, height, width, window=(top, left, crop, crop))[0]


def loss_of(vae: VAE, frames: Tensor, run: VaeRun, generator: torch.Generator) -> dict[str, Tensor]:
    """Reconstruction (L1, L2 and L1 of the differences in space and time) and KL divergence."""
    dtype = next(vae.parameters()).dtype
    with torch.set_grad_enabled(run.polish is None):
        mean, logvar = vae.encode_distribution(frames.to(dtype))
        logvar = logvar.float().clamp(-20, 10)
        noise = torch.randn(mean.shape, generator=generator).to(mean.device)
        latents = mean.float() + noise * torch.exp(0.5 * logvar)
    if run.polish is not None:
        std = latents.new_tensor(vae.config.latents_std).view(-1, 1, 1, 1)
        trace = TRACE * torch.rand(len(latents), 1, 1, 1, 1, generator=generator)
        noise = torch.randn(latents.shape, generator=generator) * trace
        latents = latents + noise.to(latents.device) * std
    decoded = vae.decode(latents.to(dtype)).float()
    error = decoded - frames
    slopes = [(error.diff(dim=d)).abs().mean() for d in (2, 3, 4)]
    kl = 0.5 * (mean.float() ** 2 + logvar.exp() - 1 - logvar).mean()
    reconstruction = error.abs().mean() + 2 * (error**2).mean() + 0.5 * sum(slopes)
    psnr = -10 * torch.log10((error.clamp(-2, 2) ** 2).mean() / 4)
    return {"loss": reconstruction + run.kl * kl, "kl": kl.detach(), "psnr": psnr.detach()}


def initialise(vae: VAE) -> None:
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
    z = vae.config.z_dim
    with torch.no_grad():
        vae.quant_conv.weight[z:] *= 0.1
        assert vae.quant_conv.bias is not None
        vae.quant_conv.bias[z:] = -4.0


def evaluate(vae: VAE, height: int, width: int, *, clips: int = 8, frames: int = 9) -> float:
    """Mean PSNR in dB of reconstructions of unseen scenes."""
    generator = torch.Generator().manual_seed(10_000_019)
    batch = scenes.sample(clips, generator, aspect=width / height)
    total = 0.0
    dtype = next(vae.parameters()).dtype
    for i in range(clips):
        truth, _ = rendering.render(batch.take(slice(i, i + 1)), frames, height, width)
        with torch.no_grad():
            decoded = vae.decode(vae.encode(truth.to(dtype))).float().clamp(-1, 1)
        total += float(-10 * torch.log10(((decoded - truth) ** 2).mean() / 4))
    return total / clips


def train(run: VaeRun) -> None:
    """Train until `run.minutes` are over; goes on from the last checkpoint in `run.folder`."""
    torch.manual_seed(run.seed)
    vae = VAE(TINY_VAE) if run.polish is None else load_vae(run.polish).train()
    vae.to(run.device)
    if run.polish is None:
        initialise(vae)
    else:
        for name, parameter in vae.named_parameters():
            decodes = name.startswith("decoder.") and ".attentions." not in name
            parameter.requires_grad_(decodes)
    weights = Weights(vae, lr=run.lr)
    vae.to(compute_dtype(run.device))
    course = Course(run.folder, "vae", run.minutes)
    if course.found is not None:
        frozen = {k[7:]: v for k, v in course.found.items() if k.startswith("frozen/")}
        vae.load_state_dict(frozen, strict=False)
        weights.restore(course.found)
    for done, log in course.steps(lambda: _state(vae, weights)):
        generator = torch.Generator().manual_seed(run.seed * 1_000_003 + weights.steps)
        frames = crops(generator).to(run.device)
        terms = loss_of(vae, frames, run, generator)
        terms["loss"].backward()
        norm = float(weights.step(rate(weights.steps, done)))
        values = {k: float(v.detach()) for k, v in terms.items()}
        log.step(weights.steps, done, **values, norm=norm)


def _state(vae: VAE, weights: Weights) -> dict[str, Tensor]:
    trained = {name for name, _ in weights.named}
    frozen = {f"frozen/{k}": v for k, v in vae.state_dict().items() if k not in trained}
    return weights.state() | frozen


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
            elif parameter.requires_grad:
                raise ValueError(f"{folder}: no weights for {name}")
    return vae.eval()


def export(folder: Path, target: Path, *, clips: int = 96) -> None:
    """Write `target`/vae in diffusers' layout, with its latents along principal components."""
    vae = VAE(TINY_VAE)
    initialise(vae)
    vae = averaged(folder, vae)
    generator = torch.Generator().manual_seed(77)
    means: list[Tensor] = []
    for height, width in ((160, 256), (192, 192), (256, 160)):
        batch = scenes.sample(clips // 3, generator, aspect=width / height)
        for i in range(len(batch)):
            frames, _ = rendering.render(batch.take(slice(i, i + 1)), 25, height, width)
            with torch.no_grad():
                means.append(vae.encode(frames).flatten(2)[0])
    onto = basis(vae, torch.cat(means, 1), COMPONENTS)
    write(turned(vae, onto, evenness=EVENNESS), target)


def write(vae: VAE, target: Path) -> None:
    """Write `target`/vae in diffusers' layout, in float32."""
    config = asdict(vae.config) | {
        "_class_name": "AutoencoderKLWan",
        "_diffusers_version": "0.42.1",
    }
    (target / "vae").mkdir(parents=True, exist_ok=True)
    (target / "vae" / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    save_file(vae.state_dict(), target / "vae" / "diffusion_pytorch_model.safetensors")


def polish(run: VaeRun, target: Path) -> None:
    """Train the decoder of `target`/vae further and write it there."""
    train(run)
    vae = load_vae(target).requires_grad_(requires_grad=False)
    write(averaged(run.folder, vae), target)


def export_half(exported: Path, target: Path) -> None:
    """Copy the exported autoencoder into a checkpoint folder, in float16."""
    (target / "vae").mkdir(parents=True, exist_ok=True)
    config = (exported / "vae" / "config.json").read_text()
    (target / "vae" / "config.json").write_text(config)
    name = "diffusion_pytorch_model.safetensors"
    state = {k: v.half() for k, v in load_file(exported / "vae" / name).items()}
    save_file(state, target / "vae" / name, metadata={"format": "pt"})
