import math

import pytest
import torch

from model.rope import axis_widths, rope_table, rotate
from model.shapes import TokenGrid

GRID = TokenGrid(t=3, h=4, w=5)


def turned(x, position, head_dim):
    """Every channel pair of one head's vector `x`, turned one at a time with plain arithmetic."""
    out, start = list(x), 0
    for place, channels in zip(position, axis_widths(head_dim), strict=True):
        for i in range(0, channels, 2):
            angle = place * 10_000.0 ** (-i / channels)
            a, b = x[start + i], x[start + i + 1]
            out[start + i] = a * math.cos(angle) - b * math.sin(angle)
            out[start + i + 1] = a * math.sin(angle) + b * math.cos(angle)
        start += channels
    return out


@pytest.mark.parametrize("head_dim", [6, 20, 32, 64, 128])
def test_the_axes_share_all_channels_of_a_head_in_pairs(head_dim):
    widths = axis_widths(head_dim)
    assert sum(widths) == head_dim
    assert all(width % 2 == 0 and width >= 2 for width in widths)


def test_each_token_is_turned_by_its_time_row_and_column():
    x = torch.randn(1, GRID.n, 2, 20, generator=torch.Generator().manual_seed(0))
    result = rotate(x, rope_table(GRID, 20))
    for n in (0, 7, 33, GRID.n - 1):
        position = (n // 20, n // 5 % 4, n % 5)
        expected = torch.tensor(turned(x[0, n, 1].tolist(), position, 20))
        torch.testing.assert_close(result[0, n, 1], expected, atol=1e-6, rtol=0)


def test_scores_depend_on_how_far_tokens_are_apart_and_not_on_where_they_are():
    generator = torch.Generator().manual_seed(1)
    q, k = (torch.randn(1, 1, 1, 32, generator=generator).expand(1, GRID.n, 1, 32) for _ in "qk")
    table = rope_table(GRID, 32)
    scores = torch.einsum("bnke,bmke->nm", rotate(q, table), rotate(k, table))
    scores = scores.view(*GRID, *GRID)
    torch.testing.assert_close(scores[0, 1, 1, 2, 3, 4], scores[0, 0, 0, 2, 2, 3])


def test_a_scale_of_one_half_puts_twice_the_grid_into_the_trained_range_of_space_not_time():
    full = rope_table(TokenGrid(3, 4, 5), 32).view(3, 4, 5, -1)
    halved = rope_table(TokenGrid(3, 8, 10), 32, scale=0.5).view(3, 8, 10, -1)
    torch.testing.assert_close(halved[:, ::2, ::2], full, atol=0, rtol=0)


def test_turning_keeps_lengths_dtype_and_lets_gradients_through():
    x = torch.randn(2, GRID.n, 3, 20, dtype=torch.bfloat16, requires_grad=True)
    y = rotate(x, rope_table(GRID, 20))
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.float().norm(), x.float().norm(), rtol=1e-2, atol=0)
    y.float().square().sum().backward()
    torch.testing.assert_close(x.grad.float(), 2 * x.float(), rtol=2e-2, atol=2e-2)
