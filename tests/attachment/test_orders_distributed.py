"""Every order of attaching, compiling and wrapping for two processes: the same numbers as one process, or a refusal."""

import pytest
import torch
import torch.multiprocessing as mp
from orders_worker import EXACT, EXPECTED, alone, work


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """All orders in one pair of processes: what costs most is to start them."""
    folder = tmp_path_factory.mktemp("orders")
    mp.spawn(work, (folder / "store", folder / "outcomes.pt"), nprocs=2)
    return torch.load(folder / "outcomes.pt")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("order", "kind"), EXPECTED, ids=lambda text: text.replace(", ", "-").replace(" ", "_"))
def test_exact_or_refused(order, kind, outcomes):
    found, expected = outcomes[order, kind], EXPECTED[order, kind]
    if "fsdp2" in order and "'Stream' object has no attribute 'record_event'" in str(found):
        pytest.skip("the FSDP2 of torch 2.6 does not run on CPUs")
    if expected == EXACT:
        assert isinstance(found, torch.Tensor), found
        assert torch.allclose(found, alone(kind), atol=1e-6)
    else:
        assert isinstance(found, str) and expected in found
