"""scikit-learn's own checks of estimators."""

from sklearn.utils import estimator_checks

from jdm.interop import scikit_learn

_ESTIMATORS = [
    scikit_learn.BatchedLasso(),
    # One penalty and few folds: the checks are of the interface, and both
    # estimators share compiled programs.
    scikit_learn.BatchedLassoCV(alphas=(0.01,), cv=3),
]


@estimator_checks.parametrize_with_checks(_ESTIMATORS)
def test_scikit_learn(estimator, check):
  check(estimator)
