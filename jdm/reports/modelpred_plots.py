"""Pictures of predictors of trained parameters."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jdm.reports import canvas


def comparison(rows: Sequence[Mapping[str, Any]]) -> Any:
  """Draws what each predictor leaves unexplained against a query's price.

  Up is worse: 1 - R2 of the parameters, on a log scale; what is below the axis
  is drawn on it, what explains nothing at 1 or above.

  Args:
    rows: with `predictor`, `parameter_r2`, `query_cpu_seconds` and
      `is_predictor`, such as those of `modelpred.json`.
  """
  figure, axes = canvas.figure_and_axes(4.2)
  lowest = 1e-6
  for number, row in enumerate(rows):
    error = np.clip(1 - row['parameter_r2'], lowest, 10)
    seconds = max(row['query_cpu_seconds'], 1e-8) * 1e6
    colour = canvas.VERMILION if row['is_predictor'] else canvas.BLUE
    axes.plot(seconds, error, 'o', color=colour)
    axes.annotate(
        row['predictor'].replace('_', ' '),
        (seconds, error),
        xytext=(5, -9 if number % 2 else 3),
        textcoords='offset points',
        fontsize=7.5,
        color=colour,
    )
  axes.set_xscale('log')
  axes.set_yscale('log')
  axes.margins(x=0.25)
  axes.set_xlabel('CPU microseconds a set (log scale)')
  axes.set_ylabel('parameters unexplained, 1 - R² (log scale)')
  return figure
