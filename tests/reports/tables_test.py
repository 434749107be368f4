"""Tests of tables as text."""

import csv
import html.parser
import io

from absl.testing import absltest
from absl.testing import parameterized
import numpy as np

from jdm.reports import tables

_ROWS = [
    {'method': 'lasso', 'lds': 0.51234, 'models': 2000},
    {'method': 'a <b> | "c" & d', 'lds': None, 'seconds': 12.5},
]


class _Cells(html.parser.HTMLParser):
  """Reads the cells of a table back."""

  def __init__(self, page: str):
    super().__init__()
    self.rows, self._inside = [], False
    self.feed(page)

  def handle_starttag(self, tag, attrs):
    del attrs
    if tag == 'tr':
      self.rows.append([])
    if tag in ('td', 'th'):
      self.rows[-1].append('')
      self._inside = True

  def handle_endtag(self, tag):
    self._inside = self._inside and tag not in ('td', 'th')

  def handle_data(self, data):
    if self._inside:
      self.rows[-1][-1] += data


class TablesTest(parameterized.TestCase):

  @parameterized.parameters(
      (0.51234, '0.512'),
      (0.5, '0.500'),
      (1234.56, '1235'),
      (12.345, '12.3'),
      (0.9999, '1.00'),
      (np.float32(0.01), '0.0100'),
      (-0.0123, '-0.0123'),
      (0.00001234, '1.23e-05'),
      (2.5e7, '2.50e+07'),
      (0.0, '0'),
      (2000, '2000'),
      (np.int64(7), '7'),
      (np.float32(0.25), '0.250'),
      (float('nan'), '–'),
      (float('inf'), 'inf'),
      (None, '–'),
  )
  def test_numbers_have_sensible_digits(self, value, expected):
    self.assertEqual(tables.number(value), expected)

  @parameterized.parameters(
      (0.25, '+0.25'), (-1.0, '−1.0'), (0.0, '0'), (float('nan'), '–')
  )
  def test_signed(self, value, expected):
    self.assertEqual(tables.signed(value), expected)

  @parameterized.parameters(
      ('word', 'word'),
      (True, 'yes'),
      (np.bool_(False), 'no'),
      ((0.1, 0.2), '0.100 to 0.200'),
      ([1, 2, 3], '1, 2, 3'),
      (np.array([0.5, 0.75]), '0.500 to 0.750'),
      (np.array(3), '3'),
      ({'alpha': 0.5}, 'alpha=0.500'),
      ({}, '–'),
      (None, '–'),
  )
  def test_cells(self, value, expected):
    self.assertEqual(tables.cell(value), expected)

  def test_html_reads_back_escaped(self):
    cells = _Cells(tables.html(_ROWS, caption='<x>')).rows
    self.assertEqual(cells[0], ['method', 'lds', 'models', 'seconds'])
    self.assertEqual(cells[1], ['lasso', '0.512', '2000', '–'])
    self.assertEqual(cells[2], ['a <b> | "c" & d', '–', '–', '12.5'])
    self.assertIn('&lt;x&gt;', tables.html(_ROWS, caption='<x>'))

  def test_markdown(self):
    lines = tables.markdown(_ROWS).splitlines()
    self.assertEqual(lines[0], '| method | lds | models | seconds |')
    self.assertEqual(lines[1], '| --- | ---: | ---: | ---: |')
    self.assertEqual(lines[2], '| lasso | 0.512 | 2000 | – |')
    self.assertIn('a <b> \\| "c" & d', lines[3])

  def test_text_is_aligned(self):
    lines = tables.text(_ROWS).splitlines()
    end = lines[0].index('lds') + len('lds')
    self.assertEqual(lines[1][:end].split(), ['lasso', '0.512'])
    self.assertEqual(lines[1].index('2000') + 4, lines[0].index('models') + 6)

  def test_csv_reads_back_unrounded(self):
    rows = list(csv.DictReader(io.StringIO(tables.csv(_ROWS))))
    self.assertEqual(float(rows[0]['lds']), 0.51234)
    self.assertEqual(rows[1]['method'], _ROWS[1]['method'])
    self.assertEqual(rows[1]['lds'], '')

  @parameterized.parameters('html', 'markdown', 'text', 'csv')
  def test_empty_and_bad_rows(self, name):
    write = getattr(tables, name)
    self.assertEqual(write([]), '')
    with self.assertRaisesRegex(ValueError, 'one a row, got dict'):
      write({'a': 1})


if __name__ == '__main__':
  absltest.main()
