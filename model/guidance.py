"""Classifier-free guidance (Ho and Salimans 2022, arXiv:2207.12598).

v = v(negative) + scale · (v(prompt) − v(negative)). A scale of 1 or less leaves the second term
out, as diffusers does, and costs half.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from model.transformer import ImageContext, TextContext, Transformer

__all__ = ["Guided", "guide"]

# Up to this many tokens one pass over prompt and negative prompt together is faster than two;
# above it the transformer is busy with one, and two would only need twice the memory.
BATCHED_TOKENS = 16_384


@dataclass(frozen=True, slots=True)
class Guided:
    """A transformer with its prompt: a velocity field of latents and time alone.

    `contexts` is one entry for a plain prompt or for both prompts as one batch, and two entries,
    prompt and negative prompt, when they are passed one after the other.
    """

    transformer: Transformer
    contexts: tuple[TextContext, ...]
    image: ImageContext | None
    scale: float
    rope_scale: float = 1.0

    def __call__(
        self, latents: Float[Tensor, "1 c t h w"], timestep: Float[Tensor, "1 *t"]
    ) -> Float[Tensor, "1 c_out t h w"]:
        """The guided velocity, in float32 whatever the transformer's dtype."""
        latents = latents.to(self.transformer.patch_embedding.weight.dtype)
        if self.scale > 1 and len(self.contexts) == 1:
            latents = latents.expand(2, *latents.shape[1:])
            timestep = timestep.expand(2, *timestep.shape[1:])
        parts = [
            self.transformer(
                latents, timestep, context, self.image, rope_scale=self.rope_scale
            ).float()
            for context in self.contexts
        ]
        if self.scale <= 1:
            return parts[0]
        prompt, negative = torch.cat(parts).chunk(2)
        return negative + self.scale * (prompt - negative)


def guide(
    transformer: Transformer,
    prompts: Float[Tensor, "p l d"],
    scale: float,
    *,
    image: Float[Tensor, "1 image_l image_d"] | None = None,
    tokens: int,
    rope_scale: float = 1.0,
) -> Guided:
    """Bind `transformer` to `prompts`, the prompt and (for a scale above 1) the negative prompt.

    Keys and values of text and image are computed here, once. `tokens` is the size of the clip.
    """
    dtype = transformer.patch_embedding.weight.dtype
    prompts = prompts.to(dtype)
    if scale <= 1:
        contexts = (transformer.encode_text(prompts[:1]),)
    elif tokens <= BATCHED_TOKENS:
        contexts = (transformer.encode_text(prompts),)
    else:
        contexts = tuple(transformer.encode_text(prompt) for prompt in prompts.split(1))
    image_context = None
    if image is not None:
        rows = 2 if scale > 1 and len(contexts) == 1 else 1
        image_context = transformer.encode_image(image.to(dtype).expand(rows, -1, -1))
    return Guided(transformer, contexts, image_context, scale, rope_scale)
