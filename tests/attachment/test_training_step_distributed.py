"""`auto` in two processes that train one generator: both come to one k, from the mean of what both have seen."""

import socket

import pytest
import torch
import torch.multiprocessing as mp
from orders_worker import measures


@pytest.mark.filterwarnings("ignore")
def test_two_processes_choose_one_k(tmp_path):
    with socket.socket() as free:
        free.bind(("", 0))
        port = free.getsockname()[1]
    mp.spawn(measures, (port, tmp_path / "k.pt"), nprocs=2)
    (one, k), (other, also) = torch.load(tmp_path / "k.pt")
    assert abs(one - other) > 0.02  # by itself each would have chosen another
    assert k == also == pytest.approx((one + other) / 4, rel=1e-5)
