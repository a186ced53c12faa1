"""The tokenizer and the small text encoder of kinora-tiny."""

from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast, UMT5Config, UMT5EncoderModel

from model.training import synonyms
from model.training.words import PHRASES

MAX_LENGTH = 64
VOCABULARY = 1024
# How sure a head is at first of where it looks.
SURE = 1.5
#: Words that shipped weights know by the numbers of their pieces: new ones come behind them.
TAUGHT = """
    , - . 2d 3d : a above against among an and animation at background ball becomes big bigger
    black block blue bounces bouncing box bright by cartoon circle clip clouds cloudy cobalt cube
    dark deep design does donut down drawing drawn drifting drops dusk emerald evening expands
    falling falls fast field film five flat flies floats from front gently gets glossy goes going
    golden grass gray green grey growing grows hand heart hoop hops huge imagine in is jumping
    jumps large larger lawn left little love meadow monochrome move moves moving night noir not
    ocean of old on orange over pencil photorealistic pink place please pointed purple pyramid
    quickly rapidly realistic red render rests right ring rises rising rolls rose round scarlet sea
    show shrinking shrinks sinks sketch sky slides slowly small smaller snow sphere square standing
    stands star starry stars stays still studio style sun sunset tangerine that the there tiny to
    triangle under up upwards video violet waves white with yellow ' action air amber animated
    anime around art as ascends away bagel beach blank bubble calmly canary cgi charcoal cherry
    cinematic climbs closer comes comic contracts crate cuboid darkness dawn day deflates descends
    dice disc doodle downwards dwindles enlarges enormous fields football forest fuchsia garden
    getting giant glides globe gold grayscale great heads high hill hole hopping hot hour hurry
    indigo inflates lavender leaps leftwards leisurely lifelike lifts light lilac lime line live
    marble massive mini miniature motionless movie mustard navy off outer pace page pale park
    pentagram petite photograph plain plum plunges pumpkin pure rectangle rest rightwards room
    royal ruby s salmon sapphire seaside sets shape sheriff sided silent sits slow soars space
    speed springs starfish sunny sunrise swells swiftly symbol tent tetrahedron three tile tire
    torus travels tumbles tyre vector vermilion wall water wedge wheel below beside bottom next top
    4k again anchor anchored aqua aquarelle automobile back beating beats beautiful bird blasts
    board boat breathes brown building buildings busy cabin car cartwheels checked checkerboard
    checkered chequered chess chessboard circles circling city coal coffee color colour coloured
    crescent cross cyan dangles darts desert diamond dives diving downtown drives driving dunes
    empty figure fish floor fluorescent flying forth fro gem glow glowing goldfish gradient guy
    half heavy home house human hut indoors inside it its itself jet kite landing lands landscape
    launches launching leafy leaves lies lights like lines living man me moon motor neon orbits out
    painting parked parks pattern pendulum person picture pigeon pirouettes pitch plus pouring
    pulsates pulses pulsing quality races rain rains rainy revolves rhombus rocket rocking rocks
    rotates rotating runs sahara sailboat sailing sails sand sandy see ship shoots shot shower
    sickle side sign silver skyline skyscrapers smooth snowfall snows snowstorm snowy soft songbird
    spacecraft spaceship spinning spins spot storm strolls swaying sways swimming swims swinging
    swings swoops takes tall teal this throbs together town toy tree tubes turns turquoise twirls
    vehicle waits walking walks wash watercolor watercolour waxing we weather wet while whirls wind
    winter woman wooden young zigzag zigzagging zigzags
"""


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
    said = {word for phrase in PHRASES for word, _ in split.pre_tokenize_str(phrase.lower())}
    taught = [f"▁{word}" for word in TAUGHT.split()]
    new = sorted(word for word in said.difference(taught) if len(word) > 1)
    letters = [chr(c) for c in range(33, 127) if not chr(c).isupper()]
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -6.0)]
    pieces += [(letter, -9.0) for letter in letters]
    pieces += [(word, -4.0) for word in (*taught, *new)]
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
