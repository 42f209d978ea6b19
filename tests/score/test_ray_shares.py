"""How workers on a cluster share a judge's requests in flight; the cluster is a stand-in."""

from __future__ import annotations

from unittest.mock import MagicMock

import pytest

from open_instruct_flip import FlipJudge
from open_instruct_flip.judging.on_ray import spread


@pytest.mark.parametrize(
    ("max_concurrency", "max_workers", "workers", "share"),
    [(2, 4, 2, 1), (10, 4, 4, 2), (8, 4, 4, 2), (1, 4, 1, 1), (256, 100, 16, 16)],
)
def test_workers_together_send_no_more_than_one_process_may(
    max_concurrency: int, max_workers: int, workers: int, share: int
) -> None:
    judge = FlipJudge("hosted_vllm/judge", "http://127.0.0.1:9/v1", max_concurrency=max_concurrency)
    ray = MagicMock()
    ray.cluster_resources.return_value = {"CPU": 16.0}
    spread(ray, [{}] * 100, object, lambda shared: (shared,), judge, max_workers)
    (shared,) = ray.data.from_items().map_batches.call_args.kwargs["fn_constructor_args"]
    assert ray.data.ActorPoolStrategy.call_args.kwargs["max_size"] == workers
    assert shared.client.config.max_concurrency == share
