"""A clip made window after window: denoised, enlarged and refined where it is large, decoded.

The frames of a window are given out before the next one is begun, and nothing is kept of it but the
latents that later windows and the VAE look back on: memory does not grow with the clip.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import islice

import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from model import given
from model.canvas import Canvas, from_uint8, to_uint8
from model.conditioning import Conditioning, clean_frames, encode
from model.denoise import DenoiseState, denoise
from model.drift import level_of, pulled
from model.outline import Sizes
from model.place import STAGES, Place, Tail
from model.progress import Counts
from model.replay import Decoding, Enlarging, decoder_history, encoder_history, latents_of
from model.sampling import Sampler, drawn, noised, planned, refine_plan
from model.seams import FADE, Seam
from model.vae import VAE
from model.windows import Window

__all__ = ["Rollout"]


class Rollout:
    """One clip, from `place` on; `noise`, if given, stands in for what the seed would draw."""

    def __init__(
        self,
        sampler: Sampler,
        sizes: Sizes,
        windows: list[Window],
        noise: Float[Tensor, "1 z t h w"] | None,
        counts: Counts,
        place: Place,
    ) -> None:
        self._sampler, self._sizes, self._windows = sampler, sizes, windows
        self._request, self._vae = sampler.request, sampler.vae
        self._noise, self._counts, self._place = noise, counts, place
        self._decoding: Decoding | None = None
        self._enlarging: Enlarging | None = None
        self._source: Iterator[Tensor] | None = None
        self._seams: dict[str, Seam] = {}
        self._remembered = 0  # decoded frames that those after them are enlarged with
        if sampler.upsampler is not None and sizes.decoded != sizes.full:
            self._remembered = sampler.upsampler.config.past_frames
        self._keep = sampler.config.window_latents + decoder_history(self._vae.config)
        self._keep += latents_of(self._remembered, self._vae.config)

    def frames(self) -> Iterator[UInt8[Tensor, "f h w 3"]]:
        """The frames that are still to come, in chunks, in order."""
        while self._place.window < len(self._windows):
            window = self._windows[self._place.window]
            match STAGES[self._place.stage]:
                case "denoise":
                    self._denoise(window)
                case "enlarge":
                    self._enlarge(window)
                case "refine":
                    self._refine(window)
                case _:
                    yield from self._decode(window)
                    self._to("denoise", window=self._place.window + 1)

    def _to(self, stage: str, **changes: object) -> None:
        self._place = replace(self._place, stage=STAGES.index(stage), **changes)  # pyright: ignore[reportArgumentType]  # names of fields

    def _denoise(self, window: Window) -> None:
        place, canvas, config = self._place, self._sizes.base, self._sampler.config
        if window.anew:  # which is decoded by itself
            self._decoding = None
        shape = _shape(place.base, window)
        known, seen = self._given(window, canvas, place.base)
        solving = place.solving or DenoiseState(0, self._beginning(window, shape))
        experts = self._sampler.experts(window, shape, seen)
        for state in denoise(planned(self._request, config), experts, known, solving):
            solving = state
            self._place = replace(place, solving=state)
            preview = partial(_picture, self._vae, canvas, _own(window, state.estimate))
            self._counts.denoise_piece(self._place, preview)
        keep = self._keep
        if self._sizes.refine is not None:
            keep += encoder_history(self._vae.config)
        level, own = self._levelled(window, _own(window, solving.latents))
        base = _follow(place.base, window, own, keep)
        after = "decode" if self._sizes.refine is None else "enlarge"
        self._to(after, base=base, level=level, solving=None, decoded=window.first)

    def _levelled(self, window: Window, own: Tensor) -> tuple[Tensor | None, Tensor]:
        """The level that a shot keeps to, and the window's own latents at that level.

        The first window of a shot sets it, though not with the clip's first latent frame, which
        stands for one picture and is unlike the others. Where a clip is edited, or leads to
        something given, that decides.
        """
        level, request = self._place.level, self._request
        if request.video is not None or self._sampler.config.conditioned_by_channels:
            return None, own
        index = self._place.window
        shots = [
            request.shots[w.prompt].prompt for w in self._windows[max(0, index - 1) : index + 1]
        ]
        if index == 0 or shots[0] != shots[1]:
            return level_of(own[:, :, 1:] if own.shape[2] > 1 and window.first == 0 else own), own
        led = index == len(self._windows) - 1 and request.last_image is not None
        if level is None or led or window.stop > window.end:
            return level, own
        return level, pulled(own, level)

    def _enlarge(self, window: Window) -> None:
        place, how = self._place, self._sizes.refine
        assert how is not None  # there is no such stage without
        if window.anew or self._enlarging is None:
            self._enlarging = Enlarging(
                self._vae,
                self._sizes.base,
                self._sizes.full,
                place.base,
                before=self._before(),
                known=self._windows[0].first,
                origin=self._origin(window),
                start=window.first,
                again=self._counts.again,
            )
        latents = place.full.latents.new_zeros(_shape(place.full, window))
        for i in range(window.first, window.end):
            enlarged = self._enlarging.next(place.base.between(i, i + 1))
            latents[:, :, i - window.start] = enlarged[:, :, 0]
            self._counts.denoise_piece(place)
        noise = drawn(self._request.seed, place.window, "refine", tuple(latents.shape)).to(latents)
        plan = refine_plan(self._request, self._sampler.config, how)
        self._to("refine", solving=DenoiseState(0, noised(latents, noise, plan)))

    def _refine(self, window: Window) -> None:
        place, how = self._place, self._sizes.refine
        assert how is not None  # there is no such stage without
        solving = place.solving
        assert solving is not None  # enlarging ends with it
        known, seen = self._given(window, self._sizes.full, place.full)
        plan = refine_plan(self._request, self._sampler.config, how)
        shape = _shape(place.full, window)

        def tick() -> None:
            self._counts.denoise_piece(self._place)

        experts = self._sampler.tiled(window, shape, seen, how, tick)
        for state in denoise(plan, experts, known, solving):
            solving = state
            self._place = replace(place, solving=state)
        full = _follow(place.full, window, _own(window, solving.latents), self._keep)
        self._to("decode", full=full, solving=None)

    def _decode(self, window: Window) -> Iterator[UInt8[Tensor, "f h w 3"]]:
        place = self._place
        tail = place.base if self._sizes.refine is None else place.full
        if self._decoding is None:
            self._decoding = Decoding(
                self._vae,
                self._sizes.decoded,
                tail,
                origin=self._origin(window),
                start=place.decoded,
                again=self._counts.again,
                remembered=self._remembered,
            )
        for i in range(place.decoded, window.end):
            before = self._decoding.past
            pixels = self._decoding.next(tail.between(i, i + 1))
            pixels = self._enlarged(pixels, before)
            if window.anew and i == window.start:  # the picture that it began with
                pixels = pixels[:, :, 1:]
            self._counts.decode_piece(self._place)
            frames = to_uint8(self._joined(pixels)).cpu()
            if len(frames):
                yield frames
            self._place = self._given_out(frames, i + 1)

    def _enlarged(
        self, pixels: Float[Tensor, "1 3 f h w"], before: Float[Tensor, "1 3 n h w"] | None = None
    ) -> Float[Tensor, "1 3 f H W"]:
        """Decoded frames, and those `before` them, as large as what was asked for."""
        if self._sizes.decoded == self._sizes.full:
            return pixels
        upsampler = self._sampler.upsampler
        assert upsampler is not None  # without one, latents are as large as they are to be
        return upsampler.enlarge(pixels, self._sizes.full, before)

    def _joined(self, pixels: Float[Tensor, "1 3 f h w"]) -> Float[Tensor, "1 3 f h w"]:
        """The next frames, without a step to those that are given before and after the clip.

        Nor, where they are enlarged, to pictures that are given as its first and last frame.
        """
        request, number = self._request, self._place.frames + torch.arange(pixels.shape[2])
        following = self._place.opening if request.loop else request.after
        joints: dict[str, tuple[Tensor | Image.Image | None, Tensor]] = {
            "before": (None if request.before is None else request.before[-1], number + 1),
            "after": (None if following is None else following[0], request.frames - number),
        }
        if self._sizes.decoded != self._sizes.full:
            joints["image"] = (request.image, number + 1)
            joints["last_image"] = (request.last_image, request.frames - number)
        for name, (frame, away) in joints.items():
            if frame is None or not (away <= FADE).any():
                continue
            if name not in self._seams:
                self._seams[name] = self._seam(frame, opens=name == "image")
            pixels = self._seams[name].joined(pixels, away)
        return pixels

    def _seam(self, frame: UInt8[Tensor, "h w 3"] | Image.Image, *, opens: bool) -> Seam:
        """What becomes of a given frame that is decoded, and enlarged, as the clip's own are."""
        full = self._sizes.full
        if isinstance(frame, Image.Image):
            frame = to_uint8(full.crop(full.picture(frame)))[0]
        seam = Seam.of(self._vae, self._sizes.decoded, frame, opens=opens)
        if self._sizes.decoded == full:
            return seam
        (picture,) = full.resize([from_uint8(frame[None])])
        return Seam(full.crop(picture).to(seam.picture), self._enlarged(seam.softened))

    def _given_out(self, frames: UInt8[Tensor, "f h w 3"], decoded: int) -> Place:
        place = self._place
        opening, picture = place.opening, place.picture
        if self._request.loop and (opening is None or len(opening) < given.AFTER):
            opening = frames if opening is None else torch.cat([opening, frames])
        if self._sampler.config.conditioned_by_channels and len(frames):
            picture = frames[-1:]
        return replace(
            place,
            frames=place.frames + len(frames),
            decoded=decoded,
            opening=opening,
            picture=picture,
        )

    def _given(
        self, window: Window, canvas: Canvas, tail: Tail
    ) -> tuple[Conditioning, Tensor | None]:
        """What a window is given at one size, and CLIP's view of it."""
        shape, request = _shape(tail, window), self._request
        if self._sampler.config.conditioned_by_channels:
            first = request.image
            if self._place.picture is not None:
                first = Image.fromarray(self._place.picture[0].cpu().numpy())
            assert first is not None  # resolve() refuses it
            last = request.last_image if window is self._windows[-1] else None
            return self._sampler.channels(canvas, shape, first, last)
        past = tail.between(window.start, window.fresh)
        if window.fresh == 0 and request.image is not None:
            past = encode(self._vae, [canvas.picture(request.image)])
        return clean_frames(shape, past, self._ending(window, canvas, past)), None

    def _ending(self, window: Window, canvas: Canvas, past: Tensor) -> Float[Tensor, "1 z n h w"]:
        """The latent frames that the last window ends with."""
        request = self._request
        if window is not self._windows[-1]:
            return past[:, :, :0]
        if request.last_image is not None:
            frames, count = to_uint8(canvas.crop(canvas.picture(request.last_image))), 1
        elif request.loop:
            frames, count = self._place.opening, window.stop - window.end
        else:
            frames, count = request.after, window.stop - window.end
        if frames is None:
            return past[:, :, :0]
        return given.following(self._vae, canvas, frames.to(past.device), count)

    def _beginning(self, window: Window, shape: tuple[int, ...]) -> Float[Tensor, "1 z t h w"]:
        """What a window is denoised from: noise, or the clip to edit under noise."""
        place, own = self._place, slice(window.first - window.start, window.end - window.start)
        if self._noise is None:
            noise = drawn(self._request.seed, place.window, "denoise", shape).to(place.base.latents)
        else:
            offset = self._windows[0].first
            noise = place.base.latents.new_zeros(shape)
            noise[:, :, own] = self._noise[:, :, window.first - offset : window.end - offset]
        if self._request.video is None:
            return noise
        if self._source is None:
            self._source = given.source(self._vae, self._sizes.base, self._request, window.first)
        latents = torch.zeros_like(noise)
        count = window.end - window.first
        latents[:, :, own] = torch.cat(list(islice(self._source, count)), 2)
        if window is self._windows[-1]:
            self._source = None
        return noised(latents, noise, planned(self._request, self._sampler.config))

    def _before(self) -> Iterator[Float[Tensor, "1 3 f h w"]]:
        """The frames that the clip goes on from, as large as it."""
        factor = self._vae.config.scale_factor_temporal
        frames = given.preceding_frames(self._request.before, factor)
        if frames is None or self._sampler.config.conditioned_by_channels:
            return iter(())
        frames = frames.to(self._place.base.latents.device)
        return self._sizes.full.resize(map(from_uint8, given.in_chunks(frames)))

    def _origin(self, window: Window) -> int:
        """Where the clip begins of which a window's latent frames are a part."""
        return window.start if window.anew else 0


def _shape(tail: Tail, window: Window) -> tuple[int, ...]:
    """Of a window's latents, as large as those of `tail`."""
    return (*tail.latents.shape[:2], window.stop - window.start, *tail.latents.shape[3:])


def _own(window: Window, latents: Tensor | None) -> Tensor:
    """What a window made, of its latents."""
    assert latents is not None
    return latents[:, :, window.first - window.start : window.end - window.start]


def _follow(tail: Tail, window: Window, own: Tensor, keep: int) -> Tail:
    """`tail` with a window's own latents behind."""
    return Tail(window.start, own.clone()) if window.anew else tail.add(own, keep)


@torch.no_grad()
def _picture(vae: VAE, canvas: Canvas, latents: Tensor) -> UInt8[Tensor, "h w 3"]:
    """A look at the middle of latents."""
    middle = latents.shape[2] // 2
    frames = vae.decode(vae.denormalize(latents[:, :, middle : middle + 1]))
    return to_uint8(canvas.crop(frames))[0].cpu()
