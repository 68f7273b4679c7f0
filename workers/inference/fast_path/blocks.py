"""Put the blocks of a ColumnTransformer side by side, as it does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    import numpy as np
    from scipy.sparse import csr_matrix


@dataclass(frozen=True, slots=True)
class OneHotRows:
    """A OneHotEncoder's output for n rows of k columns, before it is a matrix.

    `places` is n x k: the column of the row's 1.0 within the block's `width`, or -1 if the value is
    unknown.
    """

    places: np.ndarray
    width: int
    ndim: ClassVar[int] = 2  # ColumnTransformer looks at it


def to_matrix(block: Any) -> Any:
    """Return a block as scikit-learn represents it."""
    return to_csr([block], len(block.places)) if isinstance(block, OneHotRows) else block


def hstack(transformer: Any, blocks: Sequence[Any], rows: int) -> Any:
    """Return what ColumnTransformer.transform makes of its transformers' outputs."""
    import numpy as np
    from scipy import sparse

    transformer._validate_output(blocks)
    if not blocks:
        return np.zeros((rows, 0))
    if transformer.sparse_output_ and _with_floats(blocks, _is_one_hot):
        return to_csr(blocks, rows)
    blocks = [to_matrix(b) for b in blocks]
    if not transformer.sparse_output_ or not _with_floats(blocks, _is_csr):
        return transformer._hstack(blocks, n_samples=rows)
    # SciPy puts CSR blocks together row by row. ColumnTransformer leaves dense ones among them, for
    # which SciPy lists and sorts the entries of all blocks: the same matrix at a higher cost.
    return sparse.hstack([b if _is_csr(b) else to_csr([b], rows) for b in blocks]).tocsr()


def to_csr(blocks: Sequence[OneHotRows | np.ndarray], rows: int) -> csr_matrix:
    """Return float arrays and one-hot rows side by side as CSR, without zeros.

    The entries of a row are in the order of their columns.
    """
    import numpy as np
    from scipy import sparse

    kinds = [np.float64 if isinstance(b, OneHotRows) else b.dtype for b in blocks]
    entries = sum(b.places.shape[1] if isinstance(b, OneHotRows) else b.shape[1] for b in blocks)
    data = np.empty((rows, entries), np.result_type(*kinds))
    indices = np.empty((rows, entries), np.int32)
    start = width = 0
    for block in blocks:
        if isinstance(block, OneHotRows):
            end = start + block.places.shape[1]
            data[:, start:end] = block.places >= 0
            indices[:, start:end] = block.places + width
            width += block.width
        else:
            end = start + block.shape[1]
            data[:, start:end] = block
            indices[:, start:end] = np.arange(width, width + block.shape[1])
            width += block.shape[1]
        start = end
    indptr = np.arange(rows + 1, dtype=np.int32) * entries
    zeros = np.flatnonzero(data == 0)  # -0.0 is one, and NaN is not
    if len(zeros):
        indptr[1:] -= np.cumsum(np.bincount(zeros // entries, minlength=rows))
        data, indices = np.delete(data, zeros), np.delete(indices, zeros)
    return sparse.csr_matrix((data.ravel(), indices.ravel(), indptr), (rows, width), copy=False)


def _with_floats(blocks: Sequence[Any], is_kind: Callable[[Any], bool]) -> bool:
    """Return whether some blocks are of the kind, and all others are float arrays."""
    return any(map(is_kind, blocks)) and all(is_kind(b) or _is_float_array(b) for b in blocks)


def _is_one_hot(block: Any) -> bool:
    return isinstance(block, OneHotRows)


def _is_csr(block: Any) -> bool:
    from scipy import sparse

    return sparse.issparse(block) and block.format == "csr"


def _is_float_array(block: Any) -> bool:
    import numpy as np

    return isinstance(block, np.ndarray) and block.dtype in (np.float64, np.float32)
