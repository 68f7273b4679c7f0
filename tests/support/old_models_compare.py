"""Compare the answers of an older scikit-learn's models here with those of that release.

`tests/support/old_models_dump.py` writes the models. mlsys loads each one as scoring does with
`allow_version_mismatch`, and by Python's own unpickler, and both predict the same rows:

- `equal`: the answers are those of the older release, within 1e-9;
- `not loaded`: `load_model` refuses it;
- `refused, raises` and `refused, other`: it loads, a method raises or answers differently, and
  `check_release` refuses it at registration and when a run is planned;
- `refused, equal`: `check_release` refuses it although all answers are equal;
- `RAISES` and `OTHER`: it raises or answers differently, and nothing warns beforehand.

`also scikit-learn` is added where Python's own unpickler gives the same result.
"""

from __future__ import annotations

import pickle
import sys
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from mlsys.artifact.loading import load_model
from mlsys.errors import ModelUnusable
from old_models_dump import plain, read_rows
from workers.inference.verdict import check_release


def differences(model: Any, data: Any, then: dict[str, np.ndarray]) -> dict[str, str]:
    """Return the differences by method: an exception, or how far the answers are apart."""
    found = {}
    for method, expected in then.items():
        try:
            answers = plain(getattr(model, method)(data))
        except Exception as exc:
            found[method] = f"raises {type(exc).__name__}: {str(exc)[:150]}"
            continue
        if answers.shape != expected.shape:
            found[method] = f"other shape {answers.shape} for {expected.shape}"
        elif expected.dtype.kind in "US":
            if (share := np.mean(answers.astype(str) != expected)) > 0:
                found[method] = f"other in {share:.0%}"
        elif not np.allclose(answers, expected, rtol=1e-9, atol=1e-9, equal_nan=True):
            apart = np.abs(np.asarray(answers, float) - expected)
            found[method] = f"other by {np.nanmax(apart):.3g}, {np.mean(apart > 1e-9):.0%}"
    return found


def classify(content: bytes, data: Any, then: dict[str, np.ndarray]) -> tuple[str, str]:
    """Return the class of a model, and the differences or the refusal's text."""
    try:
        plainly: Any = differences(pickle.loads(content), data, then)  # trusted: just dumped
    except Exception as exc:
        plainly = f"{type(exc).__name__}: {str(exc)[:150]}"
    try:
        loaded = load_model(content)
    except ModelUnusable as exc:
        return f"not loaded{', also scikit-learn' if isinstance(plainly, str) else ''}", str(exc)
    here = differences(loaded.model, data, then)
    raises = any(v.startswith("raises") for v in here.values())
    kind = "raises" if raises else "other" if here else "equal"
    detail = "; ".join(f"{method} {v}" for method, v in here.items())
    try:
        check_release(loaded)
        kind = kind.upper() if here else kind
    except ModelUnusable as exc:
        kind, detail = f"refused, {kind}", str(exc)
    return f"{kind}{', also scikit-learn' if plainly == here != {} else ''}", detail


def main(folder: Path) -> None:
    """Print the models that do not answer as they did, and the number of models in each class."""
    counts: Counter[str] = Counter()
    for path in sorted(folder.glob("*.pickle")):
        data = read_rows(path.with_suffix(".rows.json").read_text())
        with np.load(path.with_suffix(".npz")) as held:
            then = {name: held[name] for name in held.files}
        kind, detail = classify(path.read_bytes(), data, then)
        counts[kind] += 1
        if kind != "equal":
            print(f"{path.stem}: {kind}: {detail}", flush=True)
    print(*(f"{n:4} {kind}" for kind, n in counts.most_common()), sep="\n")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(Path(sys.argv[1]))
