"""Small modules and rows for the tests of PyTorch modules; all are skipped without PyTorch."""

import pytest

torch = pytest.importorskip("torch")


@pytest.fixture(scope="session")
def rows():
    """1,003 rows, so that the last batch of an epoch is short; two classes."""
    X = torch.randn(1003, 20, generator=torch.Generator().manual_seed(0))
    return X, (X[:, :3].sum(1) > 0).long()
