"""CLIP's view of an image (Radford et al. 2021), which Wan 2.1's image-to-video attends to."""

from pathlib import Path

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor, nn
from transformers import CLIPImageProcessorPil, CLIPVisionModel

from model.pretrained import load_encoder
from model.shards import CheckpointError

__all__ = ["ImageEncoder"]

#: Checkpoints made by diffusers' own script bring the head that turns tokens into one vector.
UNUSED = frozenset({"visual_projection.weight"})


class ImageEncoder(nn.Module):
    """The vision tower and its preprocessing of one checkpoint."""

    def __init__(self, encoder: CLIPVisionModel, processor: CLIPImageProcessorPil) -> None:
        super().__init__()
        self.encoder = encoder
        self.processor = processor

    @classmethod
    def load(
        cls,
        folder: str | Path,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> "ImageEncoder":
        """Read `image_encoder/` and `image_processor/` of a checkpoint folder."""
        processor_folder = Path(folder) / "image_processor"
        try:
            processor = CLIPImageProcessorPil.from_pretrained(
                processor_folder, local_files_only=True
            )
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{processor_folder}: cannot load ({error})") from error
        encoder = load_encoder(CLIPVisionModel, Path(folder) / "image_encoder", dtype, UNUSED)
        return cls(encoder.to(device), processor)

    def encode(self, images: list[Image.Image]) -> Float[Tensor, "1 l d"]:
        """The tokens of the layer before the last, the images' one after the other."""
        pixels = self.processor(images=images, return_tensors="pt")["pixel_values"]
        pixels = pixels.to(self.encoder.device, self.encoder.dtype)
        tokens = self.encoder(pixel_values=pixels, output_hidden_states=True).hidden_states[-2]
        return tokens.flatten(0, 1).unsqueeze(0)
