"""Batched linear solvers and their certificates; they know nothing of models.

moments        exact sufficient statistics of masks, streamed
dense          second moments of columns of real numbers
centred        what solvers read of either
folds          K-fold cross-validation by subtracting moments
path           LASSO paths of all targets from the moments
options        how paths are followed, and the checks of it
plans          what is to be solved, quickly or accurately
stages         both stages of a fit; LassoPath
gram_route     sweeps on the Gram matrix of a device
sharded        the same, on a matrix that several devices share
memory         what a fit takes, and what does not fit
gram_blocks    the Gram matrix in blocks of rows
direct         the same from the masks: few models, or rows left out by target
preconditioned  those of rows left out by target, led by the Gram matrix of all
offsets        LASSO paths with an unpenalized column for each target
penalties      the grid of each target
tiles          targets spread over tiles and devices; the choice by validation
homotopy       following paths, each target at its own penalty
proximal       the sweeps on the Gram matrix
extrapolation  Anderson acceleration
certificate    duality gaps
debiased       relaxed and debiased weights, with intervals
precision      float64 inside a scope
"""

from jdm.solvers.moments import Moments
from jdm.solvers.path import LassoPath
from jdm.solvers.path import lasso_path

__all__ = ['LassoPath', 'Moments', 'lasso_path']
