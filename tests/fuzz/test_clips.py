"""Strange videos: a 400 that names the field, or frames written anew; nothing else is opened."""

import os
import re
import resource
import struct

import pytest

ROUNDS = int(os.environ.get("FUZZ_ROUNDS", "30"))
PICTURES = ("-f", "lavfi", "-i", "testsrc2=size=96x64:rate=8")
SOUND = ("-f", "lavfi", "-i", "sine=duration=2")
PLAIN = ("-frames:v", "9", "-pix_fmt", "yuv420p")
PQ = ("-color_primaries", "bt2020", "-color_trc", "smpte2084", "-colorspace", "bt2020nc")


@pytest.fixture(scope="module")
def make(ffmpeg, tmp_path_factory):
    """A clip by its file's name and ffmpeg's options, as bytes."""
    folder = tmp_path_factory.mktemp("clips")

    def make(name, *options, source=PICTURES, common=PLAIN):
        path = folder / f"{abs(hash(options))}-{name}"
        if not path.exists():
            ffmpeg(*source, *common, *options, path)
        return path.read_bytes()

    return make


def turned(make, ffmpeg, folder):
    path = folder / "plain.mp4"
    path.write_bytes(make("a.mp4"))
    ffmpeg("-display_rotation", 90, "-i", path, "-c", "copy", folder / "turned.mp4")
    return (folder / "turned.mp4").read_bytes()


# By name: how the file is made, and the size of what is stored.
LEGAL = {
    "rotated": (turned, "64x96"),
    "of varying rate": (
        lambda make, *_: make("v.mp4", "-vf", "setpts=N*(1+mod(N\\,3))/8/TB", "-fps_mode", "vfr"),
        "96x64",
    ),
    "10 bits": (lambda make, *_: make("t.mp4", "-pix_fmt", "yuv420p10le"), "96x64"),
    "10 bits of HEVC, HDR": (
        lambda make, *_: make("h.mp4", "-c:v", "libx265", "-pix_fmt", "yuv420p10le", *PQ),
        "96x64",
    ),
    "4:4:4": (lambda make, *_: make("c.mp4", "-pix_fmt", "yuv444p"), "96x64"),
    "grey": (lambda make, *_: make("g.mp4", "-pix_fmt", "gray"), "96x64"),
    "odd sides": (
        lambda make, *_: make("o.mp4", "-vf", "scale=97:65", "-pix_fmt", "yuv444p"),
        "96x64",
    ),
    "motion JPEG": (
        lambda make, *_: make("j.mov", "-c:v", "mjpeg", "-pix_fmt", "yuvj420p"),
        "96x64",
    ),
    "with transparency": (
        lambda make, *_: make("p.mov", "-c:v", "prores_ks", "-pix_fmt", "yuva444p10le"),
        "96x64",
    ),
    "of pixels that are not square": (lambda make, *_: make("s.mp4", "-vf", "setsar=2"), "192x64"),
    "in fragments": (
        lambda make, *_: make("f.mp4", "-movflags", "frag_keyframe+empty_moov"),
        "96x64",
    ),
    "with sound": (
        lambda make, *_: make("b.mp4", "-shortest", source=(*SOUND, *PICTURES)),
        "96x64",
    ),
    "interlaced": (lambda make, *_: make("i.mp4", "-x264-params", "tff=1"), "96x64"),
    "claiming 65535 x 65535": (lambda make, *_: claiming(make("a.mp4"), 65535, 65535), "96x64"),
    "claiming 0 x 0": (lambda make, *_: claiming(make("a.mp4"), 0, 0), "96x64"),
    "VP8": (lambda make, *_: make("8.webm", "-c:v", "libvpx"), "96x64"),
    "one frame": (lambda make, *_: make("1.mp4", "-frames:v", "1"), "96x64"),
}


@pytest.mark.parametrize("name", LEGAL)
def test_an_unusual_clip_is_decoded(send, ffmpeg, make, tmp_path, name):
    build, size = LEGAL[name]
    stored, error = send("video", build(make, ffmpeg, tmp_path))
    assert error is None
    assert size == size_of(stored, ffmpeg, tmp_path)


def size_of(stored, ffmpeg, folder):
    """The size of a clip that decodes from its beginning to its end, in plain 8 bit colours."""
    file = folder / "stored.mp4"
    file.write_bytes(stored)
    told = ffmpeg("-xerror", "-i", file, "-f", "framecrc", "-").decode()
    size = re.search(r"^#dimensions 0: (\d+x\d+)$", told, re.MULTILINE)[1]
    width, height = map(int, size.split("x"))
    frame = re.search(r"^0,[^,]*,[^,]*,[^,]*, *(\d+)", told, re.MULTILINE)[1]
    assert width * height * 3 // 2 == int(frame)
    return size


def box(kind, data):
    return struct.pack(">I", 8 + len(data)) + kind + data


FTYP = box(b"ftyp", b"isom\0\0\2\0isom")


def grown(data, path, change):
    """An MP4 with the box at `path` changed; the sizes of the boxes around it follow."""
    at = 0
    while at < len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        if kind == path[0]:
            inner = data[at + 8 : at + size]
            inner = grown(inner, path[1:], change) if len(path) > 1 else change(inner)
            return data[:at] + box(kind, inner) + data[at + size :]
        at += size
    raise AssertionError(path)


def pointing_at(data, kind, place):
    """The MP4, whose frames are said to lie in another file."""
    track = [b"moov", b"trak", b"mdia", b"minf", b"dinf", b"dref"]
    entry = box(kind, b"\0\0\0\0" + place)
    return grown(data, track, lambda _: b"\0\0\0\0\0\0\0\1" + entry)


def alias(path):
    """QuickTime's record of a file on a disk: its folder and name, then the whole path."""
    name = path.name.encode()
    head = bytes(10) + bytes(28) + bytes(12) + bytes([len(name)]) + name.ljust(63, b"\0")
    whole = str(path).encode()
    tail = struct.pack(">HHHH", 2, len(whole), 18, len(whole)) + whole + b"\xff\xff\0\0"
    return head + bytes(16) + struct.pack(">HH", 0, 0) + bytes(12) + tail


def claiming(data, width, height):
    """The MP4, of which both the track and the sample description claim this size."""
    return data.replace(struct.pack(">HH", 96, 64), struct.pack(">HH", width, height)).replace(
        struct.pack(">II", 96 << 16, 64 << 16),
        struct.pack(">II", min(width, 65535) << 16, min(height, 65535) << 16),
    )


def without_frames(make):
    data = make("f.mp4", "-movflags", "frag_keyframe+empty_moov")
    return data[: data.index(b"moof") - 4]


BAD = {
    "sound alone": lambda make: make("a.m4a", source=SOUND, common=()),
    "no frames": without_frames,
    "subtitles alone": lambda make: FTYP + box(b"moov", box(b"mvhd", bytes(100))),
    "an 8K frame in a few bytes": lambda make: make(
        "8k.mp4",
        "-preset",
        "ultrafast",
        source=("-f", "lavfi", "-i", "color=s=7680x4320:r=8"),
        common=("-frames:v", "2"),
    ),
    "4000 frames in a few bytes": lambda make: make(
        "long.mp4",
        "-preset",
        "ultrafast",
        source=("-f", "lavfi", "-i", "color=s=32x32:r=100"),
        common=("-frames:v", "4000"),
    ),
    "10000 frames a second": lambda make: make(
        "fast.mp4", "-vf", "setpts=N/10000/TB", "-r", "10000"
    ),
    "an uncommon codec": lambda make: make("q.mov", "-c:v", "qtrle", "-pix_fmt", "rgb24"),
    "raw pixels": lambda make: make("r.mov", "-c:v", "rawvideo", "-pix_fmt", "uyvy422"),
    "a GIF": lambda make: make("a.gif", common=("-frames:v", "9")),
    "an AVI": lambda make: make("a.avi"),
    "an MPEG transport stream": lambda make: make("a.ts"),
    "bare H.264": lambda make: make("a.h264"),
    "an Ogg": lambda make: b"OggS" + bytes(200),
    "boxes nested 10000 deep": lambda make: FTYP + struct.pack(">I4s", 2**31, b"moov") * 10_000,
    "a box of 2^63 bytes": lambda make: FTYP + struct.pack(">I4sQ", 1, b"moov", 2**63 - 1),
    "a million samples of nothing": lambda make: grown(
        make("a.mp4"),
        [b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsz"],
        lambda _: struct.pack(">III", 0, 1, 100_000_000),
    ),
    "a zip behind a box": lambda make: FTYP + b"PK\x03\x04" + bytes(500),
    "an index of EBML that never ends": lambda make: b"\x1a\x45\xdf\xa3\x01" + b"\xff" * 400,
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_clip_is_refused(refused, make, name):
    assert refused("video", BAD[name](make)) in ("invalid_video", "unsupported_value")


HLS = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{}\n#EXT-X-ENDLIST\n"
DASH = (
    '<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT2S">'
    '<Period><AdaptationSet mimeType="video/mp4"><Representation id="1" bandwidth="1">'
    "<BaseURL>{}</BaseURL></Representation></AdaptationSet></Period></MPD>"
)
LISTS = {
    "an HLS playlist": HLS,
    "an HLS playlist with a map": HLS.replace("#EXTINF", '#EXT-X-MAP:URI="{}"\n#EXTINF'),
    "a list for concat": "ffconcat version 1.0\nfile '{}'\n",
    "a list for concat without its name": "file '{}'\n",
    "a DASH manifest": DASH,
    "a session description": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\na=control:{}\n",
    "a list in XML": '<asx version="3.0"><entry><ref href="{}"/></entry></asx>',
    "a subtitle that sources a file": "WEBVTT\n\n00:00.000 --> 00:02.000\n{}\n",
}


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("kind", ["path", "file URL", "http URL"])
@pytest.mark.parametrize("head", [b"", FTYP])
def test_a_list_that_names_another_file_is_refused_and_that_file_is_left_alone(
    refused, bait, name, kind, head
):
    place = {"path": str(bait.path), "file URL": bait.path.as_uri(), "http URL": bait.url}[kind]
    assert refused("video", head + LISTS[name].replace("{}", place).encode()) == "invalid_video"


@pytest.mark.parametrize("kind", ["alias", "url", "http url"])
def test_a_clip_whose_frames_lie_in_another_file_does_not_get_them(send, make, bait, kind):
    plain = make("a.mp4")
    strange = {
        "alias": lambda: pointing_at(plain, b"alis", alias(bait.path)),
        "url": lambda: pointing_at(plain, b"url ", bait.path.as_uri().encode() + b"\0"),
        "http url": lambda: pointing_at(plain, b"url ", bait.url.encode() + b"\0"),
    }[kind]()
    send("video", strange)


def test_a_damaged_clip_is_refused_or_decoded(send, ffmpeg, make, mutate, tmp_path):
    bases = [
        make("a.mp4"),
        make("a.mp4", "-movflags", "+faststart"),
        make("f.mp4", "-movflags", "frag_keyframe+empty_moov"),
        make("8.webm", "-c:v", "libvpx"),
        make("j.mov", "-c:v", "mjpeg", "-pix_fmt", "yuvj420p"),
    ]
    for seed in range(ROUNDS):
        stored, error = send("video", mutate(bases[seed % len(bases)], seed, bases))
        assert error is not None or size_of(stored, ffmpeg, tmp_path), seed


NOISE = ("-f", "lavfi", "-i", "testsrc2=s=1920x1080:r=24,noise=alls=20:allf=t")
BUSY = ("-frames:v", "80", "-pix_fmt", "yuv420p", "-preset", "ultrafast", "-bf", "0")


def test_damage_at_the_end_of_a_long_clip_is_found_before_any_of_it_is_written(send, make):
    """Writing is what costs: a client must not make the service do it for nothing."""
    sound = make("long.mp4", *BUSY, "-b:v", "8M", source=NOISE, common=())
    end = sound.rindex(b"moov") - 20_000  # the frames lie before the index
    costs = {}
    for name, data in {
        "sound": sound,
        "damaged": sound[:end] + bytes(10_000) + sound[end + 10_000 :],
    }.items():
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        _, error = send("video", data)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert (error is None) == (name == "sound")
        costs[name] = after.ru_utime - before.ru_utime
    assert costs["damaged"] < costs["sound"] / 2, costs


def test_a_clip_that_would_take_too_long_to_read_is_told_so(send, make, monkeypatch):
    monkeypatch.setattr("app.clips.WRITE_CPU_S", 1)
    _, error = send("video", make("long.mp4", *BUSY, "-b:v", "8M", source=NOISE, common=()))
    assert error["message"] == "video takes too long to read; send a shorter or a smaller one."
