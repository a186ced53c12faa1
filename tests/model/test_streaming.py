import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load, save

from model.streaming import CausalConv3d, RMSNorm, Stream

CHUNKINGS = [(7,), (1, 6), (3, 3, 1), (1, 1, 1, 1, 1, 1, 1), (2, 1, 4)]


def frames(t=7, c=5, h=4, w=6):
    return torch.randn(2, t, h, w, c, generator=torch.Generator().manual_seed(0))


def convolution(kernel=(3, 3, 3), stride_t=1):
    torch.manual_seed(0)
    module = CausalConv3d(5, 7, kernel, stride_t)
    module.name = "conv"
    return module


@pytest.fixture(params=["with gradient", "without gradient"])
def gradient(request):
    with torch.set_grad_enabled(request.param == "with gradient"):
        yield


@pytest.mark.parametrize("chunks", CHUNKINGS)
@pytest.mark.parametrize("normed", [False, True])
def test_a_causal_convolution_in_chunks_is_one_over_the_frames_padded_before(
    gradient, chunks, normed
):
    conv, norm = convolution(), RMSNorm(5, 1, 1, 1)
    torch.nn.init.uniform_(norm.gamma, 0.5, 1.5)
    x = frames()
    stream = Stream()
    parts = [conv(part, stream, norm if normed else None) for part in x.split(chunks, 1)]
    seen = F.silu(norm(x)) if normed else x
    padded = F.pad(seen.permute(0, 4, 1, 2, 3), (1, 1, 1, 1, 2, 0))
    expected = F.conv3d(padded, conv.weight, conv.bias).permute(0, 2, 3, 4, 1)
    torch.testing.assert_close(torch.cat(parts, 1), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("chunks", CHUNKINGS)
def test_a_lean_stream_gives_the_same_and_holds_nothing_but_the_past(chunks):
    conv, x = convolution(), frames()
    stream, lean = Stream(), Stream(lean=True)
    with torch.no_grad():
        for part in x.split(chunks, 1):
            assert torch.equal(conv(part, stream), conv(part, lean))
    held = {past.untyped_storage().nbytes() for past in lean.past.values()}
    assert held == {x[:, :2].numel() * x.element_size()}


def test_bfloat16_is_convolved_where_onednn_refuses_it(gradient, monkeypatch):
    """As on a CPU without AVX-512: nothing is left undone, and float32 is what it is done in."""
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    narrow, x = convolution().bfloat16(), frames().bfloat16()
    wide = convolution().bfloat16().float()
    expected = wide(x.float(), Stream()).bfloat16()
    assert torch.equal(narrow(x, Stream()), expected)


def test_a_stream_may_go_on_without_gradient_and_with_it_again():
    conv, stream, x = convolution(), Stream(), frames()
    parts = []
    for i, part in enumerate(x.split(1, 1)):
        with torch.set_grad_enabled(i % 3 == 0):
            parts.append(conv(part, stream))
    expected = conv(x, Stream())
    torch.testing.assert_close(torch.cat(parts, 1), expected, atol=1e-5, rtol=0)


def test_frames_to_come_change_nothing_before_them(gradient):
    conv, x = convolution(), frames()
    early = conv(x, Stream())[:, :4]
    x[:, 4:] = 9
    torch.testing.assert_close(conv(x, Stream())[:, :4], early, atol=0, rtol=0)


def test_history_is_a_clone_that_holds_on_to_no_longer_chunk():
    conv, stream = convolution(), Stream()
    with torch.no_grad():
        conv(frames(7), stream)
    held = stream.past["conv"]
    assert held.shape[1] == 2
    assert held.untyped_storage().nbytes() == held.nbytes


@torch.no_grad()
def test_memory_does_not_grow_with_the_sequence():
    conv, stream = convolution(), Stream()
    sizes = set()
    for part in frames(12).split(1, 1):
        conv(part, stream)
        sizes.add(sum(held.untyped_storage().nbytes() for held in stream.past.values()))
    assert len(sizes) == 1


def test_a_whole_sequence_leaves_nothing_behind():
    stream = Stream(whole=True)
    convolution()(frames(), stream)
    assert stream.past == {}


@torch.no_grad()
def test_a_saved_stream_goes_on_bit_for_bit():
    conv, x = convolution(), frames()
    stream = Stream()
    conv(x[:, :3], stream)
    stream.frames = 3
    restored = Stream.from_tensors(load(save(stream.tensors())))
    assert restored.frames == 3
    assert torch.equal(conv(x[:, 3:], stream), conv(x[:, 3:], restored))


@torch.no_grad()
def test_a_saved_stream_does_not_change_when_the_stream_goes_on():
    conv, stream = convolution(), Stream()
    conv(frames(1), stream)
    saved = stream.tensors()
    kept = saved["past.conv"].clone()
    conv(frames(1) + 1, stream)
    assert torch.equal(saved["past.conv"], kept)


def test_parts_of_a_picture_have_histories_of_their_own():
    conv, stream, x = convolution(), Stream(), frames()
    left, right = x[..., :3, :], x[..., 3:, :]
    with torch.no_grad():
        expected = [conv(part, Stream()) for part in (left, right)]
        actual = []
        for place, part in (("left", left), ("right", right)):
            chunks = [conv(chunk, stream.at(place)) for chunk in part.split(2, 1)]
            actual.append(torch.cat(chunks, 1))
    torch.testing.assert_close(actual, expected, atol=1e-6, rtol=0)
    assert len(stream.past) == 2


@pytest.mark.parametrize("saved", [{}, {"frames": torch.tensor(1), "other": torch.zeros(1)}])
def test_something_that_is_no_saved_stream_is_refused(saved):
    with pytest.raises(ValueError, match="stream: the saved state must hold 'frames'"):
        Stream.from_tensors(saved)


def test_a_norm_into_given_memory_is_the_norm_and_silu():
    norm, x = RMSNorm(5, 1, 1, 1), frames(h=9)
    torch.nn.init.uniform_(norm.gamma, 0.5, 1.5)
    x[0, 0, 0] = 0
    with torch.no_grad():
        expected = F.silu(F.normalize(x, dim=-1) * 5**0.5 * norm.gamma.flatten())
        torch.testing.assert_close(norm.silu(x, torch.empty_like(x)), expected)
        torch.testing.assert_close(F.silu(norm(x)), expected)
