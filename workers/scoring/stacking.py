"""Put the blocks of a ColumnTransformer side by side, as it does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from scipy.sparse import csr_matrix


def hstack(transformer: Any, blocks: Sequence[Any], rows: int) -> Any:
    """Return what ColumnTransformer.transform makes of its transformers' outputs."""
    import numpy as np
    from scipy import sparse

    transformer._validate_output(blocks)
    if not blocks:
        return np.zeros((rows, 0))
    if not transformer.sparse_output_ or not any(map(_is_csr, blocks)):
        return transformer._hstack(list(blocks), n_samples=rows)
    if not all(_is_csr(b) or _is_float_array(b) for b in blocks):
        return transformer._hstack(list(blocks), n_samples=rows)
    # SciPy puts CSR blocks together row by row. ColumnTransformer leaves dense ones among them, for
    # which SciPy lists and sorts the entries of all blocks: the same matrix at a higher cost.
    return sparse.hstack([b if _is_csr(b) else to_csr(b) for b in blocks]).tocsr()


def to_csr(array: np.ndarray) -> csr_matrix:
    """Return a float array as CSR without its zeros, in the order of its columns."""
    import numpy as np
    from scipy import sparse

    rows, columns = array.shape
    there = array != 0  # NaN is, and -0.0 is not
    indptr = np.zeros(rows + 1, np.int32)
    np.cumsum(there.sum(axis=1), out=indptr[1:])
    indices = np.broadcast_to(np.arange(columns, dtype=np.int32), array.shape)[there]
    return sparse.csr_matrix((array[there], indices, indptr), shape=array.shape, copy=False)


def _is_csr(block: Any) -> bool:
    from scipy import sparse

    return sparse.issparse(block) and block.format == "csr"


def _is_float_array(block: Any) -> bool:
    import numpy as np

    return isinstance(block, np.ndarray) and block.dtype in (np.float64, np.float32)
