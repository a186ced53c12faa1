"""Prompts to embeddings: clean, tokenise, encode with UMT5 (Chung et al. 2023, arXiv:2304.09151).

A prompt is a row of exactly `max_length` vectors. Rows past its end are zero, and the transformer
attends to them all the same: Wan was trained so, and leaving them out changes the picture.
"""

import html
from pathlib import Path

import ftfy
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import UMT5EncoderModel

from model.pretrained import load_encoder
from model.shards import CheckpointError

__all__ = ["TextEncoder", "clean"]

WAN_MAX_LENGTH = 512


def clean(prompt: str) -> str:
    """Mend broken Unicode, resolve HTML entities (twice, as Wan does) and collapse whitespace."""
    return " ".join(html.unescape(html.unescape(ftfy.fix_text(prompt))).split())


class TextEncoder(nn.Module):
    """The tokenizer and the encoder of one checkpoint."""

    def __init__(
        self, encoder: nn.Module, tokenizer: Tokenizer, max_length: int = WAN_MAX_LENGTH
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.tokenizer = tokenizer
        self.max_length = max_length
        tokenizer.no_padding()
        tokenizer.enable_truncation(max_length)

    @classmethod
    def load(
        cls,
        folder: str | Path,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        max_length: int = WAN_MAX_LENGTH,
    ) -> "TextEncoder":
        """Read `text_encoder/` and `tokenizer/` of a checkpoint folder; raise CheckpointError."""
        path = Path(folder) / "tokenizer" / "tokenizer.json"
        try:
            tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # `tokenizers` raises bare Exception for every fault
            raise CheckpointError(f"{path}: not a readable tokenizer file ({error})") from error
        encoder = load_encoder(UMT5EncoderModel, Path(folder) / "text_encoder", dtype)
        vocabulary = encoder.config.vocab_size
        if tokenizer.get_vocab_size() > vocabulary:
            raise CheckpointError(
                f"{path}: has {tokenizer.get_vocab_size()} pieces, more than the "
                f"{vocabulary} that text_encoder embeds"
            )
        return cls(encoder.to(device), tokenizer, max_length)

    def encode(self, prompts: list[str]) -> Float[Tensor, "b l d"]:
        """Embed `prompts` together, l = `max_length`; a longer prompt is cut, its end mark kept."""
        ids, mask = self.tokenize(prompts)
        # Positions are relative and padding is masked, so only the longest prompt is computed.
        embeds = self.encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        embeds = embeds * mask.unsqueeze(-1).to(embeds.dtype)
        return F.pad(embeds, (0, 0, 0, self.max_length - ids.shape[1]))

    def tokenize(self, prompts: list[str]) -> tuple[Int[Tensor, "b l"], Int[Tensor, "b l"]]:
        """Token ids and mask (1 real, 0 padding), l = the longest prompt's length."""
        rows = [encoding.ids for encoding in self.tokenizer.encode_batch([*map(clean, prompts)])]
        longest = max(map(len, rows))
        # UMT5's padding is piece 0; masked positions never reach the result.
        ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
        mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
        device = next(self.encoder.parameters()).device
        return ids.to(device), mask.to(device)
