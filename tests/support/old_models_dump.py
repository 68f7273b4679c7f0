"""Dump fitted models of an older scikit-learn together with that release's answers.

It imports nothing from mlsys, so that it runs in an environment of the older release:

    uv venv /tmp/old --python 3.12
    uv pip install -p /tmp/old scikit-learn==1.5.2 "numpy<2.4" "scipy<1.17" "pandas<3"
    /tmp/old/bin/python tests/support/old_models_dump.py /tmp/dumps/1.5.2 [name ...]
    PYTHONPATH=lib:. python tests/support/old_models_compare.py /tmp/dumps/1.5.2

It writes `{name}.pickle`, `{name}.rows.json` and the answers by method, `{name}.npz`.
`tests/support/old_models_compare.py` reports which answers differ.
"""

from __future__ import annotations

import json
import pickle
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

METHODS = ("predict", "predict_proba", "decision_function", "transform", "score_samples")
ROWS = 90


def rows() -> dict[str, Any]:
    """Return the rows to fit models on, by kind."""
    random = np.random.RandomState(0)
    numbers = random.rand(ROWS, 3)
    holes = numbers.copy()
    holes[::7, 0] = np.nan
    words = random.choice(["red", "green", "blue"], ROWS)
    mixed = pd.DataFrame({"a": numbers[:, 0], "b": numbers[:, 1], "word": words.astype(object)})
    gaps = mixed.copy()
    gaps.loc[::9, "a"] = np.nan
    gaps.loc[::11, "word"] = None
    return {
        "numbers": numbers,
        "holes": holes,
        "mixed": mixed,
        "gaps": gaps,
        "frame": pd.DataFrame(numbers, columns=["a", "b", "c"]),
        "words": pd.DataFrame({"word": words.astype(object), "other": words[::-1].astype(object)}),
        "gappy": gaps[["word"]],
        "text": [f"{w} and {v}" for w, v in zip(words, words[::-1], strict=True)],
        "dicts": [{"word": w, "x": float(x)} for w, x in zip(words, numbers[:, 0], strict=True)],
        **dict.fromkeys(("three", "pairs", "plane", "planes"), numbers),
        "single": numbers[:, 0],
        "labels": ["a" if x < 0.5 else "b" for x in numbers[:, 0]],
        "codes": np.hstack([np.floor(numbers[:, :1] * 4), numbers[:, 1:]]),
    }


def write_rows(data: Any) -> str:
    """Return the rows as JSON, exact in every bit."""
    if isinstance(data, pd.DataFrame):
        empty = data.astype(object).where(data.notna(), None)
        return json.dumps({"frame": empty.to_dict("list")})
    return json.dumps({"array": data.tolist()} if isinstance(data, np.ndarray) else {"list": data})


def read_rows(text: str) -> Any:
    """Return the rows that `write_rows` wrote."""
    held = json.loads(text)
    if "frame" in held:
        frame = pd.DataFrame()
        for name, values in held["frame"].items():
            words = any(isinstance(v, str) for v in values)
            kind = object if words else float
            frame[name] = pd.Series(values, dtype=kind)
        return frame
    return np.array(held["array"], dtype=float) if "array" in held else held["list"]


def ask(model: Any, data: Any) -> dict[str, np.ndarray]:
    """Return the answers by method; those of a method that raises are left out."""
    found = {}
    for method in METHODS:
        if hasattr(model, method):
            try:
                found[method] = plain(getattr(model, method)(data))
            except Exception:
                continue
    return found


def plain(answers: Any) -> np.ndarray:
    """Return answers as one array of floats or of texts."""
    if hasattr(answers, "toarray"):
        answers = answers.toarray()
    if isinstance(answers, list) and answers and hasattr(answers[0], "shape"):
        answers = np.hstack([np.asarray(a) for a in answers])
    array = np.asarray(answers)
    if array.dtype == object or array.dtype.kind in "US":
        return np.array([str(v) for v in array.ravel()], dtype=str).reshape(array.shape)
    return array


def single() -> Iterator[tuple[str, Any, str]]:
    """Yield each estimator of the release with its defaults, and the rows it may fit."""
    from sklearn.base import is_classifier
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.utils import all_estimators

    for name, kind in all_estimators():
        for data in ("numbers", "words", "text", "dicts", "labels"):
            try:
                model = kind()
            except TypeError:
                inner = Ridge() if "Regress" in name else LogisticRegression()
                for args in ((inner,), ([("a", inner), ("b", inner)],), (inner, {"alpha": [1, 2]}),
                             (inner, {"C": [1, 2]})):  # fmt: skip
                    try:
                        model = kind(*args)
                        is_classifier(model)
                        break
                    except Exception:
                        continue
                else:
                    break
            small = {"n_estimators": 5, "max_iter": 30, "n_init": 1}
            with_these = {k: v for k, v in small.items() if k in model.get_params(deep=False)}
            if name not in ("TSNE", "MLPClassifier", "MLPRegressor"):
                model.set_params(**with_these)
            yield f"{name}-{data}", model, data


def composed() -> Iterator[tuple[str, Any, str]]:
    """Yield pipelines and settings that people use, with their rows."""
    from sklearn import (
        compose,
        ensemble,
        feature_extraction,
        impute,
        linear_model,
        model_selection,
        naive_bayes,
        neighbors,
        pipeline,
        preprocessing,
        svm,
        tree,
    )

    lr, scale = linear_model.LogisticRegression, preprocessing.StandardScaler
    encode, fill = preprocessing.OneHotEncoder, impute.SimpleImputer
    pipe, columns = pipeline.make_pipeline, compose.make_column_transformer
    hgb, hgbr = ensemble.HistGradientBoostingClassifier, ensemble.HistGradientBoostingRegressor
    gb, gbr = ensemble.GradientBoostingClassifier, ensemble.GradientBoostingRegressor
    word, ab = ["word"], ["a", "b"]

    def mixed(last: Any, **options: Any) -> Any:
        encoder = encode(handle_unknown="ignore")
        parts = ((pipe(fill(), scale()), ab), (pipe(fill(strategy="most_frequent"), encoder), word))
        return pipe(columns(*parts, **options), last)

    for name, last in {
        "lr": lr(), "forest": ensemble.RandomForestClassifier(5, random_state=0),
        "hgb": hgb(max_iter=5), "gb": gb(n_estimators=5), "svc": svm.SVC(),
        "knn": neighbors.KNeighborsClassifier(), "tree": tree.DecisionTreeClassifier(),
        "ridge": linear_model.Ridge(), "gbr": gbr(n_estimators=5),
        "sgd": linear_model.SGDClassifier(), "ada": ensemble.AdaBoostClassifier(n_estimators=3),
        "calibrated": __import__("sklearn.calibration").calibration.CalibratedClassifierCV(lr()),
        "grid": model_selection.GridSearchCV(lr(), {"C": [1, 2]}, scoring="roc_auc"),
        "random": model_selection.RandomizedSearchCV(lr(), {"C": [1.0, 2.0]}, n_iter=2),
        "stack": ensemble.StackingClassifier([("a", lr()), ("b", tree.DecisionTreeClassifier())]),
        "vote": ensemble.VotingClassifier([("a", lr()), ("b", naive_bayes.GaussianNB())]),
        "bag": ensemble.BaggingClassifier(lr(), 3),
    }.items():  # fmt: skip
        yield f"pipeline-{name}", mixed(last), "gaps"
    yield "remainder-step", pipe(columns((scale(), ab), remainder=encode()), lr()), "mixed"
    yield "remainder-pass", pipe(columns((encode(), word), remainder="passthrough"), lr()), "mixed"
    yield "remainder-drop", pipe(columns((encode(), word)), lr()), "mixed"
    yield "selector", pipe(columns(
        (scale(), compose.make_column_selector(dtype_include=np.number)),
        (encode(), compose.make_column_selector(dtype_include=object)),
    ), lr()), "mixed"  # fmt: skip
    yield "frames", mixed(lr()), "mixed"
    yield "set-output", pipe(columns((scale(), ab)).set_output(transform="pandas"), lr()), "mixed"
    yield "union", pipe(pipeline.make_union(scale(), preprocessing.MinMaxScaler()), lr()), "frame"
    for loss in ("log_loss", "exponential"):
        yield f"gb-{loss}", gb(n_estimators=5, loss=loss), "numbers"
    for loss in ("squared_error", "absolute_error", "huber", "quantile"):
        yield f"gbr-{loss}", gbr(n_estimators=5, loss=loss), "numbers"
    for loss in ("squared_error", "absolute_error", "poisson", "gamma", "quantile"):
        half = {"quantile": 0.5} if loss == "quantile" else {}
        yield f"hgbr-{loss}", hgbr(max_iter=5, loss=loss, **half), "holes"
    yield "gb-init-zero", gb(n_estimators=5, init="zero"), "numbers"
    yield "gb-three", gb(n_estimators=5), "three"
    yield "gb-early", gb(n_estimators=9, n_iter_no_change=2), "numbers"
    yield "hgb-three", hgb(max_iter=5), "three"
    yield "hgb-early", hgb(max_iter=5, early_stopping=True, scoring="roc_auc"), "numbers"
    yield "hgb-category", hgb(max_iter=5, categorical_features=[0]), "codes"
    yield "hgb-holes", hgb(max_iter=5), "holes"
    for loss in ("log_loss", "modified_huber", "hinge", "huber"):
        yield f"sgd-{loss}", linear_model.SGDClassifier(loss=loss, random_state=0), "numbers"
    yield "lr-three", lr(), "three"
    yield "lr-ovr", lr(solver="liblinear"), "numbers"
    yield "lr-cv", linear_model.LogisticRegressionCV(Cs=3, scoring="neg_log_loss"), "numbers"
    for strategy in ("mean", "median", "most_frequent", "constant"):
        yield f"fill-{strategy}", fill(strategy=strategy), "holes"
    yield "fill-indicator", fill(add_indicator=True), "holes"
    yield "fill-words", fill(strategy="most_frequent", missing_values=None), "gappy"
    yield "fill-constant-words", fill(strategy="constant", fill_value="?"), "gappy"
    yield "knn-fill", impute.KNNImputer(add_indicator=True), "holes"
    yield "tree-holes", tree.DecisionTreeClassifier(max_depth=4), "holes"
    yield "tree-absolute", tree.DecisionTreeRegressor(criterion="absolute_error"), "numbers"
    yield "forest-holes", ensemble.RandomForestClassifier(5), "holes"
    yield "extra-holes", ensemble.ExtraTreesClassifier(5), "numbers"
    yield "onehot-rare", encode(min_frequency=20, handle_unknown="infrequent_if_exist"), "words"
    yield "onehot-drop", encode(drop="first", handle_unknown="ignore"), "words"
    yield "onehot-dense", encode(sparse_output=False), "words"
    yield "ordinal-unknown", preprocessing.OrdinalEncoder(
        handle_unknown="use_encoded_value", unknown_value=-1), "words"  # fmt: skip
    yield "ordinal-rare", preprocessing.OrdinalEncoder(max_categories=2), "words"
    yield "target", preprocessing.TargetEncoder(random_state=0), "words"
    yield "bins", preprocessing.KBinsDiscretizer(3, encode="onehot-dense"), "numbers"
    yield "bins-ordinal", preprocessing.KBinsDiscretizer(3, encode="ordinal"), "numbers"
    yield "splines", preprocessing.SplineTransformer(), "numbers"
    yield "splines-linear", preprocessing.SplineTransformer(extrapolation="linear"), "numbers"
    yield "power-boxcox", preprocessing.PowerTransformer("box-cox"), "numbers"
    yield "quantiles", preprocessing.QuantileTransformer(n_quantiles=20), "numbers"
    yield "quantiles-normal", preprocessing.QuantileTransformer(
        n_quantiles=20, output_distribution="normal"), "numbers"  # fmt: skip
    yield "function", preprocessing.FunctionTransformer(np.log1p), "numbers"
    yield "target-log", compose.TransformedTargetRegressor(
        linear_model.Ridge(), func=np.log1p, inverse_func=np.expm1), "numbers"  # fmt: skip
    text = feature_extraction.text
    yield "text-lr", pipe(text.TfidfVectorizer(), lr()), "text"
    yield "text-nb", pipe(text.CountVectorizer(ngram_range=(1, 2)), naive_bayes.MultinomialNB()), \
        "text"  # fmt: skip
    yield "text-hash", pipe(text.HashingVectorizer(n_features=64), lr()), "text"
    for name in ("ball_tree", "kd_tree", "brute"):
        yield f"knn-{name}", neighbors.KNeighborsRegressor(algorithm=name), "numbers"
    yield "knn-manhattan", neighbors.KNeighborsClassifier(p=1, weights="distance"), "three"
    yield "knn-cosine", neighbors.KNeighborsClassifier(metric="cosine"), "three"
    for kernel in ("linear", "poly", "rbf", "sigmoid"):
        yield f"svc-{kernel}", svm.SVC(kernel=kernel, random_state=0), "three"
    yield "svc-proba", svm.SVC(probability=True, random_state=0), "three"
    yield "svc-ovo", svm.SVC(decision_function_shape="ovo", break_ties=False), "three"
    yield (
        "isolation",
        ensemble.IsolationForest(n_estimators=5, contamination=0.1, random_state=0),
        "frame",
    )
    yield "lof-novel", neighbors.LocalOutlierFactor(novelty=True), "numbers"
    yield "halving-grid", model_selection.GridSearchCV(
        pipe(scale(), svm.SVC()), {"svc__C": [1, 2]}, cv=3), "numbers"  # fmt: skip


def settings() -> Iterator[tuple[str, Any, str]]:
    """Yield estimators with settings that predictions depend on, and their rows."""
    from sklearn import (
        calibration,
        cluster,
        decomposition,
        discriminant_analysis,
        dummy,
        ensemble,
        feature_selection,
        isotonic,
        kernel_approximation,
        linear_model,
        mixture,
        multiclass,
        multioutput,
        neighbors,
        neural_network,
        preprocessing,
        svm,
        tree,
    )
    from sklearn.feature_extraction import text

    lr, forest = linear_model.LogisticRegression, ensemble.RandomForestClassifier
    stump = tree.DecisionTreeClassifier(max_depth=2)
    lda = discriminant_analysis.LinearDiscriminantAnalysis
    qda = discriminant_analysis.QuadraticDiscriminantAnalysis
    for name, make, data in (
        ("lr-three-ovr", lambda: lr(multi_class="ovr"), "three"),
        ("lr-multinomial-two", lambda: lr(multi_class="multinomial"), "numbers"),
        ("lr-cv-ovr", lambda: linear_model.LogisticRegressionCV(Cs=3, multi_class="ovr"), "three"),
        ("lr-l1", lambda: lr(penalty="l1", solver="saga", max_iter=500), "three"),
        ("lr-elastic", lambda: lr(penalty="elasticnet", solver="saga", l1_ratio=0.5), "numbers"),
        ("lr-none", lambda: lr(penalty=None), "numbers"),
        ("ada-three", lambda: ensemble.AdaBoostClassifier(stump, n_estimators=4), "three"),
        ("ada-samme", lambda: ensemble.AdaBoostClassifier(
            stump, n_estimators=4, algorithm="SAMME"), "three"),
        ("isotonic", lambda: calibration.CalibratedClassifierCV(
            lr(), method="isotonic"), "numbers"),
        ("calibrated-once", lambda: calibration.CalibratedClassifierCV(
            lr(), ensemble=False), "three"),
        ("calibrated-svc", lambda: calibration.CalibratedClassifierCV(svm.LinearSVC()), "three"),
        ("lda-shrink", lambda: lda(solver="lsqr", shrinkage="auto"), "three"),
        ("lda-eigen", lambda: lda(solver="eigen"), "three"),
        ("qda-three", lambda: qda(reg_param=0.1, priors=[0.2, 0.3, 0.5]), "three"),
        ("pca-whiten", lambda: decomposition.PCA(2, whiten=True), "numbers"),
        ("pca-part", lambda: decomposition.PCA(0.9), "numbers"),
        ("kernel-pca", lambda: decomposition.KernelPCA(2, kernel="rbf"), "numbers"),
        ("svd-part", lambda: decomposition.TruncatedSVD(2), "numbers"),
        ("forest-three", lambda: forest(5, class_weight="balanced"), "three"),
        ("forest-oob", lambda: forest(25, oob_score=True, max_samples=0.5), "numbers"),
        ("forest-many", lambda: forest(5), "pairs"),
        ("forest-regression", lambda: ensemble.RandomForestRegressor(
            5, criterion="poisson"), "plane"),
        ("tree-many", lambda: tree.DecisionTreeRegressor(), "planes"),
        ("tree-pruned", lambda: tree.DecisionTreeClassifier(ccp_alpha=0.01), "three"),
        ("embedding", lambda: ensemble.RandomTreesEmbedding(3), "numbers"),
        ("bag-some", lambda: ensemble.BaggingClassifier(
            stump, 4, max_features=2, oob_score=False), "three"),
        ("bag-regression", lambda: ensemble.BaggingRegressor(n_estimators=4), "plane"),
        ("ada-regression", lambda: ensemble.AdaBoostRegressor(n_estimators=4), "plane"),
        ("stack-pass", lambda: ensemble.StackingClassifier(
            [("a", lr()), ("f", forest(3))], passthrough=True), "three"),
        ("vote-soft", lambda: ensemble.VotingClassifier(
            [("a", lr()), ("f", forest(3))], voting="soft", weights=[1, 2]), "three"),
        ("gb-init", lambda: ensemble.GradientBoostingClassifier(
            n_estimators=3, init=lr()), "numbers"),
        ("gb-sample", lambda: ensemble.GradientBoostingRegressor(
            n_estimators=4, subsample=0.5), "plane"),
        ("ovr", lambda: multiclass.OneVsRestClassifier(lr()), "three"),
        ("ovr-labels", lambda: multiclass.OneVsRestClassifier(lr()), "pairs"),
        ("ovo", lambda: multiclass.OneVsOneClassifier(svm.LinearSVC()), "three"),
        ("codes", lambda: multiclass.OutputCodeClassifier(lr(), random_state=0), "three"),
        ("chain", lambda: multioutput.ClassifierChain(lr()), "pairs"),
        ("chain-regression", lambda: multioutput.RegressorChain(
            linear_model.Ridge()), "planes"),
        ("many", lambda: multioutput.MultiOutputClassifier(lr()), "pairs"),
        ("many-regression", lambda: multioutput.MultiOutputRegressor(
            linear_model.Ridge()), "planes"),
        ("mixture-diag", lambda: mixture.GaussianMixture(2, covariance_type="diag"), "numbers"),
        ("mixture-bayes", lambda: mixture.BayesianGaussianMixture(2), "numbers"),
        ("knn-many", lambda: neighbors.KNeighborsClassifier(), "pairs"),
        ("radius", lambda: neighbors.RadiusNeighborsRegressor(0.9), "plane"),
        ("knn-minkowski", lambda: neighbors.KNeighborsClassifier(
            metric="minkowski", metric_params={"w": np.array([1.0, 2, 3])}), "three"),
        ("mlp-three", lambda: neural_network.MLPClassifier((4,), max_iter=20), "three"),
        ("mlp-regression", lambda: neural_network.MLPRegressor((4,), max_iter=20), "plane"),
        ("nystroem", lambda: kernel_approximation.Nystroem(n_components=5), "numbers"),
        ("rbf-sampler", lambda: kernel_approximation.RBFSampler(n_components=5), "numbers"),
        ("poly", lambda: preprocessing.PolynomialFeatures(3, interaction_only=True), "numbers"),
        ("power", lambda: preprocessing.PowerTransformer(standardize=False), "numbers"),
        ("min-max-clip", lambda: preprocessing.MinMaxScaler(clip=True), "numbers"),
        ("robust", lambda: preprocessing.RobustScaler(unit_variance=True), "holes"),
        ("labels-bin", lambda: preprocessing.KBinsDiscretizer(3, strategy="kmeans"), "numbers"),
        ("onehot-unknown", lambda: preprocessing.OneHotEncoder(handle_unknown="ignore"), "words"),
        ("onehot-missing", lambda: preprocessing.OneHotEncoder(drop="if_binary"), "gappy"),
        ("ordinal-missing", lambda: preprocessing.OrdinalEncoder(
            encoded_missing_value=-2), "gappy"),
        ("target-three", lambda: preprocessing.TargetEncoder(), "words"),
        ("tfidf", lambda: text.TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2)), "text"),
        ("tfidf-plain", lambda: text.TfidfVectorizer(use_idf=False, norm="l1"), "text"),
        ("counts", lambda: text.CountVectorizer(binary=True, stop_words="english"), "text"),
        ("isotonic-clip", lambda: isotonic.IsotonicRegression(out_of_bounds="clip"), "single"),
        ("best", lambda: feature_selection.SelectKBest(k=2), "three"),
        ("rfe", lambda: feature_selection.RFECV(lr(), cv=3), "numbers"),
        ("select-forest", lambda: feature_selection.SelectFromModel(forest(5)), "three"),
        ("select-threshold", lambda: feature_selection.SelectFromModel(
            lr(), threshold="mean"), "three"),
        ("tweedie", lambda: linear_model.TweedieRegressor(power=1.5), "plane"),
        ("gamma", lambda: linear_model.GammaRegressor(), "plane"),
        ("quantile", lambda: linear_model.QuantileRegressor(solver="highs"), "plane"),
        ("huber", lambda: linear_model.HuberRegressor(), "plane"),
        ("ransac", lambda: linear_model.RANSACRegressor(random_state=0), "plane"),
        ("ridge-three", lambda: linear_model.RidgeClassifier(), "three"),
        ("passive", lambda: linear_model.PassiveAggressiveClassifier(), "three"),
        ("perceptron", lambda: linear_model.Perceptron(), "three"),
        ("linear-svc", lambda: svm.LinearSVC(), "three"),
        ("nu-svc", lambda: svm.NuSVC(nu=0.2), "three"),
        ("svr", lambda: svm.SVR(kernel="poly"), "plane"),
        ("one-class", lambda: svm.OneClassSVM(), "numbers"),
        ("k-means", lambda: cluster.KMeans(3, n_init=1, random_state=0), "numbers"),
        ("mini-batch", lambda: cluster.MiniBatchKMeans(3, n_init=1), "numbers"),
        ("dummy", lambda: dummy.DummyClassifier(strategy="most_frequent"), "three"),
        ("dummy-quantile", lambda: dummy.DummyRegressor(
            strategy="quantile", quantile=0.3), "plane"),
    ):  # fmt: skip
        try:
            yield name, make(), data
        except TypeError:  # a parameter that this release does not have
            continue


def targets(data: str) -> list[Any]:
    """Return targets to try, the likeliest first."""
    numbers = rows()["numbers"]
    two = (numbers[:, 0] > 0.5).astype(int)
    three = np.array(["x", "y", "z"])[(numbers[:, 0] * 3).astype(int)]
    plane = numbers[:, 1] + numbers[:, 0]
    known = {
        "three": three,
        "pairs": (numbers[:, :2] > 0.5).astype(int),
        "plane": plane,
        "planes": numbers[:, :2],
    }
    return [known[data]] if data in known else [two, plane, numbers[:, :2]]


def fitted(only: list[str]) -> Iterator[tuple[str, Any, Any]]:
    """Yield each model that could be fitted, or those of the names, with its rows."""
    kinds = rows()
    done = set()
    for name, model, data in [*single(), *composed(), *settings()]:
        stem = name.partition("-")[0]
        if stem in done or (only and name not in only):
            continue
        regressor = "Regress" in stem or stem in ("gbr", "hgbr")
        tried = targets(data)
        for y in tried[1:] + tried[:1] if regressor and len(tried) > 1 else tried:
            try:
                model.fit(kinds[data], y)
            except Exception:
                continue
            if name != stem and name.rsplit("-", 1)[1] == data and stem[:1].isupper():
                done.add(stem)
            yield name, model, kinds[data]
            break


def main(folder: Path, only: list[str]) -> None:
    """Write the models, their rows and their answers into `folder`."""
    import sklearn

    folder.mkdir(parents=True, exist_ok=True)
    count = 0
    for name, model, data in fitted(only):
        answers = ask(model, data)
        if not answers:
            continue
        (folder / f"{name}.pickle").write_bytes(pickle.dumps(model))
        (folder / f"{name}.rows.json").write_text(write_rows(data))
        np.savez_compressed(folder / f"{name}.npz", **answers)
        count += 1
    print(f"{count} models of scikit-learn {sklearn.__version__} in {folder}")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(Path(sys.argv[1]), sys.argv[2:])
