"""Models for the sweep: each estimator in every way it contains others, scorers and kernels."""

import functools
import itertools

import numpy as np
import scipy.stats
import sklearn
from sklearn import (
    calibration,
    cluster,
    covariance,
    cross_decomposition,
    decomposition,
    discriminant_analysis,
    ensemble,
    feature_selection,
    gaussian_process,
    linear_model,
    manifold,
    metrics,
    mixture,
    model_selection,
    multiclass,
    multioutput,
    naive_bayes,
    neighbors,
    pipeline,
    preprocessing,
    semi_supervised,
    svm,
    tree,
)  # fmt: skip
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor, make_column_transformer
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.frozen import FrozenEstimator
from sklearn.gaussian_process import kernels as K

from pickle_sweep import FRAME, LABELS, ROWS, TARGET, THREE, Table

LR = linear_model.LogisticRegression
Ridge = linear_model.Ridge
FT = preprocessing.FunctionTransformer
TTR = TransformedTargetRegressor
TABLE = Table()
add = TABLE.add
TWO = np.c_[LABELS, THREE]
VALUES = np.c_[TARGET, TARGET**2]
SOME = np.where(np.arange(len(LABELS)) % 3, LABELS, -1)
NO_METHOD = "has no predict and no transform: upload a fitted estimator"

CLASSIFIERS = {
    "a linear model": LR(),
    "a tree": tree.DecisionTreeClassifier(max_depth=2, random_state=0),
    "a forest": ensemble.RandomForestClassifier(2, random_state=0),
    "boosted trees": ensemble.GradientBoostingClassifier(n_estimators=2),
    "boosted histograms": ensemble.HistGradientBoostingClassifier(max_iter=2),
    "naive Bayes": naive_bayes.GaussianNB(),
    "neighbours": neighbors.KNeighborsClassifier(3),
    "a pipeline": pipeline.make_pipeline(preprocessing.StandardScaler(), LR()),
    "a pipeline of a function": pipeline.make_pipeline(FT(np.log1p, validate=True), LR()),
    "a column transformer": pipeline.make_pipeline(
        make_column_transformer((preprocessing.StandardScaler(), [0, 1])), LR()),
    "a search": model_selection.GridSearchCV(LR(), {"C": [0.1, 1]}, cv=2, scoring="f1_macro"),
    "a frozen model": FrozenEstimator(LR().fit(ROWS, LABELS)),
    "a calibrated model": calibration.CalibratedClassifierCV(LR(), cv=2),
    "a Gaussian process": gaussian_process.GaussianProcessClassifier(optimizer=None),
    "a discriminant": discriminant_analysis.LinearDiscriminantAnalysis(),
    "a constant": DummyClassifier(),
    "one against the rest": multiclass.OneVsRestClassifier(LR()),
}  # fmt: skip
REGRESSORS = {
    "a linear model": Ridge(),
    "a tree": tree.DecisionTreeRegressor(max_depth=2, random_state=0),
    "a forest": ensemble.RandomForestRegressor(2, random_state=0),
    "boosted histograms": ensemble.HistGradientBoostingRegressor(max_iter=2),
    "a pipeline of a function": pipeline.make_pipeline(FT(np.log1p, validate=True), Ridge()),
    "a pipeline of a partial": pipeline.make_pipeline(
        FT(functools.partial(np.clip, a_min=0, a_max=1)), Ridge()),
    "a target by functions": TTR(Ridge(), func=np.log1p, inverse_func=np.expm1),
    "a target by a scaler": TTR(Ridge(), transformer=preprocessing.StandardScaler()),
    "a target by quantiles": TTR(
        Ridge(), transformer=preprocessing.QuantileTransformer(n_quantiles=5)),
    "a target in a pipeline": pipeline.make_pipeline(
        preprocessing.StandardScaler(), TTR(Ridge(), func=np.log1p, inverse_func=np.expm1)),
    "a target of a pipeline": TTR(
        pipeline.make_pipeline(FT(np.log1p), Ridge()), func=np.sqrt, inverse_func=np.square),
    "a search": model_selection.GridSearchCV(Ridge(), {"alpha": [0.1, 1]}, cv=2, scoring="r2"),
    "a frozen model": FrozenEstimator(Ridge().fit(ROWS, TARGET)),
    "neighbours": neighbors.KNeighborsRegressor(3, weights="distance"),
    "a Gaussian process": gaussian_process.GaussianProcessRegressor(alpha=0.1, optimizer=None),
    "a constant": DummyRegressor(strategy="median"),
    "a support vector machine": svm.SVR(),
}  # fmt: skip

# An estimator of each kind in each place.
for name, model in CLASSIFIERS.items():
    pair = [("a", model), ("b", naive_bayes.GaussianNB())]
    add(f"stacking of {name}", ensemble.StackingClassifier(pair, cv=2), ROWS, LABELS)
    add(f"stacking of fitted {name}", lambda model=model: ensemble.StackingClassifier(
            [("a", FrozenEstimator(clone(model).fit(ROWS, LABELS)))],
            cv="prefit", passthrough=True), ROWS, LABELS)  # fmt: skip
    add(f"stacking by {name}",
        ensemble.StackingClassifier([("a", LR())], final_estimator=model, cv=2,
                                    passthrough=True), ROWS, LABELS)  # fmt: skip
    add(f"voting of {name}", ensemble.VotingClassifier(pair), ROWS, LABELS)
    add(f"soft voting of {name}", ensemble.VotingClassifier(pair, voting="soft"), ROWS, LABELS)
    add(f"bagging of {name}", ensemble.BaggingClassifier(model, 2), ROWS, LABELS)
    add(f"calibrated {name}", calibration.CalibratedClassifierCV(model, cv=2), ROWS, LABELS)
    add(f"one against the rest by {name}", multiclass.OneVsRestClassifier(model), ROWS, LABELS)
    add(f"one threshold of {name}", model_selection.FixedThresholdClassifier(model, threshold=0.4),
        ROWS, LABELS)  # fmt: skip
    if name not in ("a constant", "boosted histograms"):  # which predict one probability
        add(f"a tuned threshold of {name}",
            model_selection.TunedThresholdClassifierCV(model, cv=2, thresholds=5),
            ROWS, LABELS)  # fmt: skip
    add(f"a frozen {name}", lambda model=model: FrozenEstimator(clone(model).fit(ROWS, LABELS)),
        ROWS, LABELS)  # fmt: skip
    add(f"self-training of {name}", semi_supervised.SelfTrainingClassifier(model, max_iter=2),
        ROWS, SOME)  # fmt: skip
    if name != "a column transformer":
        add(f"sequential selection by {name}",
            feature_selection.SequentialFeatureSelector(model, n_features_to_select=1, cv=2),
            ROWS, LABELS)  # fmt: skip
    if "constant" not in name:
        add(f"boosting from {name}",
            ensemble.GradientBoostingClassifier(init=model, n_estimators=2),
            ROWS, LABELS)  # fmt: skip
    if "frozen" not in name:
        add(f"outputs by {name}", multioutput.MultiOutputClassifier(model), ROWS, TWO)
        add(f"a chain of {name}", multioutput.ClassifierChain(model, order=[1, 0]),
            ROWS, np.c_[LABELS, 1 - LABELS])  # fmt: skip
for name, model in REGRESSORS.items():
    pair = [("a", model), ("b", linear_model.LinearRegression())]
    add(f"stacking of values by {name}", ensemble.StackingRegressor(pair, cv=2), ROWS, TARGET)
    add(f"stacking of values onto {name}",
        ensemble.StackingRegressor(pair[1:], final_estimator=model, cv=2, passthrough=True),
        ROWS, TARGET)  # fmt: skip
    add(f"voting of values by {name}", ensemble.VotingRegressor(pair), ROWS, TARGET)
    add(f"bagging of values by {name}", ensemble.BaggingRegressor(model, 2), ROWS, TARGET)
    add(f"a target by {name}", TTR(model, func=np.log1p, inverse_func=np.expm1), ROWS, TARGET)
    add(f"boosting of values from {name}",
        ensemble.GradientBoostingRegressor(init=model, n_estimators=2), ROWS, TARGET)  # fmt: skip
    add(f"RANSAC of {name}",
        linear_model.RANSACRegressor(model, min_samples=20, random_state=0),
        ROWS, TARGET)  # fmt: skip
    if "frozen" not in name:
        add(f"outputs of values by {name}", multioutput.MultiOutputRegressor(model), ROWS, VALUES)
        add(f"a chain of values by {name}", multioutput.RegressorChain(model, cv=2), ROWS, VALUES)

# Calibration and thresholds.
for method, ensembles in itertools.product(("sigmoid", "isotonic", "temperature"), (True, False)):
    add(f"calibration by {method}, ensemble={ensembles}",
        calibration.CalibratedClassifierCV(svm.SVC(), method=method, cv=2, ensemble=ensembles),
        ROWS, THREE)  # fmt: skip
add("calibration of a frozen model",
    calibration.CalibratedClassifierCV(FrozenEstimator(LR().fit(ROWS, LABELS))),
    ROWS, LABELS)  # fmt: skip
for name, scoring in {
    "a word": "f1", "balanced accuracy": "balanced_accuracy",
    "a scorer": metrics.make_scorer(metrics.f1_score),
    "a scorer with arguments": metrics.make_scorer(metrics.fbeta_score, beta=2),
}.items():  # fmt: skip
    add(f"a tuned threshold by {name}",
        model_selection.TunedThresholdClassifierCV(
            LR(), scoring=scoring, cv=2, thresholds=5, store_cv_results=True),
        ROWS, LABELS)  # fmt: skip
for cv, model in {0.5: LR(), "prefit": FrozenEstimator(LR().fit(ROWS, LABELS))}.items():
    add(f"a tuned threshold by cv={cv}",
        model_selection.TunedThresholdClassifierCV(
            model, cv=cv, thresholds=5, refit=False, random_state=0),
        ROWS, LABELS)  # fmt: skip

# Scores of searches in each form.
SCORINGS = {
    "a word": "f1_weighted", "a list": ["accuracy", "f1"], "a tuple": ("accuracy", "f1"),
    "a dictionary": {"accuracy": "accuracy", "f1": "f1"},
    "scorers in a dictionary": {
        "accuracy": metrics.make_scorer(metrics.accuracy_score),
        "f1": metrics.make_scorer(metrics.f1_score, average="macro")},
    "a scorer": metrics.make_scorer(metrics.log_loss, greater_is_better=False,
                                    response_method="predict_proba"),
    "a scorer of two methods": metrics.make_scorer(
        metrics.roc_auc_score, response_method=("decision_function", "predict_proba")),
    "a scorer of a partial": metrics.make_scorer(
        functools.partial(metrics.fbeta_score, beta=0.5)),
    "get_scorer": metrics.get_scorer("roc_auc_ovr"), "nothing": None,
}  # fmt: skip
for name, scoring in SCORINGS.items():
    refit = "accuracy" if isinstance(scoring, list | tuple | dict) else True
    add(f"GridSearchCV by {name}",
        model_selection.GridSearchCV(LR(), {"C": [0.1, 1]}, cv=2, scoring=scoring, refit=refit),
        ROWS, LABELS)  # fmt: skip
    add(f"RandomizedSearchCV by {name}",
        model_selection.RandomizedSearchCV(
            LR(), {"C": scipy.stats.loguniform(0.1, 1)}, n_iter=2, cv=2, scoring=scoring,
            refit=refit, random_state=0), ROWS, LABELS)  # fmt: skip
    if refit is True:
        add(f"HalvingGridSearchCV by {name}",
            model_selection.HalvingGridSearchCV(LR(), {"C": [0.1, 1]}, cv=2, scoring=scoring),
            ROWS, LABELS)  # fmt: skip
        add(f"RFECV by {name}", feature_selection.RFECV(LR(), cv=2, scoring=scoring),
            ROWS, LABELS)  # fmt: skip
    if refit is True and name != "a word":
        add(f"LogisticRegressionCV by {name}",
            linear_model.LogisticRegressionCV(Cs=2, cv=2, scoring=scoring, l1_ratios=(0.0,),
                                              use_legacy_attributes=False),
            ROWS, LABELS)  # fmt: skip
for name, scoring in {n: s for n, s in SCORINGS.items() if isinstance(s, str)}.items():
    add(f"boosted histograms stopped by {name}",
        ensemble.HistGradientBoostingClassifier(max_iter=3, early_stopping=True, scoring=scoring),
        ROWS, LABELS)  # fmt: skip
for scoring in metrics.get_scorer_names():
    add(f"the scorer {scoring}",
        model_selection.FixedThresholdClassifier(LR()).set_params(
            estimator=model_selection.GridSearchCV(
                LR(), {"C": [1]}, cv=2, scoring=metrics.get_scorer(scoring), error_score=0)),
        ROWS, LABELS)  # fmt: skip

# Gaussian processes with every kernel.
KERNELS = {
    "ConstantKernel": K.ConstantKernel(2.0), "WhiteKernel": K.RBF() + K.WhiteKernel(),
    "RBF": K.RBF(), "RBF by features": K.RBF([1.0] * 4), "Matern 0.5": K.Matern(nu=0.5),
    "Matern 1.5": K.Matern(nu=1.5), "Matern 2.5": K.Matern(nu=2.5), "Matern": K.Matern(nu=2.2),
    "Matern inf": K.Matern(nu=np.inf), "RationalQuadratic": K.RationalQuadratic(),
    "ExpSineSquared": K.ExpSineSquared(0.1) + K.WhiteKernel(10.0), "DotProduct": K.DotProduct(),
    "a power": K.DotProduct() ** 2, "a product": K.ConstantKernel() * K.RBF(),
    "fixed bounds": K.RBF(1.0, "fixed"), "a nested sum": K.RBF() + (K.Matern() + 1.0) * 2.0,
    **{f"PairwiseKernel({m})": K.PairwiseKernel(metric=m) for m in (
        "linear", "polynomial", "rbf", "laplacian", "sigmoid", "cosine", "chi2")},
}  # fmt: skip
for name, kernel in KERNELS.items():
    for optimizer in (None, "fmin_l_bfgs_b"):
        add(f"a Gaussian process of {name}, optimizer={optimizer}",
            gaussian_process.GaussianProcessRegressor(
                kernel, alpha=0.5, optimizer=optimizer, normalize_y=True),
            ROWS, TARGET)  # fmt: skip
    for multi_class in ("one_vs_rest", "one_vs_one"):
        add(f"Gaussian processes of {name}, {multi_class}",
            gaussian_process.GaussianProcessClassifier(
                kernel, optimizer=None, multi_class=multi_class), ROWS, THREE)  # fmt: skip
add("a Gaussian process of two outputs",
    gaussian_process.GaussianProcessRegressor(K.RBF(), alpha=np.full(len(TARGET), 0.1)),
    ROWS, VALUES)  # fmt: skip

# Outliers, covariance, mixtures, manifolds, cross decomposition, half-labelled rows.
for model in (
    covariance.EmpiricalCovariance(), covariance.ShrunkCovariance(), covariance.LedoitWolf(),
    covariance.OAS(), covariance.MinCovDet(random_state=0), covariance.GraphicalLasso(0.1),
    covariance.GraphicalLassoCV(alphas=2, cv=2), covariance.EllipticEnvelope(random_state=0),
    ensemble.IsolationForest(n_estimators=3, random_state=0),
    ensemble.IsolationForest(n_estimators=2, contamination=0.1),
    svm.OneClassSVM(), linear_model.SGDOneClassSVM(random_state=0),
    neighbors.LocalOutlierFactor(5, novelty=True), neighbors.LocalOutlierFactor(5),
    neighbors.LocalOutlierFactor(5, novelty=True, algorithm="ball_tree", contamination=0.1),
    neighbors.KernelDensity(), neighbors.KernelDensity(kernel="tophat", bandwidth="scott"),
    *(mixture.GaussianMixture(2, covariance_type=c, random_state=0)
      for c in ("full", "tied", "diag", "spherical")),
    *(mixture.BayesianGaussianMixture(n_components=2, covariance_type=c, random_state=0, max_iter=5)
      for c in ("full", "tied", "diag", "spherical")),
    mixture.GaussianMixture(2, warm_start=True, init_params="k-means++", random_state=0),
    manifold.Isomap(n_neighbors=5), manifold.Isomap(n_neighbors=5, eigen_solver="dense"),
    manifold.Isomap(n_neighbors=None, radius=2.0), manifold.MDS(n_init=1, max_iter=5),
    *(manifold.LocallyLinearEmbedding(n_neighbors=8, method=m, eigen_solver="dense")
      for m in ("standard", "modified", "hessian", "ltsa")),
    manifold.SpectralEmbedding(random_state=0), manifold.TSNE(perplexity=3, max_iter=250),
    pipeline.make_pipeline(neighbors.KNeighborsTransformer(n_neighbors=5, mode="distance"),
                           manifold.Isomap(n_neighbors=4, metric="precomputed")),
    pipeline.make_pipeline(neighbors.RadiusNeighborsTransformer(radius=3.0)),
    *(decomposition.PCA(n) for n in (2, 0.9, "mle", None)), decomposition.FastICA(2),
    decomposition.IncrementalPCA(2), decomposition.KernelPCA(2, kernel="rbf"),
    decomposition.KernelPCA(2, kernel="cosine", fit_inverse_transform=True),
    decomposition.SparsePCA(2, max_iter=3), decomposition.MiniBatchSparsePCA(2, max_iter=3),
    decomposition.DictionaryLearning(2, max_iter=3), decomposition.FactorAnalysis(2),
    decomposition.MiniBatchDictionaryLearning(2, max_iter=3), decomposition.TruncatedSVD(2),
    decomposition.LatentDirichletAllocation(2, max_iter=2), decomposition.NMF(2, max_iter=1000),
    decomposition.MiniBatchNMF(2), decomposition.SparseCoder(np.eye(4)),
    cluster.KMeans(2, n_init=1), cluster.MiniBatchKMeans(2, n_init=1), cluster.Birch(),
    cluster.BisectingKMeans(2), cluster.DBSCAN(), cluster.HDBSCAN(copy=True), cluster.OPTICS(),
    cluster.MeanShift(), cluster.AffinityPropagation(), cluster.AgglomerativeClustering(),
    cluster.FeatureAgglomeration(2), cluster.SpectralClustering(2), cluster.SpectralCoclustering(2),
    cluster.SpectralBiclustering(2),
):  # fmt: skip
    answers = hasattr(model, "predict") or hasattr(model, "transform")
    add(f"{model} of rows", model, ROWS, refused=None if answers else NO_METHOD)
for model in (
    cross_decomposition.PLSRegression(2), cross_decomposition.PLSCanonical(2),
    cross_decomposition.CCA(2), cross_decomposition.PLSSVD(2),
    linear_model.MultiTaskLasso(), linear_model.MultiTaskElasticNetCV(alphas=2, cv=2),
    multioutput.RegressorChain(Ridge(), order="random", random_state=0),
    multioutput.RegressorChain(Ridge(), order=[1, 0], cv=2),
):  # fmt: skip
    add(f"{model} of two values", model, ROWS, VALUES)
for model in (
    semi_supervised.LabelPropagation(), semi_supervised.LabelPropagation(kernel="knn"),
    semi_supervised.LabelSpreading(), semi_supervised.LabelSpreading("knn", n_neighbors=3),
    semi_supervised.SelfTrainingClassifier(LR(), criterion="k_best"),
):  # fmt: skip
    add(f"{model} of some labels", model, ROWS, SOME)
for name, more in {
    "order": {"order": [1, 0]}, "random": {"order": "random", "random_state": 0},
    "cv": {"cv": 2}, "splitter": {"cv": model_selection.KFold(2)},
    "chain_method": {"chain_method": "predict_proba"},
    "methods": {"chain_method": ["predict_proba", "decision_function", "predict"]},
}.items():  # fmt: skip
    add(f"a chain by {name}", multioutput.ClassifierChain(LR(), **more), ROWS,
        np.c_[LABELS, 1 - LABELS])  # fmt: skip

# Selection of features.
for score in ("f_classif", "chi2", "mutual_info_classif", "f_regression", "r_regression"):
    for kind in ("SelectKBest", "SelectPercentile", "SelectFpr", "SelectFdr", "SelectFwe"):
        if score in ("mutual_info_classif", "r_regression") and kind[6:] in ("Fpr", "Fdr", "Fwe"):
            continue
        add(f"{kind}({score})",
            getattr(feature_selection, kind)(getattr(feature_selection, score)).set_params(
                **{"k": 2} if kind == "SelectKBest" else {}), ROWS, LABELS)  # fmt: skip
for mode, param in (("percentile", 50), ("k_best", 2), ("fpr", 0.9), ("fdr", 0.9), ("fwe", 0.9)):
    add(f"GenericUnivariateSelect({mode})",
        feature_selection.GenericUnivariateSelect(mode=mode, param=param),
        ROWS, LABELS)  # fmt: skip
for threshold in ("median", "1.1*mean", 0.01, None):
    add(f"SelectFromModel(threshold={threshold})",
        feature_selection.SelectFromModel(LR(), threshold=threshold), ROWS, LABELS)  # fmt: skip
for getter, model in {
    "coef_": LR(), "named_steps.lr.coef_": pipeline.Pipeline(
        [("s", preprocessing.StandardScaler()), ("lr", LR())]),
    "regressor_.coef_": TTR(Ridge()), "best_estimator_.coef_": model_selection.GridSearchCV(
        LR(), {"C": [1]}, cv=2),
    "estimator_.coef_": model_selection.FixedThresholdClassifier(LR()),
}.items():  # fmt: skip
    for selector in (feature_selection.SelectFromModel, feature_selection.RFE):
        add(f"{selector.__name__}(importance_getter={getter})",
            selector(model, importance_getter=getter), ROWS, LABELS)  # fmt: skip
add("VarianceThreshold", feature_selection.VarianceThreshold(0.01), ROWS)

# Frames as output, and requests for metadata.
for output in ("default", "pandas"):
    for name, model in {
        "a scaler": preprocessing.StandardScaler(), "PCA": decomposition.PCA(2),
        "a union": pipeline.FeatureUnion(
            [("a", preprocessing.StandardScaler()), ("b", decomposition.PCA(1))]),
        "columns": make_column_transformer(
            (preprocessing.OneHotEncoder(sparse_output=False), ["s"]), remainder="passthrough"),
        "a function": FT(np.log1p, feature_names_out="one-to-one"),
        "a pipeline": pipeline.make_pipeline(
            preprocessing.StandardScaler(), feature_selection.VarianceThreshold()),
    }.items():  # fmt: skip
        frame = FRAME if name == "columns" else FRAME[["a", "b", "c", "d"]]
        add(f"{name} with set_output({output})", model.set_output(transform=output), frame)
sklearn.set_config(enable_metadata_routing=True)  # the requests below need it
asks = {
    "LogisticRegression": LR().set_fit_request(sample_weight=True),
    "another name": LR().set_fit_request(sample_weight="weight"),
    "a score": LR().set_fit_request(sample_weight=False).set_score_request(sample_weight=True),
}
for name, model in asks.items():
    with_scaler = pipeline.make_pipeline(
        preprocessing.StandardScaler().set_fit_request(sample_weight=False), model)  # fmt: skip
    for outer, inside in {
        "a model": model, "a pipeline": with_scaler,
        "a search": model_selection.GridSearchCV(model, {"C": [0.1, 1]}, cv=2),
        "bagging": ensemble.BaggingClassifier(model, 2),
        "voting": ensemble.VotingClassifier([("a", model), ("b", with_scaler)]),
        "stacking": ensemble.StackingClassifier([("a", model)], cv=2),
        "outputs": multioutput.MultiOutputClassifier(model),
        "calibration": calibration.CalibratedClassifierCV(model, cv=2),
        "RFE": feature_selection.RFE(model),
    }.items():  # fmt: skip
        add(f"{outer} that asks for weights by {name}", inside, ROWS,
            TWO if outer == "outputs" else LABELS, routing=True)  # fmt: skip
add("a search by a scorer that asks for weights",
    model_selection.GridSearchCV(
        LR().set_fit_request(sample_weight=True), {"C": [0.1, 1]}, cv=2,
        scoring=metrics.make_scorer(metrics.f1_score).set_score_request(sample_weight=True)),
    ROWS, LABELS, routing=True)  # fmt: skip
sklearn.set_config(enable_metadata_routing=False)
