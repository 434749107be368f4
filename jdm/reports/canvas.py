"""How pictures look: the sheet, colours, markers, units, PNG files."""

import io
import os
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
  from matplotlib import axes as axes_lib
  from matplotlib import figure as figure_lib
  from matplotlib import legend as legend_lib

# Okabe and Ito, Color universal design, 2008.
BLUE, VERMILION, GREEN, SKY = '#0072B2', '#D55E00', '#009E73', '#56B4E9'
GREY, INK = '#7A7A7A', '#222222'
GRID, BAND = '#E4E4E4', '#E9E9E9'
COLOURS = {'helpful': BLUE, 'harmful': VERMILION, 'random': GREY}
MARKERS = {'helpful': 'o', 'harmful': 's', 'random': '^'}
# Half the width of a page: two stand side by side, or one fills a phone.
WIDTH = 5.2  # Inches.
_DPI = 160
_UNITS = {
    'soft_margin': 'logits',
    'margin': 'logits',
    'log_loss': 'nats',
    'correctness': '0 or 1',
    'squared_error': 'squared label units',
}
_SIGNED = ('soft_margin', 'margin')
_LOSSES = ('log_loss', 'squared_error')


def units(outcome: str) -> str:
  """Units of an outcome; of an unknown one, 'outcome units'."""
  return _UNITS.get(outcome.removesuffix('_train'), 'outcome units')


def words(outcome: str) -> str:
  """Name of an outcome for readers."""
  return outcome.removesuffix('_train').replace('_', ' ') or 'outcome'


def is_signed(outcome: str) -> bool:
  """Whether 0 is the border of right and wrong."""
  return outcome.removesuffix('_train') in _SIGNED


def is_loss(outcome: str) -> bool:
  """Whether lower is better."""
  return outcome.removesuffix('_train') in _LOSSES


def png(figure: 'figure_lib.Figure') -> bytes:
  """Draws a figure as PNG."""
  file = io.BytesIO()
  figure.savefig(file, format='png', dpi=_DPI)
  return file.getvalue()


def save(figure: 'figure_lib.Figure', path: str | os.PathLike[str]) -> None:
  """Writes a figure as PNG, complete or not at all; replaces what is there."""
  write(path, png(figure))


def write(path: str | os.PathLike[str], content: bytes) -> None:
  """Writes a file, complete or not at all; replaces what is there."""
  name = os.fspath(path)
  os.makedirs(os.path.dirname(os.path.abspath(name)), exist_ok=True)
  part = f'{name}.{os.getpid()}.part'
  with open(part, 'wb') as file:
    file.write(content)
  os.replace(part, name)


def blank(width: float, height: float) -> 'figure_lib.Figure':
  """A figure drawn by Agg, whatever backend matplotlib is set to; inches."""
  # Takes half a second to import, and most users of jdm draw nothing.
  from matplotlib import figure as figure_lib
  from matplotlib.backends import backend_agg

  figure = figure_lib.Figure(
      figsize=(width, height), dpi=_DPI, layout='constrained', facecolor='white'
  )
  backend_agg.FigureCanvasAgg(figure)
  return figure


def figure_and_axes(
    height: float, width: float = WIDTH
) -> tuple['figure_lib.Figure', 'axes_lib.Axes']:
  """A figure with one pair of axes and a light grid; inches."""
  figure = blank(width, height)
  axes = figure.subplots()
  axes.spines[['top', 'right']].set_visible(False)
  axes.grid(color=GRID, linewidth=0.8)
  axes.set_axisbelow(True)
  axes.title.set_fontsize(10.5)
  return figure, axes


def draw_image(
    axes: 'axes_lib.Axes', image: np.ndarray, note: str, colour: str
) -> None:
  """Draws a uint8 image, pixel by pixel, framed and with a note below."""
  limits = {'cmap': 'gray', 'vmin': 0, 'vmax': 255} if image.ndim == 2 else {}
  axes.imshow(image, interpolation='nearest', **limits)
  axes.set_xticks([])
  axes.set_yticks([])
  for spine in axes.spines.values():
    spine.set_color(colour)
    spine.set_linewidth(1.5)
  axes.set_xlabel(note, fontsize=8.5, color=colour)


def label_powers(axes: 'axes_lib.Axes') -> None:
  """Labels a logarithmic x axis at 1, 2 and 5 times powers of ten, plainly."""
  from matplotlib import ticker  # With matplotlib itself, half a second.

  axes.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
  axes.xaxis.set_major_formatter(ticker.StrMethodFormatter('{x:,.4g}'))
  axes.xaxis.set_minor_locator(ticker.NullLocator())


def legend(
    axes: 'axes_lib.Axes', *, reverse: bool = False, loc: str = 'best'
) -> 'legend_lib.Legend':
  """Draws a plain legend of what has a label."""
  return axes.legend(
      fontsize=9, reverse=reverse, loc=loc, edgecolor='none', framealpha=0.85
  )
