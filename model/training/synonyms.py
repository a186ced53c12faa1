"""Words that no caption says, and taught ones that mean the same, out of a dictionary.

kinora-tiny reads some 500 words. For those that others would say, WordNet (Fellbaum 1998) knows
synonyms and kinds: an orb is a ball, crimson a red. `synonyms.txt` is what was found there, and the
tokenizer puts the taught word in their place. `python -m model.training.synonyms FOLDER` finds them
again in WordNet's files (Debian: wordnet-base, /usr/share/wordnet).
"""

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from model.training.scenes import COLOURS
from model.training.words import PHRASES

FILE = Path(__file__).with_suffix(".txt")
#: What stands for which senses, as `lemma.part.number`, and for how many levels of what is a kind
#: of them. Where a word has several meanings, the one that is more usual counts, as WordNet orders.
SENSES = {
    "ball": "ball.n.01:1 ball.n.03:1 ball.n.06:1 sphere.n.05:0 sphere.n.02:1 circle.n.03:0 "
    "disk.n.01:0 disk.n.02:0 spheroid.n.01:0",
    "square": "cube.n.01:1 block.n.03:0 square.n.01:1 box.n.01:1 quadrilateral.n.01:1",
    "triangle": "triangle.n.01:2 pyramid.n.01:0 pyramid.n.03:0",
    "star": "star.n.05:1 asterisk.n.01:0",
    "heart": "heart.n.07:1",
    "ring": "ring.n.02:1 ring.n.03:1 ring.n.08:1 toroid.n.01:0 torus.n.02:0",
    "cross": "cross.n.01:0 cross.n.03:1 plus_sign.n.01:0",
    "diamond": "diamond.n.01:0 diamond.n.03:0 gem.n.05:0",
    "moon": "moon.n.01:0 moon.n.06:1 crescent.n.01:0 crescent.a.01:0",
    "car": "car.n.01 truck.n.01",
    "house": "house.n.01 dwelling.n.01 farm_building.n.01:1",
    "tree": "tree.n.01",
    "boat": "vessel.n.02",
    "fish": "fish.n.01 fish.n.02:1",
    "bird": "bird.n.01",
    "rocket": "rocket.n.01 spacecraft.n.01",
    "person": "human.n.01:0 man.n.01:0 woman.n.01:0 male_child.n.01:0 girl.n.01:0 child.n.01:0 "
    "adult.n.01:0 pedestrian.n.01",
    "red": "red.n.01 red.a.01:0",
    "orange": "orange.n.02 orange.a.01:0",
    "yellow": "yellow.n.01 yellow.a.01:0",
    "green": "green.n.01 green.a.01:0",
    "blue": "blue.n.01 blue.a.01:0",
    "purple": "purple.n.01 purple.a.01:0",
    "pink": "pink.n.01 pink.a.01:0",
    "white": "white.n.02 white.a.01:0",
    "turquoise": "turquoise.n.02 teal.n.01",
    "brown": "brown.n.01 brown.a.01:0",
    "gray": "gray.n.01 gray.a.01:0",
    "black": "black.n.01 black.a.01:0 black.a.08:0",
    "small": "small.a.01",
    "big": "large.a.01",
    "slowly": "slowly.r.01:0",
    "quickly": "quickly.r.01:0",
    "rises": "rise.v.01:1 ascend.v.01:0",
    "falls": "fall.v.01:0 descend.v.01:1",
    "grows": "grow.v.02:0 expand.v.02:0 enlarge.v.01:0",
    "shrinks": "shrink.v.04:0 shrink.v.05:0 diminish.v.01:0",
    "bounces": "bounce.v.01:0 jump.v.01:1",
    "rests": "rest.v.01:0 stand_still.v.01:0",
    "spins": "spin.v.01:0 rotate.v.01:0 whirl.v.01:0",
    "pulses": "pulse.v.01:0 pulsate.v.02:0",
    "swings": "swing.v.02:1 swing.v.06:0 sway.v.01:0",
    "sky": "sky.n.01:0",
    "sunset": "sunset.n.01:0 dawn.n.01:0 twilight.n.01:0",
    "night": "night.n.01:0 midnight.n.01:0",
    "grass": "grassland.n.01:2 lawn.n.01:0 field.n.01:0 turf.n.01:0",
    "sea": "sea.n.01:0 ocean.n.01:0 lake.n.01:0 bay.n.01:0 gulf.n.01:0 seashore.n.01:0 wave.n.01:0",
    "desert": "desert.n.01:0 sand_dune.n.01:0",
    "city": "city.n.01:0 town.n.01:0 cityscape.n.01:0",
    "snow": "snow.n.01:1 snow.n.02:0 winter.n.01:0 blizzard.n.01:0",
    "rain": "rain.n.01:1 thunderstorm.n.01:0",
    "checkerboard": "checkerboard.n.01:1",
    "room": "room.n.01:0 living_room.n.01:1 bedroom.n.01:0 kitchen.n.01:0 dining_room.n.01:0",
    "cartoon": "cartoon.n.02:0 comic_strip.n.01:0",
    "photograph": "photograph.n.01:0",
    "sketch": "sketch.n.01:0 drawing.n.02:0 doodle.n.01:0",
    "watercolour": "watercolor.n.01:1",
}  # fmt: skip
#: Of a word's senses, so many of the most usual may be the one that is meant; colours are often
#: called after things.
USUAL = {"n": 3, "v": 2, "a": 2, "r": 2}
#: Of these there are hundreds of kinds. Only those count that mean nothing else first and that the
#: texts had that WordNet's makers read.
MANY = ("car", "house", "tree", "boat", "fish", "bird", "rocket", "person")
#: How what goes on is said of verbs.
GOING = {
    "rises": "rising", "falls": "falling", "grows": "growing", "shrinks": "shrinking",
    "bounces": "bouncing", "rests": "standing still", "spins": "spinning",
    "pulses": "pulsing", "swings": "swinging",
}  # fmt: skip
#: How WordNet points from a meaning to kinds of it, and from an adjective to similar ones.
KINDS = {"~", "~i", "&"}
PARTS = {"n": "noun", "v": "verb", "a": "adj", "r": "adv"}


@dataclass(frozen=True, slots=True)
class WordNet:
    """One part of speech: what each word may mean, and for each meaning its words and kinds.

    In its makers' texts only the first `met` of a word's senses occurred.
    """

    senses: dict[str, list[str]]
    met: dict[str, int]
    words: dict[str, list[str]]
    kinds: dict[str, list[str]]

    @classmethod
    def read(cls, folder: Path, part: str) -> "WordNet":
        """Read its two files (format: wndb(5WN)); raise OSError where they are not."""
        wordnet = cls({}, {}, {}, {})
        for line in _lines(folder / f"index.{PARTS[part]}"):
            columns = line.split()
            wordnet.senses[columns[0]] = columns[-int(columns[2]) :]
            wordnet.met[columns[0]] = int(columns[-int(columns[2]) - 1])
        for line in _lines(folder / f"data.{PARTS[part]}"):
            columns = line.split("|")[0].split()
            meaning, count = columns[0], int(columns[3], 16)
            wordnet.words[meaning] = [
                re.sub(r"\(.*", "", word).lower() for word in columns[4 : 4 + 2 * count : 2]
            ]
            pointers = columns[5 + 2 * count :]
            wordnet.kinds[meaning] = [
                to for how, to in zip(pointers[::4], pointers[1::4], strict=False) if how in KINDS
            ]
        return wordnet

    def under(self, meaning: str, depth: int, far: int = 0) -> Iterator[tuple[str, int]]:
        """A meaning and the kinds of it, `depth` levels down, and how far down each is."""
        yield meaning, far
        if depth > far:
            for kind in self.kinds[meaning]:
                yield from self.under(kind, depth, far + 1)


def find(folder: Path, senses_of: dict[str, str] = SENSES) -> dict[str, list[str]]:
    """For each taught word those that WordNet has for it and captions never say."""
    parts = {part: WordNet.read(folder, part) for part in PARTS}
    best: dict[str, tuple[int, int, str]] = {}
    for word, senses in senses_of.items():
        for sense in senses.split():
            name, part, rest = sense.rsplit(".", 2)
            number, _, depth = rest.partition(":")
            wordnet = parts[part]
            start = wordnet.senses[name][int(number) - 1]
            for meaning, far in wordnet.under(start, int(depth or (1 if part == "a" else 9))):
                for other in wordnet.words[meaning]:
                    rank = wordnet.senses[other].index(meaning) + 1
                    if word in MANY and not depth:
                        meant = rank == 1 and wordnet.met[other] > 0
                    else:
                        meant = word in COLOURS or rank <= USUAL[part]
                    if meant:
                        best[other] = min(best.get(other, (99, 0, "")), (rank, far, word))
    found: dict[str, list[str]] = {word: [] for word in senses_of}
    for other, (*_, word) in sorted(best.items()):
        pieces = other.replace("_", " ").split()
        senses = {part: len(wordnet.senses.get(other, ())) for part, wordnet in parts.items()}
        own = max(senses[sense.split(".")[1]] for sense in senses_of[word].split())
        usual = own == max(senses.values())  # and not, say, a verb more than a noun
        plain = re.fullmatch(r"[a-z_-]{3,}", other) and len(pieces) < 3
        if plain and usual and not taught().issuperset(pieces):
            found[word].append(" ".join(pieces))
    return found


def table() -> dict[str, list[str]]:
    """What `synonyms.txt` says: taught words, and those that they stand for."""
    rows = (line.split(": ") for line in FILE.read_text().splitlines() if not line.startswith("#"))
    return {word: others.split(", ") for word, others in rows}


def rules() -> list[tuple[str, str]]:
    """Regular expressions of what is not taught, in small letters, and what to read for each."""
    instead: dict[str, set[str]] = {}
    for word, others in table().items():
        verb = ".v." in SENSES[word]
        for other in others:
            for form in _forms(other, verb=verb):
                going = verb and form.endswith("ing") and form != other
                instead.setdefault(GOING[word] if going else word, set()).add(form)
    found: list[tuple[str, str]] = []
    for word, forms in instead.items():
        unknown = [form for form in forms if not taught().issuperset(form.split())]
        longest_first = sorted(unknown, key=lambda form: (-len(form), form))
        either = "|".join(map(re.escape, longest_first))
        found.append((rf"(?<![\w-])(?:{either})(?![\w-])", word))
    return found


@cache
def taught() -> set[str]:
    """Every word that captions say."""
    return set(re.findall(r"[\w-]+", " ".join(PHRASES).lower()))


def _forms(word: str, *, verb: bool) -> list[str]:
    """A word, its plural or what else becomes of a verb, near enough."""
    stem = word.removesuffix("e")
    plural = f"{word}es" if re.search("(s|x|ch|sh)$", word) else f"{word}s"
    if not verb:
        return [word, plural]
    if re.search("[^aeiou][aeiou][bdgmnpt]$", word):
        stem += word[-1]
    return [word, plural, f"{stem}ed", f"{stem}ing"]


def _lines(path: Path) -> list[str]:
    return [line for line in path.read_text().splitlines() if not line.startswith("  ")]


def main(folder: Path) -> None:
    """Write `synonyms.txt`."""
    lines = [line for line in FILE.read_text().splitlines() if line.startswith("#")]
    lines += [f"{word}: {', '.join(others)}" for word, others in find(folder).items() if others]
    FILE.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m model.training.synonyms FOLDER, with WordNet's data and index")
    try:
        main(Path(sys.argv[1]))
    except OSError as error:
        sys.exit(f"python -m model.training.synonyms: {error}")
