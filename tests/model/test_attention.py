import math

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from model import attention
from model.attention import Attention, attend, attend_by_parts
from model.rope import rope_table
from model.shapes import TokenGrid


def tensors(*shapes, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=generator).to(dtype) for shape in shapes]


def softmax_attention(q, k, v):
    """The textbook formula in float64, head by head, for (b n k e) tensors."""
    q, k, v = (x.double() for x in (q, k, v))
    scores = torch.einsum("bnke,blke->bknl", q, k) / math.sqrt(q.shape[-1])
    return torch.einsum("bknl,blke->bnke", scores.softmax(-1), v).flatten(2)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.bfloat16, 2e-2)])
def test_attention_is_the_softmax_of_scaled_products_over_all_keys(dtype, tolerance):
    q, k, v = tensors((2, 9, 3, 20), (2, 13, 3, 20), (2, 13, 3, 20), dtype=dtype)
    expected = softmax_attention(q, k, v)
    actual = attend(q, k, v)
    assert actual.dtype == dtype
    assert (actual.double() - expected).norm() <= tolerance * expected.norm()


@pytest.mark.parametrize("scores_at_a_time", [1, 13, 40, 150, 10**6])
def test_attention_by_parts_is_the_same_however_few_scores_fit(monkeypatch, scores_at_a_time):
    monkeypatch.setattr(attention, "CACHED_SCORES", scores_at_a_time)
    q, k, v = tensors((2, 9, 3, 20), (2, 13, 3, 20), (2, 13, 3, 20))
    expected = softmax_attention(q, k, v)
    actual = attend_by_parts(*(x.transpose(1, 2) for x in (q, k, v))).transpose(1, 2).flatten(2)
    torch.testing.assert_close(actual.double(), expected, atol=1e-6, rtol=0)


def test_attention_by_parts_never_holds_more_scores_than_fit(monkeypatch):
    monkeypatch.setattr(attention, "CACHED_SCORES", 40)
    held = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            if func is torch.ops.aten._softmax.default:
                held.append(out.numel())
            return out

    with Watch():
        attend_by_parts(
            *(x.transpose(1, 2) for x in tensors((2, 9, 3, 20), (2, 13, 3, 20), (2, 13, 3, 20)))
        )
    assert sum(held) == 2 * 3 * 9 * 13
    assert max(held) <= 40


def test_attention_by_parts_has_the_derivatives_of_its_formula(monkeypatch):
    monkeypatch.setattr(attention, "CACHED_SCORES", 10)
    q, k, v = (
        x.double().requires_grad_() for x in tensors((1, 2, 4, 6), (1, 2, 5, 6), (1, 2, 5, 6))
    )
    assert torch.autograd.gradcheck(attend_by_parts, (q, k, v))


def test_queries_and_keys_are_normalised_over_all_heads_together():
    module = Attention(dim=40, heads=2, eps=1e-6)
    x, table = torch.randn(1, 6, 40), rope_table(TokenGrid(1, 2, 3), 20)
    expected = module.to_self(x, table)
    for linear in (module.to_q, module.to_k):
        linear.weight.data *= 3
        linear.bias.data *= 3
    torch.testing.assert_close(module.to_self(x, table), expected)
    module.to_k.weight.data[:20] *= 3  # one head alone: no common factor any more
    assert (module.to_self(x, table) - expected).abs().max() > 1e-3


def test_text_and_image_are_attended_to_apart_and_added():
    module = Attention(dim=40, heads=2, eps=1e-6, image_dim=40)
    x, text, image = torch.randn(1, 6, 40), torch.randn(1, 5, 40), torch.randn(1, 7, 40)
    module.to_out[0].bias.data.zero_()
    text_kv, image_kv = module.text_context(text), module.image_context(image)
    both = module.to_context(x, text_kv, image_kv)
    parts = module.to_context(x, text_kv, None) + module.to_context(x, image_kv, None)
    torch.testing.assert_close(both, parts, atol=1e-5, rtol=0)
