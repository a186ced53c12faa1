"""Memory that is counted without data."""

import torch
import torch.nn.functional as F

from model.footprint import peak_bytes

KIB = 1024


def floats(kib):
    return torch.empty(kib * KIB // 4, device="meta")


def test_what_is_alive_at_once_is_counted_and_what_is_returned_apart():
    def run():
        first = floats(8)
        second = first + 1
        del first
        third = second * 2
        del second
        return third[:256]

    assert (16 * KIB, 8 * KIB) == peak_bytes(run)


def test_views_and_work_in_place_take_nothing_and_what_was_there_before_is_not_counted():
    x, y = floats(8), torch.empty(64, 64, device="meta")

    def run():
        x.add_(1).view(2, -1).transpose(0, 1).mul_(3)
        torch.add(y, y, out=y)

    assert (0, 0) == peak_bytes(run)


def test_attention_keeps_its_result_and_no_scores():
    q = torch.empty(1, 2, 4096, 32, device="meta")
    assert (q.nbytes, q.nbytes) == peak_bytes(lambda: F.scaled_dot_product_attention(q, q, q))


def test_what_a_run_leaves_alive_is_no_longer_counted_in_the_next():
    kept = []
    first = peak_bytes(lambda: kept.append(floats(8)))
    assert first == peak_bytes(lambda: kept.append(floats(8)))
