"""The last features of each label against a queue of Python's own."""

from __future__ import annotations

from collections import deque

import pytest
import torch

from labelwise.blending import FeatureQueue


@pytest.mark.parametrize(("size", "batch"), [(1, 3), (4, 3), (5, 12), (100, 6)])
def test_it_keeps_the_last_of_each_label(size: int, batch: int, seeded: torch.Generator) -> None:
    labels, dim = 4, 2
    queue, slow = FeatureQueue(labels, dim, size), [deque(maxlen=size) for _ in range(labels)]
    for _ in range(15):
        features = torch.randn(batch, labels, dim, generator=seeded)
        present = torch.rand(batch, labels, generator=seeded) < torch.tensor([0.0, 0.2, 0.6, 1.0])
        queue.put(features, present)
        for i in range(batch):
            for label in range(labels):
                if present[i, label]:
                    slow[label].append(features[i, label])
        assert queue.filled.tolist() == [len(rows) for rows in slow]
        for label, rows in enumerate(slow):
            kept = {tuple(row.tolist()) for row in queue.rows[label, : len(rows)]}
            assert kept == {tuple(row.tolist()) for row in rows}
            mean = torch.stack(list(rows) or [torch.zeros(dim)]).mean(0)
            torch.testing.assert_close(queue.mean()[label], mean)


def test_a_saved_queue_goes_on(seeded: torch.Generator) -> None:
    one, other = FeatureQueue(2, 3, 4), FeatureQueue(2, 3, 4)
    present = torch.tensor([[True, False], [True, True]])
    one.put(torch.randn(2, 2, 3), present)
    other.load_state_dict(one.state_dict(), strict=True)
    more = torch.randn(2, 2, 3)
    for queue in (one, other):
        queue.put(more, present)
        queue.put(more + 1, present)
    assert torch.equal(one.rows, other.rows)
    assert torch.equal(one.next, other.next)
