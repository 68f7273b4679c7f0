"""The exact names that a model's pickle may hold, by module.

Generated from scikit-learn 1.9's estimators and from the pickles of fitted ones;
`tests/lib/safe_pickle/test_trusted_names.py` fails when a library changes and names are missing.
`constructors` has the names that may also be called.
"""

from collections.abc import Mapping

# Created empty, by `__new__` without an argument, before a state is set. Their constructors are
# never called.
CLASSES: dict[str, str] = {
    "numpy": "ndarray",
    "numpy.ma": "MaskedArray",
    "numpy.random._mt19937": "MT19937",
    "numpy.random._pcg64": "PCG64 PCG64DXSM",
    "numpy.random._philox": "Philox",
    "numpy.random._sfc64": "SFC64",
    "numpy.random.bit_generator": "SeedSequence",
    "pandas": (
        "BooleanDtype CategoricalDtype DatetimeTZDtype Float32Dtype Float64Dtype Index Int16Dtype "
        "Int32Dtype Int64Dtype Int8Dtype RangeIndex Series UInt16Dtype UInt32Dtype UInt64Dtype "
        "UInt8Dtype"
    ),
    "pandas.arrays": "ArrowStringArray",
    "scipy.interpolate._bsplines": "BSpline _BSpline",
    "scipy.sparse._csc": "csc_array csc_matrix",
    "scipy.sparse._csr": "csr_array csr_matrix",
    "sklearn._loss._loss": "CyHalfMultinomialLoss",
    "sklearn._loss.link": "HalfLogitLink IdentityLink Interval LogLink LogitLink MultinomialLogit",
    "sklearn._loss.loss": (
        "AbsoluteError ExponentialLoss HalfBinomialLoss HalfBinomialLossArrayAPI HalfGammaLoss "
        "HalfMultinomialLoss HalfMultinomialLossArrayAPI HalfPoissonLoss HalfPoissonLossArrayAPI "
        "HalfSquaredError HalfTweedieLoss HalfTweedieLossIdentity HuberLoss PinballLoss"
    ),
    "sklearn.calibration": (
        "CalibratedClassifierCV _CalibratedClassifier _SigmoidCalibration _TemperatureScaling"
    ),
    "sklearn.cluster._affinity_propagation": "AffinityPropagation",
    "sklearn.cluster._agglomerative": "AgglomerativeClustering FeatureAgglomeration",
    "sklearn.cluster._bicluster": "SpectralBiclustering SpectralCoclustering",
    "sklearn.cluster._birch": "Birch _CFNode _CFSubcluster",
    "sklearn.cluster._bisect_k_means": "BisectingKMeans _BisectingTree",
    "sklearn.cluster._dbscan": "DBSCAN",
    "sklearn.cluster._hdbscan.hdbscan": "HDBSCAN",
    "sklearn.cluster._kmeans": "KMeans MiniBatchKMeans",
    "sklearn.cluster._mean_shift": "MeanShift",
    "sklearn.cluster._optics": "OPTICS",
    "sklearn.cluster._spectral": "SpectralClustering",
    "sklearn.compose._column_transformer": "ColumnTransformer make_column_selector",
    "sklearn.compose._target": "TransformedTargetRegressor",
    "sklearn.covariance._elliptic_envelope": "EllipticEnvelope",
    "sklearn.covariance._empirical_covariance": "EmpiricalCovariance",
    "sklearn.covariance._graph_lasso": "GraphicalLasso GraphicalLassoCV",
    "sklearn.covariance._robust_covariance": "MinCovDet",
    "sklearn.covariance._shrunk_covariance": "LedoitWolf OAS ShrunkCovariance",
    "sklearn.cross_decomposition._pls": "CCA PLSCanonical PLSRegression PLSSVD",
    "sklearn.decomposition._dict_learning": (
        "DictionaryLearning MiniBatchDictionaryLearning SparseCoder"
    ),
    "sklearn.decomposition._factor_analysis": "FactorAnalysis",
    "sklearn.decomposition._fastica": "FastICA",
    "sklearn.decomposition._incremental_pca": "IncrementalPCA",
    "sklearn.decomposition._kernel_pca": "KernelPCA",
    "sklearn.decomposition._lda": "LatentDirichletAllocation",
    "sklearn.decomposition._nmf": "MiniBatchNMF NMF",
    "sklearn.decomposition._pca": "PCA",
    "sklearn.decomposition._sparse_pca": "MiniBatchSparsePCA SparsePCA",
    "sklearn.decomposition._truncated_svd": "TruncatedSVD",
    "sklearn.discriminant_analysis": "LinearDiscriminantAnalysis QuadraticDiscriminantAnalysis",
    "sklearn.dummy": "DummyClassifier DummyRegressor",
    "sklearn.ensemble._bagging": "BaggingClassifier BaggingRegressor",
    "sklearn.ensemble._forest": (
        "ExtraTreesClassifier ExtraTreesRegressor RandomForestClassifier RandomForestRegressor "
        "RandomTreesEmbedding"
    ),
    "sklearn.ensemble._gb": "GradientBoostingClassifier GradientBoostingRegressor",
    "sklearn.ensemble._hist_gradient_boosting.binning": "_BinMapper",
    "sklearn.ensemble._hist_gradient_boosting.gradient_boosting": (
        "HistGradientBoostingClassifier HistGradientBoostingRegressor"
    ),
    "sklearn.ensemble._hist_gradient_boosting.predictor": "TreePredictor",
    "sklearn.ensemble._iforest": "IsolationForest",
    "sklearn.ensemble._stacking": "StackingClassifier StackingRegressor",
    "sklearn.ensemble._voting": "VotingClassifier VotingRegressor",
    "sklearn.ensemble._weight_boosting": "AdaBoostClassifier AdaBoostRegressor",
    "sklearn.feature_extraction._dict_vectorizer": "DictVectorizer",
    "sklearn.feature_extraction._hash": "FeatureHasher",
    "sklearn.feature_extraction.image": "PatchExtractor",
    "sklearn.feature_extraction.text": (
        "CountVectorizer HashingVectorizer TfidfTransformer TfidfVectorizer"
    ),
    "sklearn.feature_selection._from_model": "SelectFromModel",
    "sklearn.feature_selection._rfe": "RFE RFECV",
    "sklearn.feature_selection._sequential": "SequentialFeatureSelector",
    "sklearn.feature_selection._univariate_selection": (
        "GenericUnivariateSelect SelectFdr SelectFpr SelectFwe SelectKBest SelectPercentile"
    ),
    "sklearn.feature_selection._variance_threshold": "VarianceThreshold",
    "sklearn.frozen._frozen": "FrozenEstimator",
    "sklearn.gaussian_process._gpc": (
        "GaussianProcessClassifier _BinaryGaussianProcessClassifierLaplace"
    ),
    "sklearn.gaussian_process._gpr": "GaussianProcessRegressor",
    "sklearn.gaussian_process.kernels": (
        "CompoundKernel ConstantKernel DotProduct ExpSineSquared Exponentiation Matern "
        "PairwiseKernel Product RBF RationalQuadratic Sum WhiteKernel"
    ),
    "sklearn.impute._base": "MissingIndicator SimpleImputer",
    "sklearn.impute._iterative": "IterativeImputer _ImputerTriplet",
    "sklearn.impute._knn": "KNNImputer",
    "sklearn.isotonic": "IsotonicRegression",
    "sklearn.kernel_approximation": (
        "AdditiveChi2Sampler Nystroem PolynomialCountSketch RBFSampler SkewedChi2Sampler"
    ),
    "sklearn.kernel_ridge": "KernelRidge",
    "sklearn.linear_model._base": "LinearRegression",
    "sklearn.linear_model._bayes": "ARDRegression BayesianRidge",
    "sklearn.linear_model._coordinate_descent": (
        "ElasticNet ElasticNetCV Lasso LassoCV MultiTaskElasticNet MultiTaskElasticNetCV "
        "MultiTaskLasso MultiTaskLassoCV"
    ),
    "sklearn.linear_model._glm.glm": "GammaRegressor PoissonRegressor TweedieRegressor",
    "sklearn.linear_model._huber": "HuberRegressor",
    "sklearn.linear_model._least_angle": "Lars LarsCV LassoLars LassoLarsCV LassoLarsIC",
    "sklearn.linear_model._logistic": "LogisticRegression LogisticRegressionCV",
    "sklearn.linear_model._omp": "OrthogonalMatchingPursuit OrthogonalMatchingPursuitCV",
    "sklearn.linear_model._passive_aggressive": (
        "PassiveAggressiveClassifier PassiveAggressiveRegressor"
    ),
    "sklearn.linear_model._perceptron": "Perceptron",
    "sklearn.linear_model._quantile": "QuantileRegressor",
    "sklearn.linear_model._ransac": "RANSACRegressor",
    "sklearn.linear_model._ridge": (
        "Ridge RidgeCV RidgeClassifier RidgeClassifierCV _IdentityClassifier _IdentityRegressor "
        "_RidgeGCV"
    ),
    "sklearn.linear_model._stochastic_gradient": "SGDClassifier SGDOneClassSVM SGDRegressor",
    "sklearn.linear_model._theil_sen": "TheilSenRegressor",
    "sklearn.manifold._classical_mds": "ClassicalMDS",
    "sklearn.manifold._isomap": "Isomap",
    "sklearn.manifold._locally_linear": "LocallyLinearEmbedding",
    "sklearn.manifold._mds": "MDS",
    "sklearn.manifold._spectral_embedding": "SpectralEmbedding",
    "sklearn.manifold._t_sne": "TSNE",
    "sklearn.metrics._dist_metrics": (
        "BrayCurtisDistance32 BrayCurtisDistance64 CanberraDistance32 CanberraDistance64 "
        "ChebyshevDistance32 ChebyshevDistance64 DiceDistance32 DiceDistance64 "
        "EuclideanDistance32 EuclideanDistance64 HammingDistance32 HammingDistance64 "
        "HaversineDistance32 HaversineDistance64 JaccardDistance32 JaccardDistance64 "
        "KulsinskiDistance32 KulsinskiDistance64 MahalanobisDistance32 MahalanobisDistance64 "
        "ManhattanDistance32 ManhattanDistance64 MatchingDistance32 MatchingDistance64 "
        "MinkowskiDistance32 MinkowskiDistance64 PyFuncDistance32 PyFuncDistance64 "
        "RogersTanimotoDistance32 "
        "RogersTanimotoDistance64 RussellRaoDistance32 RussellRaoDistance64 SEuclideanDistance32 "
        "SEuclideanDistance64 SokalMichenerDistance32 SokalMichenerDistance64 "
        "SokalSneathDistance32 SokalSneathDistance64"
    ),
    "sklearn.metrics._scorer": "_CurveScorer _MultimetricScorer _PassthroughScorer _Scorer",
    "sklearn.mixture._bayesian_mixture": "BayesianGaussianMixture",
    "sklearn.mixture._gaussian_mixture": "GaussianMixture",
    "sklearn.model_selection._classification_threshold": (
        "FixedThresholdClassifier TunedThresholdClassifierCV"
    ),
    "sklearn.model_selection._search": "GridSearchCV RandomizedSearchCV",
    "sklearn.model_selection._search_successive_halving": (
        "HalvingGridSearchCV HalvingRandomSearchCV"
    ),
    "sklearn.model_selection._split": (
        "GroupKFold GroupShuffleSplit KFold LeaveOneGroupOut LeaveOneOut LeavePGroupsOut "
        "LeavePOut PredefinedSplit RepeatedKFold RepeatedStratifiedKFold ShuffleSplit "
        "StratifiedGroupKFold StratifiedKFold StratifiedShuffleSplit TimeSeriesSplit "
        "_CVIterableWrapper"
    ),
    "sklearn.multiclass": (
        "OneVsOneClassifier OneVsRestClassifier OutputCodeClassifier _ConstantPredictor"
    ),
    "sklearn.multioutput": (
        "ClassifierChain MultiOutputClassifier MultiOutputRegressor RegressorChain"
    ),
    "sklearn.naive_bayes": "BernoulliNB CategoricalNB ComplementNB GaussianNB MultinomialNB",
    "sklearn.neighbors._ball_tree": "BallTree",
    "sklearn.neighbors._classification": "KNeighborsClassifier RadiusNeighborsClassifier",
    "sklearn.neighbors._graph": "KNeighborsTransformer RadiusNeighborsTransformer",
    "sklearn.neighbors._kd_tree": "KDTree",
    "sklearn.neighbors._kde": "KernelDensity",
    "sklearn.neighbors._lof": "LocalOutlierFactor",
    "sklearn.neighbors._nca": "NeighborhoodComponentsAnalysis",
    "sklearn.neighbors._nearest_centroid": "NearestCentroid",
    "sklearn.neighbors._regression": "KNeighborsRegressor RadiusNeighborsRegressor",
    "sklearn.neighbors._unsupervised": "NearestNeighbors",
    "sklearn.neural_network._multilayer_perceptron": "MLPClassifier MLPRegressor",
    "sklearn.neural_network._rbm": "BernoulliRBM",
    "sklearn.neural_network._stochastic_optimizers": "AdamOptimizer SGDOptimizer",
    "sklearn.pipeline": "FeatureUnion Pipeline",
    "sklearn.preprocessing._data": (
        "Binarizer KernelCenterer MaxAbsScaler MinMaxScaler Normalizer PowerTransformer "
        "QuantileTransformer RobustScaler StandardScaler"
    ),
    "sklearn.preprocessing._discretization": "KBinsDiscretizer",
    "sklearn.preprocessing._encoders": "OneHotEncoder OrdinalEncoder",
    "sklearn.preprocessing._function_transformer": "FunctionTransformer",
    "sklearn.preprocessing._label": "LabelBinarizer LabelEncoder MultiLabelBinarizer",
    "sklearn.preprocessing._polynomial": "PolynomialFeatures SplineTransformer",
    "sklearn.preprocessing._target_encoder": "TargetEncoder",
    "sklearn.random_projection": "GaussianRandomProjection SparseRandomProjection",
    "sklearn.semi_supervised._label_propagation": "LabelPropagation LabelSpreading",
    "sklearn.semi_supervised._self_training": "SelfTrainingClassifier",
    "sklearn.svm._classes": "LinearSVC LinearSVR NuSVC NuSVR OneClassSVM SVC SVR",
    "sklearn.tree._classes": (
        "DecisionTreeClassifier DecisionTreeRegressor ExtraTreeClassifier ExtraTreeRegressor"
    ),
    "sklearn.utils._bunch": "Bunch",
    "uuid": "UUID",
    "sklearn.utils._metadata_requests": "MetadataRequest MethodMetadataRequest",
}

# Losses of compiled code, called with one or two numbers or none.
OF_NUMBERS: dict[str, str] = {
    "sklearn._loss._loss": (
        "CyAbsoluteError CyExponentialLoss CyHalfBinomialLoss CyHalfGammaLoss CyHalfPoissonLoss "
        "CyHalfSquaredError CyHalfTweedieLoss CyHalfTweedieLossIdentity CyHuberLoss CyPinballLoss"
    ),
    "sklearn.linear_model._sgd_fast": (
        "EpsilonInsensitive Hinge ModifiedHuber SquaredEpsilonInsensitive SquaredHinge"
    ),
}

# Their names in scikit-learn's pickles until 1.6.
OLD_LOSSES: dict[str, str] = {
    f"sklearn._loss._loss.__pyx_unpickle_{name}": f"sklearn._loss._loss.{name}"
    for name in OF_NUMBERS["sklearn._loss._loss"].split()
}

# Parts of random generators.
BIT_GENERATORS: dict[str, str] = {
    "numpy.random._mt19937": "MT19937",
    "numpy.random._pcg64": "PCG64 PCG64DXSM",
    "numpy.random._philox": "Philox",
    "numpy.random._sfc64": "SFC64",
}

# Types and array functions that a fitted estimator keeps and may call when it predicts. None of
# them opens a file, imports, evaluates text or calls its argument. Never called during loading.
NAMED: dict[str, str] = {
    "builtins": "abs bool dict float int list max min object sorted str tuple",
    "html": "escape unescape",
    "numpy": (
        "absolute add all amax amin angle any arccos arccosh arcsin arcsinh arctan arctan2 "
        "arctanh argmax argmin argsort around array asanyarray asarray asarray_chkfinite "
        "ascontiguousarray asfortranarray atleast_1d atleast_2d average bitwise_and bitwise_count "
        "bitwise_or bitwise_xor bool bytes_ cbrt ceil character clip column_stack complex128 "
        "complex64 complexfloating concatenate conjugate copy copysign cos cosh count_nonzero "
        "cumprod cumsum datetime64 deg2rad degrees delete diff digitize divide divmod dot equal "
        "exp exp2 expand_dims expm1 fabs fix flexible flip fliplr flipud float16 float32 float64 "
        "float_power floating floor floor_divide fmax fmin fmod frexp gcd generic gradient "
        "greater greater_equal heaviside hstack hypot i0 imag inexact inner int16 int32 int64 "
        "int8 integer interp invert isclose isfinite isinf isnan isnat isneginf isposinf isreal "
        "lcm ldexp left_shift less less_equal log log10 log1p log2 logaddexp logaddexp2 "
        "logical_and logical_not logical_or logical_xor matmul matvec max maximum mean median min "
        "minimum modf multiply nan_to_num nanargmax nanargmin nancumprod nancumsum nanmax nanmean "
        "nanmedian nanmin nanpercentile nanprod nanquantile nanstd nansum nanvar negative "
        "nextafter not_equal number object_ percentile positive power prod ptp quantile rad2deg "
        "radians ravel real reciprocal remainder reshape right_shift rint roll rot90 round "
        "searchsorted sign signbit signedinteger sin sinc sinh size sort spacing sqrt square "
        "squeeze stack std str_ subtract sum swapaxes take tan tanh timedelta64 transpose "
        "trapezoid tril triu trunc uint16 uint32 uint64 uint8 unique unsignedinteger unwrap var "
        "vecdot vecmat vstack"
    ),
    "numpy.fft": "fft rfft",
    "pandas": "isna notna to_numeric",
    "re": "findall split sub",
    "scipy.spatial.distance": (
        "braycurtis canberra chebyshev cityblock correlation cosine dice euclidean hamming "
        "jaccard jensenshannon mahalanobis minkowski rogerstanimoto russellrao seuclidean "
        "sokalsneath sqeuclidean yule"
    ),
    "scipy.special._logsumexp": "log_softmax logsumexp softmax",
    "scipy.special._special_ufuncs": (
        "beta betaln cbrt cosdg erf erfc exp10 exp2 expit expm1 exprel gamma gammaln i0 i0e i1 j0 "
        "j1 log1p log_expit log_ndtr loggamma logit ndtr psi rgamma sindg struve xlog1py xlogy y0 "
        "y1"
    ),
    "scipy.special._ufuncs": (
        "boxcox boxcox1p entr huber inv_boxcox inv_boxcox1p kl_div ndtri pseudo_huber rel_entr "
        "stdtr"
    ),
    "scipy.stats._stats_py": "gmean hmean iqr pmean trim_mean",
    "sklearn.cluster._kmeans": "_kmeans_single_elkan _kmeans_single_lloyd",
    "sklearn.feature_extraction.text": "strip_accents_ascii strip_accents_unicode strip_tags",
    "sklearn.feature_selection._mutual_info": "mutual_info_classif mutual_info_regression",
    "sklearn.feature_selection._univariate_selection": "chi2 f_classif f_regression r_regression",
    "sklearn.metrics._classification": (
        "accuracy_score balanced_accuracy_score brier_score_loss cohen_kappa_score d2_brier_score "
        "d2_log_loss_score f1_score fbeta_score hamming_loss hinge_loss jaccard_score log_loss "
        "matthews_corrcoef precision_score recall_score zero_one_loss"
    ),
    "sklearn.metrics._ranking": "average_precision_score roc_auc_score top_k_accuracy_score",
    "sklearn.metrics._regression": (
        "d2_absolute_error_score explained_variance_score max_error mean_absolute_error "
        "mean_absolute_percentage_error mean_gamma_deviance mean_pinball_loss "
        "mean_poisson_deviance mean_squared_error mean_squared_log_error mean_tweedie_deviance "
        "median_absolute_error r2_score root_mean_squared_error root_mean_squared_log_error"
    ),
    "sklearn.metrics._scorer": "negative_likelihood_ratio positive_likelihood_ratio",
    "sklearn.metrics.cluster._supervised": (
        "adjusted_mutual_info_score adjusted_rand_score completeness_score fowlkes_mallows_score "
        "homogeneity_score mutual_info_score normalized_mutual_info_score rand_score "
        "v_measure_score"
    ),
    "sklearn.metrics.pairwise": (
        "additive_chi2_kernel chi2_kernel cosine_distances cosine_similarity euclidean_distances "
        "haversine_distances laplacian_kernel linear_kernel manhattan_distances "
        "nan_euclidean_distances polynomial_kernel rbf_kernel sigmoid_kernel"
    ),
    "sklearn.preprocessing._data": "add_dummy_feature binarize normalize",
    "sklearn.utils.validation": "check_array",
    "unicodedata": "normalize",
}

# Single objects, which are not called.
OBJECTS: dict[str, str] = {"pandas": "NA"}

# Listed types of columns that a `make_column_selector` keeps.
COLUMN_TYPES: dict[str, str] = {
    "pandas": (
        "BooleanDtype CategoricalDtype DatetimeTZDtype Float32Dtype Float64Dtype Int16Dtype "
        "Int32Dtype Int64Dtype Int8Dtype StringDtype UInt16Dtype UInt32Dtype UInt64Dtype "
        "UInt8Dtype"
    ),
}

# Never imported: an empty object replaces them. SciPy's distributions, which searches keep, run
# `exec` on a text of their state; a memmap opens files.
STAND_INS: dict[str, str] = {
    "numpy": "memmap vectorize",
    "scipy.stats._continuous_distns": (
        "alpha_gen anglit_gen arcsine_gen argus_gen beta_gen betaprime_gen bradford_gen "
        "burr12_gen burr_gen cauchy_gen chi2_gen chi_gen cosine_gen crystalball_gen dgamma_gen "
        "dpareto_lognorm_gen dweibull_gen erlang_gen expon_gen exponnorm_gen exponpow_gen "
        "exponweib_gen f_gen fatiguelife_gen fisk_gen foldcauchy_gen foldnorm_gen gamma_gen "
        "gausshyper_gen genexpon_gen genextreme_gen gengamma_gen genhalflogistic_gen "
        "genhyperbolic_gen geninvgauss_gen genlogistic_gen gennorm_gen genpareto_gen gibrat_gen "
        "gompertz_gen gumbel_l_gen gumbel_r_gen halfcauchy_gen halfgennorm_gen halflogistic_gen "
        "halfnorm_gen hypsecant_gen invgamma_gen invgauss_gen invweibull_gen irwinhall_gen "
        "jf_skew_t_gen johnsonsb_gen johnsonsu_gen kappa3_gen kappa4_gen ksone_gen kstwo_gen "
        "kstwobign_gen landau_gen laplace_asymmetric_gen laplace_gen levy_gen levy_l_gen "
        "loggamma_gen logistic_gen loglaplace_gen lognorm_gen lomax_gen maxwell_gen mielke_gen "
        "moyal_gen nakagami_gen ncf_gen nct_gen ncx2_gen norm_gen norminvgauss_gen pareto_gen "
        "pearson3_gen powerlaw_gen powerlognorm_gen powernorm_gen rayleigh_gen rdist_gen "
        "recipinvgauss_gen reciprocal_gen rel_breitwigner_gen rice_gen semicircular_gen "
        "skewcauchy_gen skewnorm_gen studentized_range_gen t_gen trapezoid_gen triang_gen "
        "truncexpon_gen truncnorm_gen truncpareto_gen truncweibull_min_gen tukeylambda_gen "
        "uniform_gen vonmises_gen wald_gen weibull_max_gen weibull_min_gen wrapcauchy_gen"
    ),
    "scipy.stats._discrete_distns": (
        "bernoulli_gen betabinom_gen betanbinom_gen binom_gen boltzmann_gen dlaplace_gen geom_gen "
        "hypergeom_gen logser_gen nbinom_gen nchypergeom_fisher_gen nchypergeom_wallenius_gen "
        "nhypergeom_gen planck_gen poisson_binom_gen poisson_gen randint_gen skellam_gen "
        "yulesimon_gen zipf_gen zipfian_gen"
    ),
    "scipy.stats._distn_infrastructure": "rv_continuous_frozen rv_discrete_frozen",
    # Objects of older scikit-learn releases that no prediction needs: losses, scorers.
    "sklearn.linear_model._sgd_fast": "Huber Log SquaredLoss",
    "sklearn.metrics._scorer": "_PredictScorer _ProbaScorer _ThresholdScorer",
}
# Stand-ins that the service's releases do not have.
GONE = frozenset(
    "sklearn.linear_model._sgd_fast.Huber sklearn.linear_model._sgd_fast.Log "
    "sklearn.linear_model._sgd_fast.SquaredLoss sklearn.metrics._scorer._PredictScorer "
    "sklearn.metrics._scorer._ProbaScorer sklearn.metrics._scorer._ThresholdScorer".split()
)

# Names of the same objects in older releases of NumPy and scikit-learn.
RENAMED = {
    "numpy.core.multiarray._reconstruct": "numpy._core.multiarray._reconstruct",
    "numpy.core.multiarray.scalar": "numpy._core.multiarray.scalar",
    "numpy.core.numeric._frombuffer": "numpy._core.numeric._frombuffer",
    "numpy.ma.core.MaskedArray": "numpy.ma.MaskedArray",
    # pandas until 2
    "pandas._libs.missing.NA": "pandas.NA",
    "pandas.core.arrays.arrow.array.ArrowExtensionArray": "pandas.arrays.ArrowExtensionArray",
    "pandas.core.arrays.boolean.BooleanArray": "pandas.arrays.BooleanArray",
    "pandas.core.arrays.boolean.BooleanDtype": "pandas.BooleanDtype",
    "pandas.core.arrays.categorical.Categorical": "pandas.Categorical",
    "pandas.core.arrays.datetimes.DatetimeArray": "pandas.arrays.DatetimeArray",
    "pandas.core.arrays.floating.FloatingArray": "pandas.arrays.FloatingArray",
    "pandas.core.arrays.integer.IntegerArray": "pandas.arrays.IntegerArray",
    "pandas.core.arrays.string_.StringArray": "pandas.arrays.StringArray",
    "pandas.core.arrays.string_.StringDtype": "pandas.StringDtype",
    "pandas.core.arrays.string_arrow.ArrowStringArray": "pandas.arrays.ArrowStringArray",
    "pandas.core.arrays.timedeltas.TimedeltaArray": "pandas.arrays.TimedeltaArray",
    "pandas.core.dtypes.dtypes.ArrowDtype": "pandas.ArrowDtype",
    "pandas.core.dtypes.dtypes.CategoricalDtype": "pandas.CategoricalDtype",
    "pandas.core.dtypes.dtypes.DatetimeTZDtype": "pandas.DatetimeTZDtype",
    "pandas.core.dtypes.dtypes.IntervalDtype": "pandas.IntervalDtype",
    "pandas.core.dtypes.dtypes.PeriodDtype": "pandas.PeriodDtype",
    "pandas.core.dtypes.missing.isna": "pandas.isna",
    "pandas.core.dtypes.missing.notna": "pandas.notna",
    "pandas.core.frame.DataFrame": "pandas.DataFrame",
    "pandas.core.indexes.base.Index": "pandas.Index",
    "pandas.core.indexes.category.CategoricalIndex": "pandas.CategoricalIndex",
    "pandas.core.indexes.datetimes.DatetimeIndex": "pandas.DatetimeIndex",
    "pandas.core.indexes.interval.IntervalIndex": "pandas.IntervalIndex",
    "pandas.core.indexes.multi.MultiIndex": "pandas.MultiIndex",
    "pandas.core.indexes.period.PeriodIndex": "pandas.PeriodIndex",
    "pandas.core.indexes.range.RangeIndex": "pandas.RangeIndex",
    "pandas.core.indexes.timedeltas.TimedeltaIndex": "pandas.TimedeltaIndex",
    "pandas.core.series.Series": "pandas.Series",
    "pandas.core.tools.numeric.to_numeric": "pandas.to_numeric",
    **{
        f"pandas.core.arrays.{kind}.{name}{bits}Dtype": f"pandas.{name}{bits}Dtype"
        for kind, names, sizes in (
            ("integer", ("Int", "UInt"), (8, 16, 32, 64)),
            ("floating", ("Float",), (32, 64)),
        )
        for name in names
        for bits in sizes
    },
    "sklearn.model_selection._classification_threshold._CurveScorer": (
        "sklearn.metrics._scorer._CurveScorer"
    ),
}
# A ufunc does not know its module: pickle writes the first one that has it, which may be
# `__mp_main__`, multiprocessing's alias of the notebook. For functions pickle does not look there.
_SPECIAL = {
    name: f"{module}.{name}"
    for module in ("scipy.special._special_ufuncs", "scipy.special._ufuncs")
    for name in NAMED[module].split()
}
UFUNCS = {
    "__mp_main__": _SPECIAL | {name: f"numpy.{name}" for name in NAMED["numpy"].split()},
    **dict.fromkeys(
        ("scipy.special", "scipy.special._basic", "scipy.special._special_ufuncs",
         "scipy.special._ufuncs"), _SPECIAL
    ),
}  # fmt: skip


def keys(table: Mapping[str, str]) -> frozenset[str]:
    """Return a table's names with their modules: `module.name`."""
    return frozenset(f"{module}.{n}" for module, names in table.items() for n in names.split())


def renamed(key: str) -> str:
    """Return the current name for a name of an older release; most names are unchanged."""
    if key in RENAMED:
        return RENAMED[key]
    module, _, name = key.rpartition(".")
    if module == "_loss":  # until scikit-learn 1.8, outside its package
        return f"sklearn._loss._loss.{name}"
    if module in UFUNCS:
        return UFUNCS[module].get(name, key)
    if module == "numpy.core._multiarray_umath":  # ufuncs, until NumPy 2
        return f"numpy.{name}"
    return key
