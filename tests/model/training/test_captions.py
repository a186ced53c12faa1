"""Captions: complete ones name every attribute, and every word has a piece of its own."""

from pathlib import Path

import torch
from tokenizers import Tokenizer

from model.training import captions, language, pairs, scenes
from model.training.scenes import BACKGROUNDS, COLOURS, MOTIONS, SHAPES


def test_a_complete_caption_names_object_colour_motion_and_place() -> None:
    generator = torch.Generator().manual_seed(0)
    batch = scenes.sample(200, generator)
    for i, text in enumerate(captions.describe(batch, generator, complete=True)):
        said = text.lower()
        named = [SHAPES[int(batch.shape[i])], MOTIONS[int(batch.motion[i])]]
        if int(batch.style[i]) < 2:
            named.append(COLOURS[int(batch.colour[i])])
        for name in named:
            words = captions.WORDS[name] + captions.RARER.get(name, ())
            assert any(word in said for word in words), (name, text)
        name = BACKGROUNDS[int(batch.background[i])]
        places = captions.PLACES[name] + captions.RARER_PLACES[name]
        assert any(place in said for place in places), text


def test_some_words_are_mistyped_and_some_are_seldom_said() -> None:
    generator = torch.Generator().manual_seed(2)
    batch = scenes.sample(2000, generator)
    texts = captions.describe(batch, generator)
    rare = sum("vermilion" in text for text in texts)
    assert 0 < rare < sum("scarlet" in text for text in texts)
    grammar = " ".join(
        [*captions.LEADS, "that is a an of style ,.:"]
        + [
            phrase
            for group in (captions.WORDS, captions.PLACES, captions.RARER, captions.RARER_PLACES)
            for phrases in group.values()
            for phrase in phrases
        ]
    )
    known = set(grammar.lower().replace(",", " ").replace(".", " ").replace(":", " ").split())
    unknown = [
        text
        for text in texts
        if set(text.lower().replace(",", " ").replace(".", " ").replace(":", " ").split()) - known
    ]
    assert 20 < len(unknown) < 120


def test_every_word_of_the_grammar_is_one_piece_and_other_words_are_spelled(
    tmp_path: Path,
) -> None:
    language.build_tokenizer(tmp_path)
    tokenizer = Tokenizer.from_file(str(tmp_path / "tokenizer" / "tokenizer.json"))
    generator = torch.Generator().manual_seed(1)
    texts = captions.describe(scenes.sample(300, generator), generator, complete=True)
    texts += captions.describe_two(*pairs.sample(300, generator), generator, complete=True)
    for text in texts:
        pieces = tokenizer.encode(text).tokens
        assert "<unk>" not in pieces
        assert "▁" not in pieces, text  # the mark of a word that is not in the vocabulary
        assert pieces[-1] == "</s>"
    assert tokenizer.encode("Zeppelin").tokens == ["▁", *"zeppelin", "</s>"]
    assert tokenizer.encode("RED Ball").ids == tokenizer.encode("red ball").ids
