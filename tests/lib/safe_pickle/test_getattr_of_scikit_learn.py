"""Every place where scikit-learn looks up an attribute by a value, and the check of that value."""

import ast
from pathlib import Path

import pytest
import sklearn

# Not reached when a model predicts: tests, data sets, plots, and code of fit.
LEFT_OUT = (
    "externals/", "datasets/", "inspection/", "utils/_test", "utils/estimator_checks.py",
    "utils/discovery.py", "callback/", "utils/_repr_html/", "_build_utils/", "conftest.py",
)  # fmt: skip
CALLS = {
    "getattr", "attrgetter", "methodcaller", "__getattribute__", "eval", "exec", "open",
    "setattr", "delattr", "import_module", "__import__", "check_memory", "Memory", "memmap",
    "fromfile", "loadtxt", "Popen", "system", "vectorize", "frompyfunc", "apply_along_axis",
    "compile",
}  # fmt: skip

NAMED_SECOND = ("getattr", "__getattribute__", "setattr", "delattr")

PARAMETERS = "names of the class's own parameters, from the signature of its __init__"
ASKED = "a name that the source passes, one of the methods of estimators"
FITTING = "only fitting calls it"
REQUESTS = "names of methods from constants of the module"
GUARDS = {
    ("base.py", "BaseEstimator.get_params", "getattr(self, key)"): PARAMETERS,
    ("ensemble/_base.py", "BaseEnsemble._make_estimator", "getattr(self, p)"): FITTING,
    ("ensemble/_stacking.py", "_BaseStacking.fit", "getattr(estimator, predict_method)"): FITTING,
    (
        "ensemble/_stacking.py",
        "_BaseStacking._transform",
        "getattr(est, meth)",
    ): "parameters.NAMES_OF_METHODS: stack_method_; MANY: estimators_",
    (
        "feature_extraction/text.py",
        "_VectorizerMixin.decode",
        "open(doc, 'rb')",
    ): "states: input is 'content'",
    (
        "feature_selection/_base.py",
        "_get_feature_importances",
        "attrgetter(getter)",
    ): "roles.GETTER",
    ("frozen/_frozen.py", "_estimator_has.check", "getattr(self.estimator, attr)"): ASKED,
    (
        "frozen/_frozen.py",
        "FrozenEstimator.__getattr__",
        "getattr(self.estimator, name)",
    ): "roles.ONE: estimator; graph: no estimator holds itself",
    ("gaussian_process/kernels.py", "Kernel.get_params", "getattr(self, arg)"): PARAMETERS,
    (
        "gaussian_process/kernels.py",
        "Kernel.hyperparameters",
        "getattr(self, attr)",
    ): "names that begin with hyperparameter_; nothing is called",
    (
        "kernel_approximation.py",
        "Nystroem._get_kernel_params",
        "getattr(self, param)",
    ): "constants of the module",
    (
        "model_selection/_search.py",
        "_search_estimator_has.check",
        "getattr(self.best_estimator_, attr)",
    ): ASKED,
    (
        "model_selection/_search.py",
        "_search_estimator_has.check",
        "getattr(self.estimator, attr)",
    ): ASKED,
    ("model_selection/_split.py", "_build_repr", "getattr(self, key, None)"): PARAMETERS,
    ("model_selection/_validation.py", "_fit_and_predict", "getattr(estimator, method)"): FITTING,
    ("multiclass.py", "_estimators_has.check", "getattr(self.estimators_[0], attr)"): ASKED,
    ("multiclass.py", "_estimators_has.check", "getattr(self.estimator, attr)"): ASKED,
    ("pipeline.py", "_final_estimator_has.check", "getattr(self._final_estimator, attr)"): ASKED,
    (
        "tree/_export.py",
        "export_graphviz",
        "open(out_file, 'w', encoding='utf-8')",
    ): "a function that is not listed",
    ("utils/_array_api.py", "check_same_namespace", "getattr(estimator, attribute)"): PARAMETERS,
    (
        "utils/_metadata_requests.py",
        "RequestMethod.__get__.func",
        "getattr(requests, self.name)",
    ): "a descriptor of the class",
    (
        "utils/_param_validation.py",
        "HasMethods.is_satisfied_by",
        "getattr(val, method, None)",
    ): "constants of the constraints",
    (
        "utils/_set_output.py",
        "_SetOutputMixin.__init_subclass__",
        "getattr(cls, method)",
    ): "as a class is made",
    (
        "utils/_sparse.py",
        "_align_api_if_sparse",
        "getattr(sp.sparse, X.format + '_array')",
    ): "format is a property of the class",
    (
        "utils/_sparse.py",
        "_align_api_if_sparse",
        "getattr(sp.sparse, X.format + '_matrix')",
    ): "format is a property of the class",
    ("utils/validation.py", "_check_large_sparse", "getattr(X, key)"): "constants of the function",
    (
        "utils/validation.py",
        "check_symmetric",
        "getattr(0.5 * (array + array.T), conversion)",
    ): "format is a property of the class",
    ("utils/validation.py", "_estimator_has.check", "getattr(self, delegate)"): ASKED,
    ("utils/validation.py", "_estimator_has.check", "getattr(delegator[0], attr)"): ASKED,
    ("utils/validation.py", "_estimator_has.check", "getattr(delegator, attr)"): ASKED,
    (
        "utils/validation.py",
        "_check_response_method",
        "getattr(estimator, method, None)",
    ): "parameters.NAMES_OF_METHODS: response_method, _response_method, chain_method",
    ("utils/metaestimators.py", "_BaseComposition._get_params", "getattr(self, attr)"): PARAMETERS,
    ("utils/metaestimators.py", "_BaseComposition._set_params", "getattr(self, attr)"): PARAMETERS,
    (
        "utils/metaestimators.py",
        "_BaseComposition._replace_estimator",
        "getattr(self, attr)",
    ): PARAMETERS,
    (
        "utils/_metadata_requests.py",
        "MetadataRequest.__sklearn_clone__",
        "getattr(self, method)",
    ): REQUESTS,
    ("utils/_metadata_requests.py", "MetadataRequest.consumes", "getattr(self, method)"): REQUESTS,
    (
        "utils/_metadata_requests.py",
        "MetadataRequest.__getattr__",
        "getattr(self, method)",
    ): REQUESTS,
    (
        "utils/_metadata_requests.py",
        "MetadataRequest._get_param_names",
        "getattr(self, method)",
    ): REQUESTS,
    (
        "utils/_metadata_requests.py",
        "MetadataRequest._route_params",
        "getattr(self, method)",
    ): REQUESTS,
    (
        "utils/_metadata_requests.py",
        "MetadataRequest._check_warnings",
        "getattr(self, method)",
    ): REQUESTS,
    (
        "utils/_metadata_requests.py",
        "MetadataRequest._serialize",
        "getattr(self, method)",
    ): REQUESTS,
    (
        "utils/_metadata_requests.py",
        "_MetadataRequester._get_class_level_metadata_request_values",
        "getattr(cls, method_name)",
    ): REQUESTS,
    ("__init__.py", "__getattr__", "_importlib.import_module(f'sklearn.{name}')"): (
        "submodules of the source's own list; no model is asked"
    ),
    ("base.py", "BaseEstimator.set_params", "setattr(self, key, value)"): FITTING,
    ("cluster/_agglomerative.py", "AgglomerativeClustering._fit", "check_memory(self.memory)"): (
        FITTING + "; roles.check: memory is None"
    ),
    (
        "cluster/_bicluster.py",
        "SpectralBiclustering._fit_best_piecewise",
        "np.apply_along_axis(make_piecewise, axis=1, arr=vectors)",
    ): FITTING,
    (
        "cluster/_bicluster.py",
        "SpectralBiclustering._fit_best_piecewise",
        "np.apply_along_axis(norm, axis=1, arr=vectors - piecewise_vectors)",
    ): FITTING,
    ("cluster/_optics.py", "OPTICS.fit", "check_memory(self.memory)"): FITTING,
    (
        "ensemble/_hist_gradient_boosting/gradient_boosting.py",
        "BaseHistGradientBoosting._clear_state",
        "delattr(self, var)",
    ): FITTING,
    (
        "ensemble/_voting.py",
        "VotingClassifier.predict",
        "np.apply_along_axis(lambda x: np.argmax(np.bincount(x, weights=self._weights_not_none)), "
        "axis=1, arr=predictions)",
    ): "a function of the source",
    (
        "feature_extraction/text.py",
        "_VectorizerMixin.build_tokenizer",
        "re.compile(self.token_pattern)",
    ): "nothing: a pattern may backtrack without end (decision 0026, not covered)",
    ("gaussian_process/kernels.py", "Kernel.set_params", "setattr(self, key, value)"): FITTING,
    (
        "gaussian_process/kernels.py",
        "PairwiseKernel.diag",
        "np.apply_along_axis(self, 1, X)",
    ): "a method of the class; arguments: pairwise_kernels_kwargs",
    ("pipeline.py", "Pipeline._fit", "check_memory(self.memory)"): (
        FITTING + "; roles.check: memory is None"
    ),
    (
        "utils/_array_api.py",
        "_estimator_with_converted_arrays",
        "setattr(new_estimator, key, attribute)",
    ): "a function that no prediction calls",
    (
        "utils/_metadata_requests.py",
        "MetadataRequest.__init__",
        "setattr(self, method, MethodMetadataRequest(owner=owner, method=method))",
    ): REQUESTS,
    (
        "utils/_metadata_requests.py",
        "MetadataRequest.__sklearn_clone__",
        "setattr(new, method, getattr(self, method).__sklearn_clone__())",
    ): REQUESTS,
    (
        "utils/_metadata_requests.py",
        "_MetadataRequester.__init_subclass__",
        "setattr(cls, set_method_name, RequestMethod(method, sorted(requests)))",
    ): "as a class is made",
    (
        "utils/_metadata_requests.py",
        "_MetadataRequester._get_metadata_request",
        "setattr(requests, method_name, MethodMetadataRequest(owner=self, method=method_name, "
        "requests=self._get_class_level_metadata_request_values(method_name)))",
    ): REQUESTS,
    (
        "utils/_set_output.py",
        "_SetOutputMixin.__init_subclass__",
        "setattr(cls, method, wrapped_method)",
    ): "as a class is made",
    (
        "utils/_set_output.py",
        "check_library_installed",
        "importlib.import_module(library)",
    ): "constants of the adapters; _get_output_config refuses other words",
    (
        "utils/metaestimators.py",
        "_BaseComposition._replace_estimator",
        "setattr(self, attr, new_estimators)",
    ): FITTING,
    (
        "utils/metaestimators.py",
        "_BaseComposition._set_params",
        "setattr(self, attr, params.pop(attr))",
    ): FITTING,
    ("utils/validation.py", "check_memory", "joblib.Memory(location=memory, verbose=0)"): FITTING,
}


def places() -> set[tuple[str, str, str]]:
    """Return each such call in scikit-learn's source: the file, the function, the call."""
    root = Path(sklearn.__file__).parent
    calls: set[tuple[str, str, str]] = set()

    def visit(node: ast.AST, file: str, scope: tuple[str, ...]) -> None:
        for child in ast.iter_child_nodes(node):
            named = isinstance(child, ast.FunctionDef | ast.ClassDef)
            inner = (*scope, child.name) if named else scope  # type: ignore[attr-defined]
            if isinstance(child, ast.Call):
                called = getattr(child.func, "id", getattr(child.func, "attr", ""))
                rest = child.args[called in NAMED_SECOND :]
                if called in CALLS and not (rest and isinstance(rest[0], ast.Constant)):
                    calls.add((file, ".".join(scope), ast.unparse(child)))
            visit(child, file, inner)

    for path in sorted(root.rglob("*.py")):
        file = path.relative_to(root).as_posix()
        if "/tests/" not in f"/{file}" and not file.startswith(LEFT_OUT):
            visit(ast.parse(path.read_text()), file, ())
    return calls


@pytest.mark.slow
def test_each_getattr_by_a_value_is_on_the_list() -> None:
    calls = places()
    assert calls - set(GUARDS) == set(), "new in this release: say what guards the name"
    assert set(GUARDS) - calls == set(), "gone in this release"


def test_parameters_that_take_a_methods_name_are_checked() -> None:
    """A parameter whose value names a method is checked under the parameter's name."""
    from sklearn.utils import all_estimators

    from mlsys.safe_pickle.parameters import NAMES_OF_METHODS
    from mlsys.safe_pickle.roles import METHODS

    for name, kind in all_estimators():
        for parameter, constraints in getattr(kind, "_parameter_constraints", {}).items():
            if not isinstance(constraints, list):
                continue
            options = {o for c in constraints for o in getattr(c, "options", ())}
            if options & (METHODS - {"auto"}):
                assert parameter in NAMES_OF_METHODS, f"{name}.{parameter}"
