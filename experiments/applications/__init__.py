"""The applications' commands: one file each, one line here.

A command defines its flags, `num_trainings(job)`, the number of retrainings it
will ask for at most, and `run(job) -> job.Findings`.
"""

from collections.abc import Mapping
import types

from experiments.applications import backdoor
from experiments.applications import brittleness
from experiments.applications import calibration
from experiments.applications import comparison
from experiments.applications import counterfactuals
from experiments.applications import data_shapley
from experiments.applications import embeddings
from experiments.applications import group_removal
from experiments.applications import leakage
from experiments.applications import memorization
from experiments.applications import mislabels
from experiments.applications import pool_design
from experiments.applications import predicted_memorization
from experiments.applications import predicted_selection
from experiments.applications import selection
from experiments.applications import similarity
from experiments.applications import unlearning
from experiments.applications import valuation

COMMANDS: Mapping[str, types.ModuleType] = {
    'backdoor': backdoor,
    'brittleness': brittleness,
    'calibration': calibration,
    'comparison': comparison,
    'counterfactuals': counterfactuals,
    'data_shapley': data_shapley,
    'embeddings': embeddings,
    'group_removal': group_removal,
    'leakage': leakage,
    'memorization': memorization,
    'mislabels': mislabels,
    'pool_design': pool_design,
    'predicted_memorization': predicted_memorization,
    'predicted_selection': predicted_selection,
    'selection': selection,
    'similarity': similarity,
    'unlearning': unlearning,
    'valuation': valuation,
}
