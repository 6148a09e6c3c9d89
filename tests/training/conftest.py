import pytest
import torch


@pytest.fixture
def one_thread():
    """Torch on one thread, as in a worker, so that runs repeat bit for bit."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
