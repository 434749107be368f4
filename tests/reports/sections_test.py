"""Tests of sections: from a folder and back, and as a reader sees them."""

import dataclasses
import json
import os
from unittest import mock

from absl.testing import absltest
import numpy as np

from jdm.reports import canvas
from jdm.reports import page
from jdm.reports import sections as sections_lib
from tests.reports import html_reader
from tests.reports import made_up

_PNG = b'\x89PNG\r\n\x1a\n'


def _section(**changes) -> sections_lib.Section:
  options = {
      'name': 'leakage',
      'lead': 'Pairs of <train> & test examples.',
      'table': {
          'AUC': 0.98765,
          '  95 % interval': [0.9, 0.991],
          'pairs': 30,
          'score': 'weights',
      },
      'pictures': {'roc curves': _PNG},
      'limits': ['One pool only.'],
      'command': 'python -m experiments.run_application --x="a b"',
  }
  return sections_lib.Section(**(options | changes))


class SectionsTest(absltest.TestCase):

  def test_goes_through_a_file_and_back(self):
    folder = self.create_tempdir().full_path
    picture = os.path.join(folder, 'leakage_roc.png')
    with open(picture, 'wb') as file:
      file.write(_PNG)
    section = _section(pictures={'roc': picture}, title='Leakage')
    values = json.loads(json.dumps(section.to_json(folder)))
    self.assertEqual(values['pictures'], {'roc': 'leakage_roc.png'})
    again = sections_lib.from_json(values | {'made_by': {}}, folder)
    self.assertEqual(again, section)
    self.assertEqual(sections_lib.html(again), sections_lib.html(section))
    # The folder may have moved, and a picture may be gone.
    moved = sections_lib.from_json(values, self.create_tempdir().full_path)
    self.assertEqual(moved, dataclasses.replace(section, pictures={}))

  def test_a_reader_sees_all_of_it(self):
    read = html_reader.Page(sections_lib.html(_section()))
    self.assertEqual(read.headings, ['Leakage'])
    for words in (
        'Pairs of <train> & test examples.',
        '0.988',
        '0.900 to 0.991',
        '30',
        'weights',
        'roc curves',
        'One pool only.',
        '--x="a b"',
    ):
      self.assertIn(words, read.words)
    self.assertLen(read.links, 1)

  def test_wide_pictures_take_the_whole_width(self):
    pictures = {
        name: canvas.png(canvas.blank(width, 1))
        for name, width in (('narrow', canvas.WIDTH), ('broad', 9))
    }
    content = sections_lib.html(_section(pictures=pictures))
    self.assertEqual(content.count('<figure class="plot">'), 1)
    self.assertEqual(content.count('<figure class="plot wide" '), 1)

  def test_many_limits_are_folded_away(self):
    limits = [f'Limit {number}.' for number in range(9)]
    read = html_reader.Page(sections_lib.html(_section(limits=limits)))
    self.assertIn('3 more notes', read.words)
    for limit in limits:
      self.assertEqual(read.words.count(limit), 1)

  def test_what_is_empty_is_not_shown(self):
    content = sections_lib.html(sections_lib.Section(name='two_words'))
    read = html_reader.Page(content)
    self.assertEqual(read.headings, ['Two words'])
    self.assertEqual(set(read.tags), {'h2'})
    self.assertEqual(sections_lib.contents([]), '')

  def test_everything_is_escaped(self):
    nasty = '<i>&"x'
    section = _section(
        name=nasty,
        title=nasty,
        lead=nasty,
        table={nasty: nasty},
        pictures={nasty: _PNG},
        limits=[nasty],
        command=nasty,
    )
    content = sections_lib.html(section) + sections_lib.contents([section])
    self.assertNotIn('<i>', content)
    self.assertEqual(html_reader.Page(content).words.count(nasty), 8)

  def test_bad_input(self):
    with self.assertRaisesRegex(ValueError, 'lie in no file'):
      _section().to_json('folder')
    with self.assertRaisesRegex(ValueError, 'list of sentences'):
      _section(limits='One sentence.')
    for values in ({'lead': 'x'}, [], {'name': 'x', 'pictures': 1}):
      with self.assertRaisesRegex(ValueError, 'values of a section'):
        sections_lib.from_json(values, 'folder')


class PageOfSectionsTest(absltest.TestCase):

  def setUp(self):
    super().setUp()
    # Figures are made as ever; drawing them all would take most of the time.
    self.enter_context(mock.patch.object(canvas, 'png', lambda figure: _PNG))

  def _read(self, write, **options):
    path = os.path.join(self.create_tempdir(), 'report.html')
    write(path, **options)
    with open(path, encoding='utf-8') as file:
      content = file.read()
    self.assertNotRegex(content, r'(?i)https?://|<script|@import|url\(')
    return html_reader.Page(content)

  def _full(self, sections, **changes):
    options = {
        'dataset': made_up.dataset(),
        'datamodels': made_up.datamodels(),
        'evaluation': made_up.evaluation(),
        'counterfactuals': made_up.counterfactuals(),
        'recipe': {},
        'costs': {},
        'target_ids': [2],
    }
    return self._read(page.write, **(options | changes), sections=sections)

  def test_stand_after_the_curves_and_are_linked(self):
    read = self._full([_section(), _section(name='values')])
    words = [heading.split()[0] for heading in read.headings]
    expected = 'Do Which What Leakage Values Distributions Limits'.split()
    self.assertEqual(words, expected)
    self.assertContainsSubset(['#leakage', '#values'], read.links)
    self.assertContainsSubset(['leakage', 'values'], read.anchors)

  def test_counterfactuals_stand_in_place_of_the_curves(self):
    read = self._full([_section(name='counterfactuals')])
    words = [heading.split()[0] for heading in read.headings]
    expected = 'Do Which Counterfactuals Distributions Limits'.split()
    self.assertEqual(words, expected)

  def test_weights_with_intervals(self):
    uncertainty = made_up.uncertainty(target_ids=(0, 2))
    for with_images in (True, False):
      read = self._full(
          [],
          dataset=made_up.dataset(with_images=with_images),
          uncertainty=uncertainty,
          target_ids=[2, 1],
      )
      # Of targets 2 and 1, only 2 has intervals: weights .75 and -.25 +- .1.
      self.assertEqual(read.words.count('+0.65 to +0.85'), 1)
      self.assertEqual(read.words.count('−0.35 to −0.15'), 1)
      self.assertEqual(read.words.count('90\N{NO-BREAK SPACE}%'), 6)
      self.assertIn('40 resamples of the 200 models', read.words)

  def test_uncertainty_of_other_datamodels(self):
    other = made_up.uncertainty()
    other = dataclasses.replace(other, weights=other.weights + np.float32(1))
    with self.assertRaisesRegex(ValueError, 'of other datamodels'):
      self._full([], uncertainty=other)

  def test_without_an_evaluation(self):
    read = self._read(
        page.write_sections,
        title='Datamodels of <planted>',
        recipe={'dataset': 'planted', 'seed': 0, 'training': {'epochs': 3}},
        sections=[_section()],
        lead='Nothing was evaluated.',
    )
    self.assertEqual(read.headings, ['Leakage'])
    for words in ('of <planted>', 'Nothing was', 'training.epochs', 'seed'):
      self.assertIn(words, read.words)
    read = self._read(
        page.write_sections, title='A pool', recipe={}, sections=[]
    )
    self.assertNotIn('Recipe', read.words)


if __name__ == '__main__':
  absltest.main()
