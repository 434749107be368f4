"""Rows as tables: HTML, Markdown, aligned text, CSV.

A row is a mapping of column names to values. The columns are those of all rows,
in the order in which they appear; a missing value shows as a dash. All but
`csv` round for reading (`number`).
"""

from collections.abc import Mapping, Sequence
import csv as csv_lib
import html as html_lib
import io
import math
import numbers
from typing import Any

Rows = Sequence[Mapping[str, Any]]

UNKNOWN = '–'


def number(value: float | None, digits: int = 3) -> str:
  """Writes a number for reading: `digits` significant digits, no false zeros.

  Args:
    value: integers are written whole; None and NaN as a dash.
    digits: at least 1.
  """
  if value is None or value != value:
    return UNKNOWN
  if isinstance(value, numbers.Integral):
    return str(int(value))
  if math.isinf(value) or value == 0:
    return f'{float(value):g}'
  scientific = f'{value:.{digits - 1}e}'
  exponent = int(scientific.split('e')[1])  # After rounding: .9999 is 1.00.
  if not -4 <= exponent < 6:
    return scientific
  # 1234.5 with 3 digits is 1234 (not 1.23e+03), 0.5 is 0.500.
  return f'{value:.{max(digits - 1 - exponent, 0)}f}'


def signed(value: float) -> str:
  """Writes a weight or a change with its sign and two significant digits."""
  text_of = number(abs(value), 2)
  if text_of == UNKNOWN or value == 0:
    return text_of
  return ('+' if value > 0 else '\N{MINUS SIGN}') + text_of


def cell(value: Any) -> str:
  """Writes any value for reading: numbers, intervals, mappings, words."""
  if isinstance(value, str):
    return value
  if value is None:
    return UNKNOWN
  if isinstance(value, bool) or type(value).__name__ == 'bool':  # NumPy's.
    return 'yes' if value else 'no'
  if isinstance(value, numbers.Real):
    return number(value)  # pyrefly: ignore
  if isinstance(value, Mapping):
    inner = (f'{name}={cell(item)}' for name, item in value.items())
    return ', '.join(inner) or UNKNOWN
  if getattr(value, 'ndim', None) == 0:
    return cell(value.item())
  if isinstance(value, (list, tuple)) or hasattr(value, 'tolist'):
    inner = [cell(item) for item in value]
    if len(inner) == 2 and all(_is_number(item) for item in value):
      return f'{inner[0]} to {inner[1]}'
    return ', '.join(inner) or UNKNOWN
  return str(value)


def html(rows: Rows, *, caption: str = '') -> str:
  """Writes an HTML table, everything escaped; '' without rows.

  Raises:
    ValueError: if `rows` is not a sequence of mappings.
  """
  names = _columns('html', rows)
  if not names:
    return ''
  lines = ['<div class="scroll"><table>']
  if caption:
    lines.append(f'<caption>{html_lib.escape(caption)}</caption>')
  head = ''.join(f'<th scope="col">{html_lib.escape(n)}</th>' for n in names)
  lines.append(f'<thead><tr>{head}</tr></thead>\n<tbody>')
  for row in rows:
    cells = []
    for name in names:
      value = row.get(name)
      kind = ' class="number"' if _is_number(value) else ''
      cells.append(f'<td{kind}>{html_lib.escape(cell(value))}</td>')
    lines.append(f'<tr>{"".join(cells)}</tr>')
  lines.append('</tbody></table></div>')
  return '\n'.join(lines)


def markdown(rows: Rows) -> str:
  """Writes a Markdown table (GitHub's); '' without rows.

  Raises:
    ValueError: as `html`.
  """
  names = _columns('markdown', rows)
  if not names:
    return ''
  numeric = [_is_numeric(name, rows) for name in names]
  rules = ['---:' if right else '---' for right in numeric]
  lines = [[_markdown(name) for name in names], rules]
  lines += [[_markdown(cell(row.get(n))) for n in names] for row in rows]
  return ''.join(f'| {" | ".join(line)} |\n' for line in lines)


def text(rows: Rows) -> str:
  """Writes aligned columns for a terminal; '' without rows.

  Raises:
    ValueError: as `html`.
  """
  names = _columns('text', rows)
  if not names:
    return ''
  lines = [list(names)]
  lines += [[cell(row.get(name)) for name in names] for row in rows]
  widths = [max(map(len, column)) for column in zip(*lines)]
  numeric = [_is_numeric(name, rows) for name in names]

  def aligned(line: list[str]) -> str:
    cells = [
        value.rjust(width) if right else value.ljust(width)
        for value, width, right in zip(line, widths, numeric)
    ]
    return '  '.join(cells).rstrip() + '\n'

  return ''.join(map(aligned, lines))


def csv(rows: Rows) -> str:
  """Writes comma-separated values for machines: unrounded, None left empty.

  Raises:
    ValueError: as `html`.
  """
  names = _columns('csv', rows)
  if not names:
    return ''
  file = io.StringIO()
  writer = csv_lib.DictWriter(file, names, lineterminator='\n')
  writer.writeheader()
  writer.writerows(rows)
  return file.getvalue()


def _columns(who: str, rows: Rows) -> list[str]:
  is_rows = isinstance(rows, Sequence) and not isinstance(rows, str)
  if not is_rows or not all(isinstance(row, Mapping) for row in rows):
    raise ValueError(
        f'`{who}` expects a list of mappings, one a row, got'
        f' {type(rows).__name__}; for one row pass `[row]`.'
    )
  return list(dict.fromkeys(name for row in rows for name in row))


def _is_number(value: Any) -> bool:
  is_flag = isinstance(value, bool) or type(value).__name__ == 'bool'
  return isinstance(value, numbers.Real) and not is_flag


def _is_numeric(name: str, rows: Rows) -> bool:
  values = [row.get(name) for row in rows]
  return all(value is None or _is_number(value) for value in values)


def _markdown(value: str) -> str:
  """A line break or a bar would end the cell."""
  return value.replace('|', '\\|').replace('\n', ' ')
