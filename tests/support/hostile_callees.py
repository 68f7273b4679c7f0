"""Hostile models that keep a callable, with the arguments that it is called with.

An argument named `out` writes into another array of the model after the check; a kernel of kernels
is called twice as often at each level; an attribute of the object hides one of its class. A loss is
called by its link, a Bunch has any method that it is given.
"""

import functools
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import sklearn
from sklearn._loss._loss import CyHalfMultinomialLoss, CyHalfPoissonLoss
from sklearn._loss.link import Interval, LogLink, MultinomialLogit
from sklearn._loss.loss import HalfPoissonLoss, HalfPoissonLossArrayAPI
from sklearn.decomposition import FastICA, KernelPCA
from sklearn.ensemble import VotingClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.gaussian_process import GaussianProcessClassifier, GaussianProcessRegressor
from sklearn.gaussian_process import kernels as K
from sklearn.impute import SimpleImputer
from sklearn.kernel_approximation import Nystroem
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import (
    GammaRegressor,
    LassoLars,
    LogisticRegression,
    PoissonRegressor,
    Ridge,
    SGDClassifier,
    TweedieRegressor,
)
from sklearn.metrics import f1_score, make_scorer
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neighbors import (
    KernelDensity,
    KNeighborsClassifier,
    KNeighborsRegressor,
    KNeighborsTransformer,
    LocalOutlierFactor,
    RadiusNeighborsRegressor,
)
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, PowerTransformer, StandardScaler
from sklearn.svm import SVC
from sklearn.utils import Bunch

from hostile_models import (
    ROWS,
    THREE,
    TWO,
    VALUES,
    boosted,
    changed,
    histogram,
    line,
    logistic,
    search,
)


def distances(metric: Any, **arguments: Any) -> Any:
    """Return distances to known points by a metric with arguments."""
    model = KNeighborsTransformer(n_neighbors=2, algorithm="brute", metric=metric).fit(ROWS)
    return changed(model, effective_metric_params_=arguments)


def overwritten() -> Any:
    """Return distances whose metric writes into the support vectors' indices of the next step."""
    machine = SVC().fit(ROWS, THREE)
    before = distances(np.add, out=machine.support_[:4], casting="unsafe")
    machine.support_ = before.effective_metric_params_["out"]
    return Pipeline([("distances", before), ("machine", machine)])


def gaussian(kernel: Any) -> Any:
    model = GaussianProcessRegressor(K.RBF(), optimizer=None).fit(ROWS, VALUES)
    return changed(model, kernel_=kernel)


def repeated(kind: Any, count: int = 40) -> Any:
    """Return a kernel that calls one kernel 2 ** count times."""
    kernel: Any = K.RBF()
    for _ in range(count):
        kernel = kind(kernel, kernel)
    return kernel


def compound(count: int = 40) -> Any:
    kernel: Any = K.RBF()
    for _ in range(count):
        kernel = K.CompoundKernel([kernel, kernel])
    return kernel


def kernel_of_itself() -> Any:
    kernel = K.Sum(K.RBF(), K.RBF())
    kernel.k2 = kernel
    return kernel


def of_itself(model: Any, name: str) -> Any:
    setattr(model, name, model)
    return model


def clipped(**arguments: Any) -> Any:
    return FunctionTransformer(np.clip, kw_args=arguments).fit(ROWS)


MODELS: dict[str, Callable[[str], Any]] = {
    # Arguments that write, or that compiled code indexes.
    "a metric that writes": lambda p: distances(np.add, out=np.zeros(4)),
    "a metric that writes into the next step": lambda p: overwritten(),
    "a metric of SciPy's that writes": lambda p: distances("correlation", out=np.zeros((1, 30))),
    "a metric with a condition": lambda p: distances(np.add, where=np.zeros(4, bool)),
    "a metric that casts": lambda p: distances(np.add, casting="unsafe"),
    "a metric of a function": lambda p: changed(
        distances("cityblock", func=np.exp), effective_metric_="pyfunc"
    ),
    "a metric's memory": lambda p: distances("cityblock", working_memory=10**9),
    "norms of one known point": lambda p: changed(
        KNeighborsRegressor(algorithm="brute").fit(ROWS, VALUES),
        effective_metric_params_={"Y_norm_squared": np.zeros(1)},
    ),
    "norms of one row": lambda p: changed(
        KNeighborsClassifier(algorithm="brute").fit(ROWS, THREE),
        effective_metric_params_={"X_norm_squared": np.zeros(1)},
    ),
    "norms within a radius": lambda p: changed(
        RadiusNeighborsRegressor(algorithm="brute").fit(ROWS, VALUES),
        effective_metric_params_={"Y_norm_squared": np.zeros(1)},
    ),
    "norms of outliers": lambda p: changed(
        LocalOutlierFactor(algorithm="brute", novelty=True).fit(ROWS),
        effective_metric_params_={"Y_norm_squared": np.zeros(1)},
    ),
    "a parameter's norms": lambda p: changed(
        KNeighborsRegressor().fit(ROWS, VALUES), metric_params={"Y_norm_squared": np.zeros(1)}
    ),
    "a density's metric": lambda p: changed(
        KernelDensity().fit(ROWS), metric_params={"out": np.zeros(1)}
    ),
    "a kernel that writes": lambda p: changed(
        KernelRidge().fit(ROWS, VALUES), kernel=np.add, kernel_params={"out": np.zeros(4)}
    ),
    "a map's kernel that writes": lambda p: changed(
        Nystroem(n_components=4).fit(ROWS), kernel=np.add, kernel_params={"out": np.zeros(4)}
    ),
    "components' kernel that writes": lambda p: changed(
        KernelPCA(kernel="rbf").fit(ROWS), kernel=np.add, kernel_params={"out": np.zeros(4)}
    ),
    "a process's kernel that writes": lambda p: gaussian(
        K.PairwiseKernel(metric="rbf", pairwise_kernels_kwargs={"out": np.zeros(4)})
    ),
    "a scorer that writes": lambda p: changed(
        search(),
        scorer_=changed(make_scorer(f1_score), _kwargs={"out": np.zeros(1)}),
    ),
    "a scorer of objects": lambda p: changed(
        search(), scorer_=changed(make_scorer(f1_score), _kwargs={"average": line()})
    ),
    "a contrast that writes": lambda p: changed(
        FastICA(2, max_iter=20, tol=1.0).fit(ROWS), fun_args={"out": np.zeros(4)}
    ),
    "a function that casts": lambda p: clipped(a_min=0, a_max=1, casting="unsafe"),
    "a function by a signature": lambda p: clipped(a_min=0, a_max=1, signature="ddd->d"),
    # Small in a file, large once broadcast over the rows.
    "a function over more dimensions": lambda p: clipped(a_min=np.zeros((10**4, 1, 1)), a_max=1),
    "a function over more columns": lambda p: clipped(a_min=[0.0] * 10**4, a_max=1),
    # Callees.
    "a kernel of sums": lambda p: gaussian(repeated(K.Sum)),
    "a kernel of products": lambda p: gaussian(repeated(K.Product)),
    "a kernel of lists": lambda p: gaussian(compound()),
    "a kernel of itself": lambda p: gaussian(kernel_of_itself()),
    "a kernel of a class": lambda p: changed(
        GaussianProcessClassifier(K.RBF()).fit(ROWS, TWO), kernel=repeated(K.Sum)
    ),
    "a kernel that is a function": lambda p: gaussian(np.add),
    "a kernel that is an array": lambda p: gaussian(np.zeros(2)),
    "a kernel that is a Bunch": lambda p: gaussian(Bunch(diag=dict)),
    "a kernel's part that is a type": lambda p: gaussian(changed(K.RBF() + K.RBF(), k1=dict)),
    "a scaler of itself": lambda p: of_itself(PowerTransformer().fit(ROWS), "_scaler"),
    "labels of itself": lambda p: of_itself(
        VotingClassifier([("a", LogisticRegression())]).fit(ROWS, TWO), "le_"
    ),
    "an indicator of itself": lambda p: of_itself(
        SimpleImputer(add_indicator=True).fit(ROWS), "indicator_"
    ),
    "a scaler that is an array": lambda p: changed(
        PowerTransformer().fit(ROWS), _scaler=np.zeros(2)
    ),
    "a centerer that is a function": lambda p: changed(
        KernelPCA(kernel="rbf").fit(ROWS), _centerer=np.exp
    ),
    "labels that are an index": lambda p: histogram(lambda m: changed(m, _label_encoder=[1])),
    "an estimator that is a kernel": lambda p: changed(search(), best_estimator_=K.RBF()),
    "steps of losses": lambda p: Pipeline(
        [("a", StandardScaler()), ("b", histogram(lambda m: None)._loss)]
    ),
    "estimators that are scorers": lambda p: changed(
        OneVsRestClassifier(LogisticRegression()).fit(ROWS, THREE),
        estimators_=[make_scorer(f1_score)] * 3,
    ),
    "estimators that are splitters": lambda p: changed(
        search(), best_estimator_=search_of_folds().cv
    ),
    # Attributes that hide one of the class, or that other classes call.
    "probabilities by a type": lambda p: changed(line(), predict_proba=np.str_),
    "a transform by a type": lambda p: changed(line(), transform=list),
    "a transform by a kernel": lambda p: changed(line(), transform=K.RBF()),
    "a decision by a scorer": lambda p: changed(line(), decision_function=make_scorer(f1_score)),
    "a transform by a trained estimator's type": lambda p: changed(line(), score_samples=dict),
    "hidden constraints": lambda p: changed(logistic(), C="x", _parameter_constraints={}),
    "hidden losses": lambda p: changed(
        SGDClassifier().fit(ROWS, TWO), loss_functions={"hinge": (dict,)}
    ),
    "a hidden method of a path": lambda p: changed(
        LassoLars().fit(ROWS, VALUES), method=Ridge()
    ),
    "hidden names of output": lambda p: changed(
        StandardScaler().fit(ROWS), _sklearn_auto_wrap_output_keys={"transform": line()}
    ),
    # Losses and links that predict calls.
    "a loss that is a Bunch": lambda p: glm(Bunch(link=Bunch(inverse=np.exp))),
    "a loss that is a Bunch of data": lambda p: glm(Bunch(link="log")),
    "a loss that is an estimator": lambda p: glm(Ridge()),
    "a loss that is a kernel": lambda p: glm(K.RBF()),
    "a loss that is a link": lambda p: glm(LogLink()),
    "a loss that is a scorer": lambda p: glm(make_scorer(f1_score)),
    "a loss that is compiled": lambda p: glm(CyHalfPoissonLoss()),
    "a loss that is a dictionary": lambda p: glm({"link": LogLink()}),
    "gamma regression's loss": lambda p: glm(Ridge(), GammaRegressor),
    "a Tweedie loss": lambda p: glm(line(), TweedieRegressor),
    "a Tweedie link": lambda p: changed(
        TweedieRegressor().fit(ROWS, VALUES), link=Bunch(inverse=1)
    ),
    "a link that is a Bunch": lambda p: glm(changed(HalfPoissonLoss(), link=Bunch(inverse=dict))),
    "a link that is an estimator": lambda p: glm(changed(HalfPoissonLoss(), link=line())),
    "a link of another loss": lambda p: glm(changed(HalfPoissonLoss(), link=MultinomialLogit())),
    "a link that is a ufunc": lambda p: glm(changed(HalfPoissonLoss(), link=np.exp)),
    "a compiled loss of another": lambda p: glm(
        changed(HalfPoissonLoss(), closs=CyHalfMultinomialLoss())
    ),
    "a compiled loss that is an estimator": lambda p: glm(
        changed(HalfPoissonLoss(), closs=line())
    ),
    "an interval that is a Bunch": lambda p: glm(
        changed(HalfPoissonLoss(), interval_y_pred=Bunch(low=0, high=1))
    ),
    "an interval of true values that is a loss": lambda p: glm(
        changed(HalfPoissonLoss(), interval_y_true=HalfPoissonLoss())
    ),
    "an interval's bound": lambda p: glm(changed(HalfPoissonLoss(), interval_y_pred=bounds())),
    "a namespace that is a Bunch": lambda p: glm(changed(HalfPoissonLossArrayAPI(), xp=Bunch())),
    "a loss within a loss": lambda p: glm(changed(HalfPoissonLoss(), other_=line())),
    "a histogram's loss": lambda p: histogram(lambda m: changed(m, _loss=Ridge())),
    "a histogram's link": lambda p: histogram(lambda m: changed(m._loss, link=Ridge())),
    "a histogram's parameter": lambda p: histogram(lambda m: changed(m, loss=Ridge())),
    "a boosting's loss": lambda p: boosted(lambda m: {"_loss": Bunch(is_multiclass=1)}, True),
    "a boosting's kernel": lambda p: boosted(lambda m: {"_loss": K.RBF()}),
    "a descent's loss": lambda p: changed(
        SGDClassifier().fit(ROWS, TWO), _loss_function_=HalfPoissonLoss()
    ),
    "an older descent's loss": lambda p: changed(
        SGDClassifier().fit(ROWS, TWO), loss_function_=Bunch(a=1)
    ),
    "an older loss": lambda p: changed(line(), loss_=K.RBF()),
    "a base loss": lambda p: changed(line(), base_loss=line()),
    "a link of no loss": lambda p: changed(line(), link=np.exp),
    "a loss of no parameter": lambda p: changed(line(), loss=dict),
    # A Bunch, whose members act as methods.
    "an estimator in a Bunch": lambda p: changed(line(), extra_=Bunch(predict=line())),
    "a kernel in a Bunch": lambda p: changed(line(), extra_=Bunch(predict=K.RBF())),
    "a scorer in a Bunch": lambda p: changed(line(), extra_=Bunch(a=make_scorer(f1_score))),
    "a loss in a Bunch": lambda p: changed(line(), extra_=Bunch(a=HalfPoissonLoss())),
    "a type in a Bunch": lambda p: changed(line(), extra_=Bunch(a=np.float64)),
    "an estimator in a Bunch's list": lambda p: changed(line(), extra_=Bunch(a=[(1, line())])),
    "an estimator in a Bunch's Bunch": lambda p: changed(
        line(), extra_=[Bunch(a=Bunch(b={"c": line()}))]
    ),
    "an estimator in a Bunch's array": lambda p: changed(
        line(), extra_=Bunch(a=np.array([line(), None]))
    ),
    "members' Bunch under another name": lambda p: shared_bunch(),
}  # fmt: skip


def glm(loss: Any, kind: Any = PoissonRegressor) -> Any:
    return changed(kind().fit(ROWS, VALUES + 1), _base_loss=loss)


def bounds() -> Any:
    return changed(Interval(0, 1, False, False), low=line())


def shared_bunch() -> Any:
    model = VotingClassifier([("a", LogisticRegression())]).fit(ROWS, TWO)
    return changed(model, extra_=model.named_estimators_)


def saved_before(make: Callable[[], Any], name: str, value: Any, path: str) -> bytes:
    """Return a model with another attribute value, as if an older release had saved it."""
    content = pickle.dumps(changed(make(), **{name: value}), 5)
    return content.replace(sklearn.__version__.encode(), b"1.3.2")


def texts() -> Any:
    return TfidfVectorizer().fit(["one two"])


# An unknown older release does not excuse a word that is looked up, called or opened.
OLDER: list[tuple[str, Callable[[str], bytes]]] = [
    (f"an older {name} of {value[:25]}", functools.partial(saved_before, make, name, value))
    for make, name, value in (
        (texts, "decode_error", "surrogateescape"),
        (texts, "strip_accents", "other"),
        (texts, "analyzer", "other"),
        (texts, "stop_words", "other"),
        (lambda: Nystroem(n_components=2).fit(ROWS), "kernel", "other"),
        (lambda: KNeighborsRegressor().fit(ROWS, VALUES), "metric", "other"),
        (lambda: PowerTransformer().fit(ROWS), "method", "other"),
        (lambda: GridSearchCV(Ridge(), {}).fit(ROWS, VALUES), "scoring", "os.system"),
        (line, "positive", "../../a/path"),
        (line, "positive", "a.dotted.name"),
        (line, "positive", "{0.__class__}"),
        (line, "positive", "x" * 100),
    )
]


def search_of_folds() -> Any:
    return GridSearchCV(LogisticRegression(), {"C": [1.0]}, cv=KFold(2)).fit(ROWS, TWO)
