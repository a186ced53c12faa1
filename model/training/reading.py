"""Captions as the ids that pools keep of them."""

from pathlib import Path

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer, normalizers
from torch import Tensor

from model.training.language import MAX_LENGTH

#: The end mark's id.
END = 1


def plain_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer in `folder`/tokenizer without its synonyms: captions have none, and looking
    for them takes most of its time.
    """
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer" / "tokenizer.json"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.enable_truncation(MAX_LENGTH)
    tokenizer.enable_padding(length=MAX_LENGTH, pad_id=0)
    return tokenizer


def read(tokenizer: Tokenizer, captions: list[str]) -> Tensor:
    """Ids `[b, MAX_LENGTH]` of captions, zero past their ends, as int16."""
    rows = [encoding.ids for encoding in tokenizer.encode_batch(captions)]
    return torch.tensor(rows, dtype=torch.int16)


def silence_of(ids: Tensor) -> Tensor:
    """What nothing is read as, the end mark alone, in place of captions' ids `[b, l]`."""
    return F.pad(torch.full_like(ids[:, :1], END), (0, ids.shape[1] - 1))
