"""What a checkpoint folder in the diffusers layout is, read from its JSON files.

Sizes of modules come from their `config.json`; what the model can do and how it is best used
follows from its structure. `kinora.json`, which our own checkpoints carry, may say it instead.
"""

import types
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from model.lora import Lora
from model.schedule import ScheduleConfig
from model.shapes import latent_frames
from model.shards import CheckpointError, open_shards, read_json, refuse_unknown
from model.transformer import TransformerConfig
from model.upsampler import UpsamplerConfig
from model.vae import VAEConfig

__all__ = ["CheckpointConfig", "Defaults", "Family", "Mode", "read_config", "read_transformer"]

#: What a clip may be conditioned on: text alone; a first frame; first and last frame; any clean
#: latent frames (extending, blending).
Mode = Literal["text", "image", "first_last", "frames"]
Family = Literal[
    "wan2.1-t2v", "wan2.1-i2v", "wan2.1-flf2v", "wan2.2-t2v", "wan2.2-i2v", "wan2.2-ti2v"
]

PIPELINES = ("WanPipeline", "WanImageToVideoPipeline")
#: The longest clip of a checkpoint that can go on from its own frames, in seconds.
LONGEST_S = 60
#: Latent frames shared by two windows: 17 frames, as SkyReels-V2 (arXiv:2504.13074) shares.
OVERLAP = 5
#: Tokens of a prompt in every released Wan checkpoint.
TEXT_LENGTH = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """How a checkpoint is used when a request does not say; sizes in pixels, fps in 1/s.

    `guidance_2` is the guidance of the second expert, where None means the first one's; `strength`
    is how far an edit goes, as in diffusers' WanVideoToVideoPipeline.
    """

    width: int
    height: int
    frames: int
    fps: int
    steps: int
    guidance: float
    guidance_2: float | None = None
    strength: float = 0.8


# From the configurations in the official repositories, Wan-Video/Wan2.1 and Wan-Video/Wan2.2.
WAN21_T2V = Defaults(width=832, height=480, frames=81, fps=16, steps=50, guidance=5.0)
WAN22_T2V = replace(WAN21_T2V, steps=40, guidance=4.0, guidance_2=3.0)
PRESETS: Mapping[Family, Defaults] = {
    "wan2.1-t2v": WAN21_T2V,
    "wan2.1-i2v": replace(WAN21_T2V, steps=40),
    "wan2.1-flf2v": replace(WAN21_T2V, width=1280, height=720),
    "wan2.2-t2v": WAN22_T2V,
    "wan2.2-i2v": replace(WAN22_T2V, guidance=3.5, guidance_2=3.5),
    "wan2.2-ti2v": replace(WAN21_T2V, width=1280, height=704, frames=121, fps=24),
}
MODES: Mapping[Family, tuple[Mode, ...]] = {
    "wan2.1-t2v": ("text",),
    "wan2.1-i2v": ("image",),
    "wan2.1-flf2v": ("first_last",),
    "wan2.2-t2v": ("text",),
    "wan2.2-i2v": ("image", "first_last"),
    "wan2.2-ti2v": ("text", "image", "first_last", "frames"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointConfig:
    """One checkpoint folder."""

    folder: Path
    model_id: str
    family: Family
    modes: tuple[Mode, ...]
    transformer: TransformerConfig
    #: The low-noise expert, which takes over below `boundary_ratio` (a share of the timesteps).
    transformer_2: TransformerConfig | None
    boundary_ratio: float | None
    #: Each latent frame has its own timestep.
    expand_timesteps: bool
    vae: VAEConfig
    schedule: ScheduleConfig
    text_length: int
    max_frames: int
    defaults: Defaults
    #: Longest clip denoised at once, in frames; longer ones are made window after window, each
    #: given the last `window_overlap` latent frames (or more) of the one before.
    window_frames: int
    window_overlap: int = OVERLAP
    #: Tokens (h, w) of the largest grid trained on; larger ones scale their positions down to it.
    train_grid: tuple[int, int] | None = None
    #: How large sizes are refined, as `kinora.json` says it.
    refine: Mapping[str, Any] = field(default_factory=dict)
    #: Merged into the transformers as they are loaded; files are paths that can be opened.
    loras: tuple[Lora, ...] = ()
    #: What enlarges clips that are made small (`refine` says which), if the folder brings it.
    upsampler: UpsamplerConfig | None = None

    @property
    def grid(self) -> tuple[int, int]:
        """Pixels (h, w) of one token: the multiples that sizes are padded to."""
        _, height, width = self.transformer.patch_size
        return height * self.vae.scale_factor_spatial, width * self.vae.scale_factor_spatial

    @property
    def window_latents(self) -> int:
        """Latent frames of the longest window."""
        return latent_frames(self.window_frames, self.vae.scale_factor_temporal)

    @property
    def conditioned_by_channels(self) -> bool:
        """Whether given frames enter as extra input channels (mask and latents)."""
        return self.transformer.in_channels != self.transformer.out_channels


def read_config(folder: str | Path) -> CheckpointConfig:
    """Read a checkpoint folder's configuration; raise CheckpointError for what cannot be run."""
    folder = Path(folder)
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: no such folder")
    index_path = folder / "model_index.json"
    index = read_json(index_path)
    _require_class(index_path, index, PIPELINES)
    boundary = index.get("boundary_ratio")
    if boundary is not None and not _has(index, "transformer_2"):
        raise CheckpointError(f"{index_path}: boundary_ratio needs a transformer_2, which is null")
    vae_path = folder / "vae" / "config.json"
    vae_json = read_json(vae_path)
    _require_class(vae_path, vae_json, ("AutoencoderKLWan",))
    vae = _build(VAEConfig, vae_json, vae_path)
    expand = bool(index.get("expand_timesteps", False))
    names = ("transformer",) if boundary is None else ("transformer", "transformer_2")
    transformer, *experts = (_read_matching(folder / name, vae, expand=expand) for name in names)
    family = _family(transformer, two_experts=bool(experts), expand=expand)
    schedule_path = folder / "scheduler" / "scheduler_config.json"
    try:
        schedule = ScheduleConfig.from_json(read_json(schedule_path))
    except ValueError as error:
        raise CheckpointError(f"{schedule_path}: {error}") from error
    config = CheckpointConfig(
        folder=folder,
        model_id=folder.resolve().name,
        family=family,
        modes=MODES[family],
        transformer=transformer,
        transformer_2=experts[0] if experts else None,
        boundary_ratio=boundary,
        expand_timesteps=expand,
        vae=vae,
        schedule=schedule,
        text_length=TEXT_LENGTH,
        max_frames=_max_frames(family),
        defaults=PRESETS[family],
        window_frames=PRESETS[family].frames,
        upsampler=_read_upsampler(folder / "upsampler"),
    )
    own = folder / "kinora.json"
    return _with_own_words(config, own) if own.exists() else config


@dataclass(frozen=True, slots=True, kw_only=True)
class _OwnWords:
    """The keys of `kinora.json`; what it leaves out stays as it follows from the other files."""

    model_id: str | None = None
    modes: tuple[Mode, ...] | None = None
    max_sequence_length: int | None = None
    max_frames: int | None = None
    #: Keys of Defaults, and `flow_shift`.
    default: dict[str, Any] | None = None
    window_frames: int | None = None
    window_overlap: int = OVERLAP
    train_grid: tuple[int, int] | None = None
    refine: dict[str, Any] | None = None
    #: Keys of Lora, each.
    loras: tuple[dict[str, Any], ...] = ()


def _with_own_words(config: CheckpointConfig, path: Path) -> CheckpointConfig:
    said = read_json(path)
    refuse_unknown(path, said, _names(_OwnWords))
    own = _build(_OwnWords, said, path)
    default = own.default or {}
    refuse_unknown(f"{path}: default", default, [*_names(Defaults), "flow_shift"])
    shift = _build(
        ScheduleConfig, {"shift": default.get("flow_shift", config.schedule.shift)}, path
    )
    defaults = _build(Defaults, _as_dict(config.defaults) | default, path)
    return replace(
        config,
        model_id=own.model_id or config.model_id,
        modes=own.modes or config.modes,
        schedule=replace(config.schedule, shift=shift.shift),
        text_length=own.max_sequence_length or config.text_length,
        max_frames=own.max_frames or max(config.max_frames, defaults.frames),
        defaults=defaults,
        window_frames=own.window_frames or config.window_frames,
        window_overlap=own.window_overlap,
        train_grid=own.train_grid,
        refine=own.refine or {},
        loras=tuple(_lora(config, f"{path}: loras", entry) for entry in own.loras),
    )


def _lora(config: CheckpointConfig, where: str, entry: Mapping[str, Any]) -> Lora:
    refuse_unknown(where, entry, _names(Lora))
    if "file" not in entry:
        raise CheckpointError(f"{where}: an entry needs 'file', unlike {dict(entry)}")
    lora = _build(Lora, entry, where)
    if lora.into == "transformer_2" and config.transformer_2 is None:
        raise CheckpointError(
            f"{where}: {lora.file} goes into transformer_2, which this checkpoint does not use; "
            "into must be 'transformer'"
        )
    return replace(lora, file=str(config.folder / lora.file))


def read_transformer(folder: Path) -> TransformerConfig:
    """The config of one component folder, without what its weights do not have."""
    path = folder / "config.json"
    described = read_json(path)
    _require_class(path, described, ("WanTransformer3DModel",))
    # At least one public copy of Wan 2.2 TI2V-5B describes an image branch that its weights lack.
    if not any("image_embedder" in key.split(".") for key in open_shards(folder)):
        described |= {"image_dim": None, "added_kv_proj_dim": None, "pos_embed_seq_len": None}
    if described.get("out_channels", 0) is None:  # diffusers: as many as go in
        described["out_channels"] = described.get("in_channels", TransformerConfig.in_channels)
    return _build(TransformerConfig, described, path)


def _read_upsampler(folder: Path) -> UpsamplerConfig | None:
    """The network that a checkpoint enlarges clips with; only our own bring one."""
    path = folder / "config.json"
    if not folder.is_dir():
        return None
    described = read_json(path)
    _require_class(path, described, ("Upsampler",))
    return _build(UpsamplerConfig, described, path)


def _read_matching(folder: Path, vae: VAEConfig, *, expand: bool) -> TransformerConfig:
    """A transformer's config, after a check that its channels and the VAE's agree."""
    config, path, z = read_transformer(folder), folder / "config.json", vae.z_dim
    if config.out_channels != z:
        raise CheckpointError(
            f"{path}: out_channels is {config.out_channels}; the VAE's latents have {z}"
        )
    # Noise, a mask with a channel for each frame of a latent frame, and the given frames' latents.
    with_mask = 2 * z + vae.scale_factor_temporal
    allowed = (z,) if expand else (z, with_mask)
    if config.in_channels not in allowed:
        raise CheckpointError(
            f"{path}: in_channels is {config.in_channels}; with {z} latent channels it must "
            f"be {' or '.join(map(str, allowed))}"
        )
    if config.image_dim is not None and config.in_channels != with_mask:
        raise CheckpointError(f"{path}: an image branch needs in_channels {with_mask}")
    return config


def _family(transformer: TransformerConfig, *, two_experts: bool, expand: bool) -> Family:
    if expand:
        return "wan2.2-ti2v"
    if transformer.in_channels == transformer.out_channels:
        return "wan2.2-t2v" if two_experts else "wan2.1-t2v"
    if transformer.pos_embed_seq_len is not None:
        return "wan2.1-flf2v"
    return "wan2.1-i2v" if transformer.image_dim is not None else "wan2.2-i2v"


def _max_frames(family: Family) -> int:
    """One that is made from text alone, or to a last frame, ends where its training did."""
    preset = PRESETS[family]
    if not {"frames", "image"} & set(MODES[family]):
        return preset.frames
    return LONGEST_S * preset.fps + 1


def _has(index: Mapping[str, Any], component: str) -> bool:
    return bool((index.get(component) or [None])[0])


def _require_class(path: Path, described: Mapping[str, Any], known: tuple[str, ...]) -> None:
    name = described.get("_class_name")
    if name not in known:
        raise CheckpointError(f"{path}: _class_name is {name!r}; it must be {' or '.join(known)}")


def _as_dict(record: Any) -> dict[str, Any]:
    return {name: getattr(record, name) for name in _names(record)}


def _names(record: Any) -> list[str]:
    return [f.name for f in fields(record)]


Record = TypeVar("Record")


def _build(record: type[Record], described: Mapping[str, Any], path: Path | str) -> Record:
    """A config dataclass from those keys of a JSON object that it knows."""
    hints = get_type_hints(record)
    known = {}
    for key, value in described.items():
        if key not in hints:
            continue
        known[key] = tuple(value) if isinstance(value, list) else value
        if not _fits(known[key], hints[key]):
            raise CheckpointError(f"{path}: {key} is {value!r}; it must be {_spell(hints[key])}")
    try:
        return record(**known)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: {error}") from error


def _fits(value: Any, hint: Any) -> bool:
    options = get_args(hint)
    if get_origin(hint) is dict:
        return isinstance(value, dict)
    if isinstance(hint, types.UnionType):
        return any(_fits(value, option) for option in options)
    if get_origin(hint) is Literal:
        return value in options
    if get_origin(hint) is tuple:
        any_length = options[-1] is Ellipsis
        return (
            isinstance(value, tuple)
            and (any_length or len(value) == len(options))
            and all(_fits(element, options[0]) for element in value)
        )
    if hint in (int, float) and isinstance(value, bool):
        return False
    return isinstance(value, (int, float) if hint is float else hint)


def _spell(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) else str(hint)
