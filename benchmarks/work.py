"""What a pass over rows cannot do without."""

from __future__ import annotations

import numpy as np
from scipy import sparse


def streamed_bytes(X: np.ndarray | sparse.csr_matrix, y: np.ndarray) -> int:
    """Bytes that one pass reads: values, of CSR also column numbers and row pointers, and a float32 target a row."""
    parts = (X.data, X.indices, X.indptr) if sparse.issparse(X) else (X,)
    return sum(part.nbytes for part in parts) + 4 * len(y)
