"""What datamodels are for. One file an application, one line here.

To add one: write `jdm/applications/NAME.py` with a pure function that returns a
frozen dataclass with `to_json`, list it below, and add its command to
`experiments/applications/`.
"""

from collections.abc import Callable, Mapping
from typing import Any

from jdm.applications import backdoor
from jdm.applications import brittleness
from jdm.applications import calibration
from jdm.applications import comparison
from jdm.applications import counterfactuals
from jdm.applications import data_shapley
from jdm.applications import embeddings
from jdm.applications import group_removal
from jdm.applications import leakage
from jdm.applications import memorization
from jdm.applications import mislabels
from jdm.applications import pool_design
from jdm.applications import predicted_memorization
from jdm.applications import predicted_selection
from jdm.applications import selection
from jdm.applications import similarity
from jdm.applications import unlearning
from jdm.applications import valuation

APPLICATIONS: Mapping[str, Callable[..., Any]] = {
    'backdoor': backdoor.backdoor,
    'brittleness': brittleness.brittleness,
    'calibration': calibration.calibration,
    'comparison': comparison.comparison,
    'counterfactuals': counterfactuals.counterfactuals,
    'data_shapley': data_shapley.data_shapley,
    'embeddings': embeddings.embeddings,
    'group_removal': group_removal.group_removal,
    'leakage': leakage.leakage,
    'memorization': memorization.memorization,
    'mislabels': mislabels.mislabels,
    'pool_design': pool_design.pool_design,
    'predicted_memorization': predicted_memorization.predicted_memorization,
    'predicted_selection': predicted_selection.predicted_selection,
    'selection': selection.selection,
    'similarity': similarity.similarity,
    'unlearning': unlearning.unlearning,
    'valuation': valuation.valuation,
}
