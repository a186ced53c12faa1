"""The tokenizer and the small text encoder of kinora-tiny."""

from collections.abc import Iterable
from itertools import chain
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast, UMT5Config, UMT5EncoderModel

from model.training import captions, synonyms

MAX_LENGTH = 64
VOCABULARY = 512
# How sure a head is at first of where it looks.
SURE = 1.5


def build_tokenizer(folder: Path) -> None:
    """Write `folder`/tokenizer: a unigram model whose pieces are the grammar's words.

    Words that a dictionary knows as others for those are read as those. Every printable ASCII
    character is a piece too, so what is left is spelled out, letter by letter, and nothing but
    foreign scripts is unknown.
    """
    split = pre_tokenizers.Sequence(
        [
            pre_tokenizers.WhitespaceSplit(),
            pre_tokenizers.Punctuation(),
            pre_tokenizers.Metaspace(),
        ]
    )

    def words(phrases: Iterable[str]) -> set[str]:
        found = {piece for phrase in phrases for piece, _ in split.pre_tokenize_str(phrase.lower())}
        return {piece for piece in found if len(piece) > 1}

    glue = (*captions.LEADS, "that is a an of style , . :")
    common = words([*glue, *chain(*captions.WORDS.values(), *captions.PLACES.values())])
    # Behind the common words, so that weights that know only those can be trained further.
    rarer = chain(*captions.RARER.values(), *captions.RARER_PLACES.values())
    rare = words(rarer) - common
    between = words(captions.JOINS) - common - rare
    letters = [chr(c) for c in range(33, 127) if not chr(c).isupper()]
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -6.0)]
    pieces += [(letter, -9.0) for letter in letters]
    pieces += [(word, -4.0) for word in (*sorted(common), *sorted(rare), *sorted(between))]
    if len(pieces) > VOCABULARY:
        raise ValueError(f"VOCABULARY: must be at least {len(pieces)}, the grammar's pieces")
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=2))
    meant = [normalizers.Replace(Regex(words), word) for words, word in synonyms.rules()]
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Lowercase(), *meant]
    )
    tokenizer.pre_tokenizer = split
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",  # noqa: S106 (a token of text)
        eos_token="</s>",  # noqa: S106
        unk_token="<unk>",  # noqa: S106
        model_max_length=MAX_LENGTH,
    ).save_pretrained(folder / "tokenizer")


def new_text_encoder(width: int) -> UMT5EncoderModel:
    """An untrained UMT5 encoder of the given width.

    Its heads look at first at the word before, the one after, two before, two after, all before
    and all after: whose colour it is depends on where it is said.
    """
    config = UMT5Config(
        vocab_size=VOCABULARY,
        d_model=width,
        d_kv=width // 6,
        d_ff=2 * width,
        num_layers=5,
        num_heads=6,
        relative_attention_num_buckets=32,
        relative_attention_max_distance=128,
        feed_forward_proj="gated-gelu",
        dropout_rate=0.0,
        pad_token_id=0,
        eos_token_id=1,
        is_encoder_decoder=False,
    )
    encoder = UMT5EncoderModel(config)
    apart = torch.cat([-torch.arange(16), torch.arange(16)])  # the last buckets are further apart
    looks = [-(apart - words).abs().float() for words in (-1, 1, -2, 2)]
    looks += [torch.where(apart * side > 0, -0.1 * apart.abs(), -8.0) for side in (-1, 1)]
    for name, bias in encoder.named_parameters():
        if name.endswith("relative_attention_bias.weight"):
            bias.data.copy_(SURE * torch.stack(looks, 1))
    return encoder
