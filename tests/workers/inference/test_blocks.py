"""One-hot rows and floats side by side: the matrix that SciPy makes of the blocks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import sparse

from workers.inference.fast_path.blocks import OneHotRows, to_csr


def random_block(rng: np.random.Generator, rows: int) -> OneHotRows | np.ndarray:
    if rng.random() < 0.5:
        width = int(rng.integers(1, 9))
        least = rng.choice([-1, 0])  # with an unknown value, or without
        places = rng.integers(least, width, (rows, int(rng.integers(1, 4))))
        return OneHotRows(places.astype(np.int32), width)
    floats = rng.normal(size=(rows, int(rng.integers(0, 4)))).astype(rng.choice(["f4", "f8"]))
    if rng.random() < 0.7:
        floats[rng.random(floats.shape) < 0.3] = 0.0
        floats[rng.random(floats.shape) < 0.1] = -0.0
        floats[rng.random(floats.shape) < 0.1] = np.nan
    return floats


def by_scipy(block: OneHotRows | np.ndarray) -> Any:
    """Return the block as CSR, with an entry for each place, also of the same column."""
    if not isinstance(block, OneHotRows):
        return sparse.csr_matrix(block)
    row, column = np.nonzero(block.places >= 0)
    ones = np.ones(len(row))
    shape = len(block.places), block.width
    return sparse.coo_matrix((ones, (row, block.places[row, column])), shape)


def entries(matrix: Any) -> list[tuple[int, int, bytes]]:
    coo = matrix.tocoo()
    return sorted(
        (int(row), int(column), np.float64(value).tobytes())
        for row, column, value in zip(coo.row, coo.col, coo.data, strict=True)
    )


@pytest.mark.parametrize("seed", range(100))
def test_blocks_are_put_side_by_side_without_zeros(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = int(rng.choice([1, 2, 50]))
    blocks = [random_block(rng, rows) for _ in range(rng.integers(1, 4))]
    matrix = to_csr(blocks, rows)
    expected = sparse.hstack([by_scipy(block) for block in blocks])
    assert matrix.shape == expected.shape
    assert entries(matrix) == entries(expected)
    assert matrix.indptr.dtype == matrix.indices.dtype == np.int32
    assert matrix.indptr[0] == 0 and matrix.indptr[-1] == len(matrix.data) == len(matrix.indices)
