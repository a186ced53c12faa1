"""The words and phrases of captions, by what they stand for.

The tokenizer has a piece for each word. Words that are in shipped weights keep their ids whatever
is changed here (`language.TAUGHT`); others are appended behind them.
"""

from itertools import chain

Words = dict[str, tuple[str, ...]]

WORDS: Words = {
    "ball": ("ball", "sphere", "circle", "ball", "round ball"),
    "square": ("square", "box", "cube", "block"),
    "triangle": ("triangle", "pyramid", "triangle"),
    "star": ("star", "five-pointed star", "star"),
    "heart": ("heart", "love heart", "heart"),
    "ring": ("ring", "hoop", "donut"),
    "cross": ("cross", "plus sign", "cross"),
    "diamond": ("diamond", "rhombus", "diamond"),
    "moon": ("moon", "crescent moon", "crescent", "half moon"),
    "car": ("car", "automobile", "car"),
    "house": ("house", "house", "home"),
    "tree": ("tree",),
    "boat": ("boat", "sailboat", "ship", "boat"),
    "fish": ("fish",),
    "bird": ("bird",),
    "rocket": ("rocket", "spaceship", "rocket"),
    "person": ("person", "man", "woman", "person"),
    "red": ("red", "red", "scarlet", "bright red"),
    "orange": ("orange", "orange", "tangerine"),
    "yellow": ("yellow", "yellow", "golden"),
    "green": ("green", "green", "emerald", "bright green"),
    "blue": ("blue", "blue", "deep blue", "cobalt"),
    "purple": ("purple", "purple", "violet"),
    "pink": ("pink", "pink", "rose pink"),
    "turquoise": ("turquoise", "turquoise", "teal", "cyan"),
    "brown": ("brown", "brown", "dark brown"),
    "white": ("white", "white", "snow white"),
    "gray": ("gray", "grey", "gray"),
    "black": ("black", "black", "jet black"),
    "small": ("small", "little", "tiny"),
    "medium": ("",),
    "big": ("big", "large", "huge"),
    "slow": ("slowly", "gently"),
    "normal": ("",),
    "fast": ("quickly", "fast", "rapidly"),
    "left": (
        "moves left",
        "moving left",
        "moves to the left",
        "slides to the left",
        "drifting left",
        "going from right to left",
        "flies to the left",
        "rolls left",
    ),
    "right": (
        "moves right",
        "moving right",
        "moves to the right",
        "slides to the right",
        "drifting right",
        "going from left to right",
        "flies to the right",
        "rolls right",
    ),
    "up": ("moves up", "moving up", "rises", "rising", "goes up", "floats upwards", "flies up"),
    "down": ("moves down", "moving down", "falls", "falling", "goes down", "sinks", "drops"),
    "grow": ("grows", "growing", "gets bigger", "becomes larger", "expands"),
    "shrink": ("shrinks", "shrinking", "gets smaller", "becomes smaller"),
    "bounce": ("bounces", "bouncing", "bounces up and down", "hops", "jumping", "jumps"),
    "spin": ("spins", "spinning", "rotates", "turns around itself", "is rotating"),
    "orbit": ("moves in a circle", "circles around", "circling", "orbits", "goes round and round"),
    "pulse": ("pulses", "pulsing", "pulsates", "throbs", "grows and shrinks again and again"),
    "zigzag": ("zigzags", "moves in a zigzag", "zigzagging", "zigzags to and fro"),
    "swing": ("swings", "swinging", "swings back and forth", "sways", "swaying from side to side"),
    "still": ("stands still", "standing still", "does not move", "stays in place", "rests"),
    "flat": ("cartoon", "flat cartoon", "animation", "2d animation", "flat design"),
    "shaded": ("realistic", "3d render", "photorealistic", "realistic 3d", "glossy 3d"),
    "bw": ("black and white film", "black-and-white", "monochrome film", "old film noir"),
    "sketch": ("pencil sketch", "sketch", "hand-drawn sketch", "pencil drawing"),
    "watercolour": ("watercolour", "watercolor painting", "watercolor", "watercolour painting"),
    "neon": ("neon", "neon lights", "glowing neon", "neon sign"),
}
PLACES: Words = {
    "white": ("on a white background", "against white", "on white", "in a white studio"),
    "black": ("on a black background", "against black", "on black", "in the dark"),
    "gray": ("on a gray background", "on gray", "against gray", "on a grey background"),
    "sky": ("in the sky", "in a blue sky with clouds", "among the clouds", "in a cloudy sky"),
    "sunset": ("at sunset", "in front of a sunset", "in the evening sun", "at dusk"),
    "night": ("at night", "in the night sky", "under the stars", "in a starry night"),
    "grass": ("on the grass", "in a green meadow", "over a green field", "on a lawn"),
    "sea": ("over the sea", "by the ocean", "above the waves", "at the sea"),
    "gradient": ("on a gradient background", "on a colour gradient", "against a soft gradient"),
    "desert": ("in the desert", "among sand dunes", "on the sand", "in a sandy desert"),
    "city": ("in the city", "in front of a city skyline", "over the city", "in a busy city"),
    "snow": ("in the snow", "in a snowy landscape", "in winter", "while it snows"),
    "rain": ("in the rain", "on a rainy day", "in heavy rain", "while it rains"),
    "checkerboard": ("on a checkerboard", "on a chessboard pattern", "on a checkered background"),
    "room": ("in a room", "inside a room", "in a living room", "on a wooden floor"),
}
# Words that are said less often: one in five times.
RARER: Words = {
    "ball": ("disc", "bubble", "globe", "marble", "football"),
    "square": ("cuboid", "tile", "crate", "rectangle", "dice"),
    "triangle": ("three-sided shape", "tetrahedron", "tent", "wedge shape"),
    "star": ("pentagram", "star shape", "starfish", "sheriff's star"),
    "heart": ("heart shape", "heart symbol", "love symbol"),
    "ring": ("torus", "wheel", "bagel", "tyre", "tire", "circle with a hole"),
    "red": ("ruby", "cherry red", "dark red", "vermilion"),
    "orange": ("amber", "pumpkin orange", "bright orange"),
    "yellow": ("gold", "canary yellow", "mustard", "bright yellow"),
    "green": ("lime green", "forest green", "grass-green", "dark green"),
    "blue": ("navy", "royal blue", "sapphire", "dark blue"),
    "purple": ("lilac", "lavender", "indigo", "plum"),
    "pink": ("fuchsia", "hot pink", "salmon", "light pink"),
    "turquoise": ("aqua", "bright turquoise", "blue-green"),
    "brown": ("light brown", "coffee brown", "wooden brown"),
    "white": ("pale", "off-white", "pure white"),
    "gray": ("dark gray", "light grey", "silver gray"),
    "black": ("deep black", "coal black", "pitch black"),
    "cross": ("plus", "plus shape", "cross shape"),
    "diamond": ("diamond shape", "gem", "kite shape"),
    "moon": ("sickle moon", "waxing moon", "crescent shape"),
    "car": ("vehicle", "toy car", "motor car"),
    "house": ("building", "hut", "cabin"),
    "tree": ("leafy tree", "tree with leaves", "young tree"),
    "boat": ("sailing boat", "sailing ship", "toy boat"),
    "fish": ("goldfish", "sea fish"),
    "bird": ("pigeon", "songbird"),
    "rocket": ("space rocket", "spacecraft", "toy rocket"),
    "person": ("human", "human figure", "guy"),
    "small": ("mini", "miniature", "petite"),
    "big": ("giant", "enormous", "massive", "great"),
    "slow": ("leisurely", "calmly", "at a slow pace"),
    "fast": ("swiftly", "at high speed", "in a hurry"),
    "left": ("heads left", "glides to the left", "travels left", "goes left", "leftwards"),
    "right": ("heads right", "glides to the right", "travels right", "goes right", "rightwards"),
    "up": ("ascends", "climbs", "lifts off", "soars", "upwards"),
    "down": ("descends", "tumbles down", "plunges", "comes down", "downwards"),
    "grow": ("swells", "inflates", "is growing bigger", "enlarges", "comes closer"),
    "shrink": ("contracts", "deflates", "is getting smaller", "dwindles", "goes away"),
    "bounce": ("hopping", "leaps up and down", "springs up and down", "is bouncing around"),
    "spin": ("twirls", "revolves", "whirls around", "turns on the spot"),
    "orbit": ("goes in circles", "runs in a circle", "travels in a circle"),
    "pulse": ("beats", "swells and contracts", "breathes in and out"),
    "zigzag": ("goes in zigzags", "runs in a zigzag line", "darts to and fro"),
    "swing": ("rocks from side to side", "dangles", "swings like a pendulum"),
    "still": ("is motionless", "stays still", "sits there", "is at rest", "stands there"),
    "flat": ("anime", "comic", "vector art", "cartoon animation", "animated"),
    "shaded": ("cinematic", "live action", "lifelike", "cgi", "photograph", "render"),
    "bw": ("black and white", "noir", "silent film", "grayscale", "old movie"),
    "sketch": ("line drawing", "charcoal drawing", "doodle", "pencil art", "hand drawn"),
    "watercolour": ("watercolour art", "aquarelle", "soft watercolor wash", "painting"),
    "neon": ("neon glow", "neon light", "fluorescent tubes", "glowing lines"),
}
RARER_PLACES: Words = {
    "white": ("on a plain white background", "on a blank page", "in front of a white wall"),
    "black": ("in darkness", "on a dark background", "in a black room", "on plain black"),
    "gray": ("on plain gray", "in front of a grey wall", "in a gray room"),
    "sky": ("in the air", "high above", "in front of clouds", "on a sunny day"),
    "sunset": ("at dawn", "in the golden hour", "as the sun sets", "at sunrise", "in the evening"),
    "night": ("in space", "in outer space", "on a starry night", "among the stars"),
    "grass": ("in a park", "in a garden", "in the grass", "on a hill", "in the fields"),
    "sea": ("on the ocean", "at the beach", "on the water", "at the seaside", "on the sea"),
    "gradient": ("in front of a gradient", "on a smooth color gradient"),
    "desert": ("in the sahara", "in the dunes", "on a desert plain"),
    "city": ("downtown", "in front of skyscrapers", "among tall buildings", "in a town"),
    "snow": ("on a snowy day", "in a snowstorm", "in a winter landscape", "in snowfall"),
    "rain": ("in a storm", "in wet weather", "in pouring rain", "in a rain shower"),
    "checkerboard": ("on a chess board", "on a chequered floor", "on a checked pattern"),
    "room": ("indoors", "on the floor of a room", "in an empty room"),
}
# How figures go their way, and what else some shapes alone do.
GOING: Words = {
    "car": ("drives", "driving", "drives"),
    "boat": ("sails", "sailing"),
    "fish": ("swims", "swimming"),
    "bird": ("flies", "flying"),
    "rocket": ("flies", "flying", "shoots", "races"),
    "person": ("walks", "walking", "runs", "strolls"),
}
WAYS: Words = {
    "left": ("left", "to the left", "from right to left"),
    "right": ("right", "to the right", "from left to right"),
}
OWN = {
    (shape, way): tuple(f"{go} {to}" for go in goes for to in ways)
    for shape, goes in GOING.items()
    for way, ways in WAYS.items()
} | {
    ("rocket", "up"): ("launches", "takes off", "launching", "blasts off", "flies upwards"),
    ("rocket", "down"): ("lands", "landing"),
    ("bird", "up"): ("takes off", "flies upwards", "flying up"),
    ("bird", "down"): ("lands", "swoops down", "flies down"),
    ("fish", "up"): ("swims up", "swimming upwards"),
    ("fish", "down"): ("dives", "swims down", "diving"),
    ("fish", "orbit"): ("swims in a circle", "swims around in circles"),
    ("bird", "orbit"): ("flies in a circle", "flies around in circles"),
    ("car", "orbit"): ("drives in a circle", "drives around in circles"),
    ("boat", "orbit"): ("sails in a circle", "sails around in circles"),
    ("person", "orbit"): ("walks in a circle", "runs around in circles"),
    ("car", "still"): ("is parked", "parks", "waits"),
    ("boat", "still"): ("is anchored", "lies at anchor"),
    ("person", "still"): ("stands", "standing", "waits"),
    ("person", "spin"): ("pirouettes", "does cartwheels"),
    ("heart", "pulse"): ("beats", "is beating"),
    ("tree", "swing"): ("sways in the wind", "rocks in the wind"),
    ("boat", "swing"): ("rocks", "is rocking"),
}
# How two objects stand to each other. The first of a pair is the left one, or the upper one.
BESIDE = (
    "{0} and {1}", "{0} and {1}", "{0} and {1}", "{0} next to {1}", "{0} beside {1}",
    "{0} to the left of {1}", "{0} left of {1}", "{1} to the right of {0}", "{1} right of {0}",
    "{0} on the left and {1} on the right", "{1} on the right and {0} on the left",
    "{0} with {1} to its right", "{0} together with {1}",
)  # fmt: skip
ABOVE = (
    "{0} and {1}", "{0} and {1}", "{0} above {1}", "{0} over {1}", "{1} below {0}",
    "{1} under {0}", "{0} at the top and {1} at the bottom", "{0} with {1} below it",
)  # fmt: skip
JOINS = tuple(phrase.format("", "") for phrase in BESIDE + ABOVE)
LEADS = (
    "", "", "", "", "", "", "a video of ", "a clip of ", "please show ", "imagine ", "there is ",
    "show me ", "a beautiful shot of ", "a picture of ", "we see ", "in this video, ",
)  # fmt: skip
TAILS = ("", "", "", "", "", "", "", "", ", 4k", ", high quality", ", beautiful", ", please")
# What stands between all these.
GLUE = "a an that is and of in style coloured , . :"
#: Everything that captions say.
PHRASES = (
    *LEADS, *TAILS, *JOINS, GLUE, *chain(*WORDS.values()), *chain(*PLACES.values()),
    *chain(*RARER.values()), *chain(*RARER_PLACES.values()), *chain(*OWN.values()),
)  # fmt: skip
