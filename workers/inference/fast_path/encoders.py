"""Fitted encoders of scikit-learn on Arrow columns: strings become codes without Python strings.

An encoder's `transform` has two halves. The first maps each value to the code of its category,
one Python string at a time: Arrow does that half here. The second turns the codes into a matrix
(dropped and infrequent categories, dtype, layout): scikit-learn's own code does that half.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from mlsys.columns.features import UNKNOWN, Feature
from workers.inference.fast_path.blocks import OneHotRows
from workers.inference.fast_path.scikit import FallBack, NotCompiled, stand_in

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa


def is_text(feature: Feature) -> bool:
    """Tell whether the model sees the feature as strings, and as NaN or None where it is NULL."""
    if feature.type != "STRING":
        return False
    if feature.dtype == "category":
        return all(isinstance(c, str) for c in feature.categories or ())
    return feature.dtype in ("str", "object", UNKNOWN)


def missing_value(feature: Feature) -> float | None:
    """Return what the model gets for a NULL of a text feature; see `mlsys.columns.frames`."""
    if feature.dtype == "object" and feature.missing == "na":
        raise NotCompiled(f"{feature.name} has pd.NA for a missing value")
    return None if feature.dtype == "object" and feature.missing == "none" else float("nan")


class Lookup:
    """The category code of each value of a text column, -1 for a value without a category."""

    def __init__(self, feature: Feature, categories: np.ndarray, fill: str | None = None) -> None:
        """Build the table of codes; `fill` is what an imputer before the encoder puts for a NULL.

        Raises:
            NotCompiled: a category is neither text nor missing.
        """
        import numpy as np
        import pyarrow as pa
        from sklearn.utils._missing import is_scalar_nan

        self.name = feature.name
        codes: dict[str | None, int] = {}
        null = -1
        spelling = missing_value(feature)
        for code, category in enumerate(categories):
            if isinstance(category, str):
                codes[str(category)] = code
            elif category is None or is_scalar_nan(category):
                # None and NaN are two categories (sklearn.utils._encode._extract_missing).
                null = code if (category is None) == (spelling is None) else null
            else:
                raise NotCompiled(f"the category {category!r} of {feature.name} is not text")
        null = null if fill is None else codes.get(fill, -1)
        texts, other = list(codes), -1
        if feature.dtype == "category":  # a value not seen in training is missing
            texts, other = list(feature.categories or ()), null
        try:
            self._texts = pa.array([*texts, None], pa.string())
        except UnicodeEncodeError as exc:  # a lone surrogate, which Python's strings can hold
            raise NotCompiled(f"a category of {feature.name} is not valid Unicode") from exc
        self._codes = np.array([*(codes.get(text, -1) for text in texts), null, other], np.int64)

    def codes(self, column: pa.ChunkedArray) -> np.ndarray:
        """Return the n codes of a column of n values: texts, or a dictionary of them."""
        import numpy as np
        import pyarrow as pa

        if not pa.types.is_dictionary(column.type):
            return self._codes_of(column)
        codes = [
            np.append(self._codes_of(chunk.dictionary), self._codes[-2]).take(
                chunk.indices.fill_null(len(chunk.dictionary)).to_numpy()
            )
            for chunk in column.chunks
        ]
        return codes[0] if len(codes) == 1 else np.concatenate(codes)

    def _codes_of(self, texts: pa.Array | pa.ChunkedArray) -> np.ndarray:
        import pyarrow.compute as pc

        matches = pc.index_in(texts, value_set=self._texts)  # NULL matches the last but one code
        places = pc.fill_null(matches, len(self._codes) - 1)
        return self._codes.take(places.to_numpy())


class NumberLookup:
    """The same for a column that is not text, by scikit-learn's own code on this one column."""

    def __init__(self, encoder: Any, i: int, name: str) -> None:
        self.name = name
        more = {"feature_names_in_": encoder.feature_names_in_[[i]]} if _named(encoder) else {}
        self._handle_unknown = "error" if encoder.handle_unknown == "error" else "ignore"
        self._encoder = stand_in(
            encoder,
            categories_=[encoder.categories_[i]],
            n_features_in_=1,
            _infrequent_enabled=False,  # the second half handles them
            **more,
        )

    def codes(self, column: pd.DataFrame) -> np.ndarray:
        """Return the codes of a frame of one column; -1 for a value without a category.

        Raises:
            ValueError: infinity, or an unknown value where the encoder allows none.
        """
        import numpy as np

        codes, valid = self._encoder._transform(
            column, handle_unknown=self._handle_unknown, ensure_all_finite="allow-nan"
        )
        return np.where(valid[:, 0], codes[:, 0], -1)


def lookups(
    encoder: Any, features: Sequence[Feature], fills: Sequence[str | None]
) -> list[Lookup | NumberLookup]:
    """Return the lookup of each column of a fitted OneHotEncoder or OrdinalEncoder.

    Raises:
        NotCompiled: a category is neither text nor a number.
    """
    out: list[Lookup | NumberLookup] = []
    for i, (feature, fill) in enumerate(zip(features, fills, strict=True)):
        categories = encoder.categories_[i]
        if is_text(feature) and categories.dtype.kind in "OU":
            out.append(Lookup(feature, categories, fill))
        elif feature.type in ("INT64", "FLOAT64", "BOOL"):
            out.append(NumberLookup(encoder, i, feature.name))
        else:
            raise NotCompiled(f"{feature.name} is {feature.type} as {feature.dtype}")
    return out


def encode(encoder: Any, columns: Sequence[Callable[[], np.ndarray]], rows: int) -> Any:
    """Return what `encoder.transform` makes of columns whose codes these functions give.

    Raises:
        FallBack: a value is unknown, and the encoder allows none.
    """
    import numpy as np

    plain = _is_plain_one_hot(encoder)
    codes = np.empty((rows, len(columns)), np.int32 if plain else np.int64)
    for i, column in enumerate(columns):
        codes[:, i] = column()
    valid = codes >= 0
    if plain:
        if encoder.handle_unknown == "error" and not valid.all():
            raise FallBack("a value is unknown to the encoder")
        sizes = [len(categories) for categories in encoder.categories_]
        codes += np.cumsum([0, *sizes[:-1]], dtype=np.int32)
        codes[~valid] = -1
        return OneHotRows(codes, sum(sizes))
    codes[~valid] = 0  # as _BaseEncoder._transform has it for an unknown value

    def first_half(X: Any, handle_unknown: str = "error", **options: Any) -> tuple[Any, Any]:
        if handle_unknown == "error" and not valid.all():
            raise FallBack("a value is unknown to the encoder")
        ignored = options.get("ignore_category_indices")
        encoder._map_infrequent_categories(codes, valid, ignored)
        return codes, valid

    return stand_in(encoder, _transform=first_half).transform(None)


def _is_plain_one_hot(encoder: Any) -> bool:
    """Return whether each category simply has a column (_encoders.OneHotEncoder.transform)."""
    import numpy as np
    from sklearn.preprocessing import OneHotEncoder

    return (
        type(encoder) is OneHotEncoder
        and encoder.drop_idx_ is None
        and not encoder._infrequent_enabled
        and encoder.sparse_output
        and np.dtype(encoder.dtype) == np.float64
    )


def _named(encoder: Any) -> bool:
    return hasattr(encoder, "feature_names_in_")
