"""What datamodels are for. One file an application, one line here.

To add one: write `jdm/applications/NAME.py` with a pure function that returns a
frozen dataclass with `to_json`, list it below, and add its command to
`experiments/run_application.py`.
"""

from collections.abc import Callable, Mapping
from typing import Any

from jdm.applications import counterfactuals

APPLICATIONS: Mapping[str, Callable[..., Any]] = {
    'counterfactuals': counterfactuals.counterfactuals,
}
