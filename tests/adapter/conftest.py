import pytest
import torch


@pytest.fixture(scope="module")
def one_thread():
    """Several wait for each other longer than networks of the tests' size work."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
