import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """Debug-size tensors gain nothing from a second thread, and on a busy machine the threads wait for one another."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
