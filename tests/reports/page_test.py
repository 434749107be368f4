"""Tests of the report as a reader and a browser see it."""

import base64
import dataclasses
import os
import re
from unittest import mock

from absl.testing import absltest
from absl.testing import parameterized
import numpy as np

from jdm.reports import canvas
from jdm.reports import page
from jdm.reports import plots
from jdm.reports import tables
from tests.reports import html_reader
from tests.reports import made_up

_PNG = b'\x89PNG\r\n\x1a\n'


class PageTest(parameterized.TestCase):

  def setUp(self):
    super().setUp()
    # Figures are made as ever; drawing them all would take most of the time.
    self._undrawn = mock.patch.object(canvas, 'png', lambda figure: _PNG)
    self._undrawn.start()
    self.addCleanup(mock.patch.stopall)

  def _write(self, **changes):
    path = os.path.join(self.create_tempdir(), 'report.html')
    evaluation = made_up.evaluation()
    options = {
        'dataset': made_up.dataset(),
        'datamodels': made_up.datamodels(),
        'evaluation': evaluation,
        'counterfactuals': made_up.counterfactuals(),
        'recipe': {'model': 'linear', 'seed': 7, 'training': {'epochs': 3}},
        'costs': {'training': 61.0, 'fit': 2.5, 'machine': 'two cores'},
        'target_ids': [2, 0],
    }
    page.write(path, **(options | changes))
    with open(path, encoding='utf-8') as file:
      content = file.read()
    self.assertEqual(os.listdir(os.path.dirname(path)), ['report.html'])
    return content, html_reader.Page(content)

  def test_says_what_was_measured(self):
    evaluation = made_up.evaluation()
    effects = made_up.counterfactuals()
    _, read = self._write()
    low, high = evaluation.lds.interval
    for number in (
        evaluation.lds.value,
        low,
        high,
        evaluation.noise_ceiling.value,
        evaluation.mse.value,
        evaluation.r2.value,
        evaluation.pooled_spearman,
        effects.agreement['all'].spearman,
        effects.agreement['helpful'].slope,
    ):
      self.assertIn(tables.number(number), read.words)
    for word in ('linear', 'training.epochs', '61 s', '64 s', 'two cores'):
      self.assertIn(word, read.words)
    self.assertIn(f'{effects.num_retrained} models were trained', read.words)

  def test_sections_come_in_order(self):
    _, read = self._write()
    first_words = [heading.split()[0] for heading in read.headings]
    expected = ['Do', 'Which', 'What', 'Distributions', 'Limits']
    self.assertEqual(first_words, expected)

  def test_is_self_contained(self):
    self._undrawn.stop()
    content, read = self._write()
    self.assertNotRegex(content, r'(?i)https?://|<script|@import|url\(')
    self.assertNotEmpty(read.links)
    for link in read.links:
      self.assertStartsWith(link, 'data:image/png;base64,')
      self.assertStartsWith(base64.b64decode(link.split(',')[1]), _PNG)

  @parameterized.parameters(None, 3)
  def test_cards_show_images_labels_weights_and_curves(self, channels):
    _, read = self._write(dataset=made_up.dataset(channels=channels))
    # 7 figures; a card holds its target, 5 helpful, 1 harmful and a curve.
    self.assertLen(read.links, 7 + 2 * 8)
    self.assertEqual(read.words.count('+0.75'), 2)
    self.assertEqual(read.words.count('−0.25'), 2)
    self.assertIn('below 0 in 100 % of 30 held-out models', read.words)

  def test_target_that_was_not_retrained(self):
    _, read = self._write(target_ids=np.array([1]))
    self.assertIn('Not retrained for this target', read.words)

  def test_table_instead_of_images(self):
    dataset = made_up.dataset(with_images=False)
    _, read = self._write(dataset=dataset)
    self.assertLen(read.links, 7 + 2)  # 7 figures and a curve a card.
    for word in ('train row', '1002', '+0.75', '−0.25'):
      self.assertIn(word, read.words)

  def test_what_is_none_was_not_measured(self):
    _, read = self._write(
        evaluation=made_up.evaluation(replicates=1),
        counterfactuals=made_up.counterfactuals(retrained=False),
    )
    self.assertGreaterEqual(read.words.count('not measured'), 2)
    self.assertIn('ceiling was not measured', read.words)
    self.assertNotIn('and by removing examples', read.words)
    self.assertNotIn('nan', read.words)
    _, read = self._write(counterfactuals=None, costs={}, recipe={})
    self.assertIn('Removing examples: not measured', read.words)

  def test_one_target_without_intervals(self):
    effects = made_up.counterfactuals(target_ids=(2,))
    effects = dataclasses.replace(effects, interval=None)
    _, read = self._write(counterfactuals=effects)
    self.assertNotIn('nan', read.words)

  def test_limits_come_first_and_are_escaped(self):
    _, read = self._write(limits=['Only <two> targets & no more.'])
    own = read.words.index('Only <two> targets & no more.')
    self.assertLess(own, read.words.index('One dataset, one model'))

  def test_everything_is_escaped(self):
    nasty = '<i>&"x'
    content, read = self._write(
        dataset=made_up.dataset(names=(nasty, 'b', 'c', 'd')),
        recipe={'model': nasty, nasty: nasty},
        costs={nasty: nasty},
    )
    self.assertNotIn('<i>', content)
    self.assertIsNone(re.search('alt="[^"]*<', content))
    self.assertIn(nasty, read.words)

  def test_a_loss_is_said_to_be_one(self):
    fitted = made_up.datamodels('log_loss')
    _, read = self._write(
        datamodels=fitted, evaluation=made_up.evaluation(fitted)
    )
    self.assertIn('This outcome is a loss', read.words)
    self.assertIn('nats', read.words)

  def test_errors_leave_what_was_there(self):
    path = os.path.join(self.create_tempdir(), 'report.html')
    with open(path, 'w', encoding='utf-8') as file:
      file.write('before')
    options = {
        'dataset': made_up.dataset(),
        'datamodels': made_up.datamodels(),
        'evaluation': made_up.evaluation(),
        'counterfactuals': None,
        'recipe': {},
        'costs': {},
        'target_ids': [0],
    }
    with self.assertRaisesRegex(ValueError, 'from 0 to 5'):
      page.write(path, **(options | {'target_ids': [9]}))
    with self.assertRaisesRegex(ValueError, 'list of sentences'):
      page.write(path, **options, limits='One sentence.')
    with self.assertRaisesRegex(ValueError, 'Unknown split'):
      page.write(path, **options, targets='validation')
    with open(path, encoding='utf-8') as file:
      self.assertEqual(file.read(), 'before')

  def test_choose_targets_and_save_are_where_callers_look(self):
    self.assertTrue(callable(page.choose_targets))
    self.assertTrue(callable(plots.save))


if __name__ == '__main__':
  absltest.main()
