"""Tests of the report of a working directory, whole and in part."""

import contextlib
import dataclasses
import io
import json
import os
import pathlib
import shutil
import tempfile
from unittest import mock

from absl.testing import absltest
from absl.testing import flagsaver
import numpy as np

from experiments import report
from experiments import workdir as workdir_lib
from experiments.applications import job as job_lib
from jdm import collection
from jdm import datamodels as datamodels_lib
from jdm import evaluation as evaluation_lib
from jdm import recipe as recipe_lib
from jdm.applications import counterfactuals
from jdm.reports import canvas
from jdm.reports import tables
from jdm.training import sgd
from tests.reports import html_reader


def _findings(**changes) -> job_lib.Findings:
  options = {
      'result': {},
      'table': {'AUC': 0.9},
      'lead': 'What was done.',
      'figures': {'two words': canvas.blank(1, 1), 'none': None},
      'limits': ['One pool.'],
  }
  return job_lib.Findings(**(options | changes))


def _rebuild(workdir) -> tuple[html_reader.Page | None, str]:
  """The page that is written, and what is printed."""
  printed = io.StringIO()
  with contextlib.redirect_stdout(printed):
    path = report.rebuild(workdir)
  if path is None:
    return None, printed.getvalue()
  return html_reader.Page(pathlib.Path(path).read_text()), printed.getvalue()


class PartsTest(absltest.TestCase):
  """A folder in which no datamodels were evaluated."""

  def setUp(self):
    super().setUp()
    self.workdir = self.create_tempdir().full_path

  def _write(self, name, **changes):
    findings = _findings(**changes)
    for words, figure in findings.figures.items():
      if figure is not None:
        path = report.picture_path(self.workdir, name, words)
        canvas.save(figure, path)
    report.write_section(self.workdir, name, findings, {'AUC': 0.75})

  def test_nothing_to_show(self):
    self.assertIsNone(_rebuild(self.workdir)[0])
    with self.assertRaisesRegex(ValueError, 'holds nothing to report'):
      report.main(self.workdir)

  def test_sections_alone_in_the_order_of_the_table(self):
    self._write('zebra')
    self._write('counterfactuals')
    self._write('aardvark')
    self.assertTrue(
        os.path.exists(os.path.join(self.workdir, 'zebra_two_words.png'))
    )
    read, printed = _rebuild(self.workdir)
    self.assertEqual(printed, '')
    self.assertEqual(read.headings, ['Counterfactuals', 'Aardvark', 'Zebra'])
    self.assertEqual(read.words.count('0.750'), 3)
    self.assertEqual(read.words.count('two words'), 3)
    self.assertIn('models that no fit has seen was not measured', read.words)
    self.assertIn('Made by python -m experiments.', read.words)

  def test_what_cannot_be_read_is_left_out(self):
    self._write('zebra')
    self._write('torn')
    path = os.path.join(self.workdir, 'sections', 'torn.json')
    for content in ('{"name": "to', '[1]', '{"name": "torn", "pictures": 1}'):
      pathlib.Path(path).write_text(content, encoding='utf-8')
      read, printed = _rebuild(self.workdir)
      self.assertEqual(read.headings, ['Zebra'])
      self.assertIn('torn.json is left out', printed)

  def test_damaged_datamodels(self):
    self._write('zebra')
    path = os.path.join(self.workdir, 'datamodels_lasso_test.npz')
    for folder in ('store', 'heldout'):
      os.makedirs(os.path.join(self.workdir, folder))
      file = os.path.join(self.workdir, folder, 'zarr.json')
      pathlib.Path(file).write_text('{}', encoding='utf-8')
    pathlib.Path(path).write_bytes(b'no datamodels')
    read, printed = _rebuild(self.workdir)
    self.assertEqual(read.headings, ['Zebra'])
    self.assertIn('without held-out models', printed)


class EvaluatedTest(absltest.TestCase):
  """A folder with a tiny pool, datamodels, and held-out models."""

  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    folder = tempfile.TemporaryDirectory()
    cls.addClassCleanup(folder.cleanup)
    cls.made = folder.name
    recipe = recipe_lib.Recipe(
        dataset_options={'num_train': 60, 'num_test': 8},
        training=sgd.Config(learning_rate=0.05, epochs=2, batch_size=10),
    )
    pool = recipe_lib.build(recipe)
    store = collection.collect(pool, f'{cls.made}/store', num_models=80)
    cls.fitted = workdir_lib.fit(
        store, store.completed(), outcome='soft_margin', num_val=20, tol=1e-3
    )
    path = f'{cls.made}/datamodels_lasso_test.npz'
    datamodels_lib.save(path, cls.fitted)
    with contextlib.redirect_stdout(io.StringIO()):
      stores = workdir_lib.collect_heldout(cls.made, pool, 12, 2)
    masks, outcomes, ids = workdir_lib.read_heldout(stores, 'soft_margin', 12)
    cls.evaluation = evaluation_lib.evaluate(
        cls.fitted, masks, outcomes, heldout_ids=ids
    )

  def setUp(self):
    super().setUp()
    self.workdir = self.create_tempdir().full_path
    shutil.copytree(self.made, self.workdir, dirs_exist_ok=True)
    # Figures are made as ever; drawing them all would take most of the time.
    self.enter_context(mock.patch.object(canvas, 'png', lambda figure: b'PNG'))

  def _removals(self) -> counterfactuals.Counterfactuals:
    rng = np.random.default_rng(0)

    def retrain(masks, replicates):
      outcomes = rng.normal(size=(replicates, len(masks), 8))
      outcomes[:, 1:2] = np.nan  # Diverged.
      return outcomes

    return counterfactuals.counterfactuals(
        self.fitted,
        sizes=[2, 5],
        target_ids=[6, 1, 3],
        retrain=retrain,
        replicates=2,
    )

  def _write_json(self, name, values):
    with open(os.path.join(self.workdir, name), 'w', encoding='utf-8') as file:
      json.dump(values, file)

  def test_scores_are_those_of_the_evaluation(self):
    read, printed = _rebuild(self.workdir)
    self.assertEqual(printed, '')
    first_words = [heading.split()[0] for heading in read.headings]
    expected = ['Do', 'Which', 'What', 'Distributions', 'Limits']
    self.assertEqual(first_words, expected)
    for value in (
        self.evaluation.lds.value,
        self.evaluation.noise_ceiling.value,
        self.evaluation.mse.value,
    ):
      self.assertIn(tables.number(value), read.words)
    self.assertIn('Removing examples: not measured', read.words)

  def test_costs_command_and_sections(self):
    made_by = {'command': 'python -m experiments.quickstart', 'commit': 'abc1'}
    self._write_json(
        'results.json',
        {'stage_seconds': {'train the pool': 61.0}, 'made_by': made_by},
    )
    findings = _findings(figures={})
    report.write_section(self.workdir, 'zebra', findings, {'AUC': 0.75})
    read, _ = _rebuild(self.workdir)
    self.assertIn('Zebra', read.headings)
    for words in ('61 s', 'experiments.quickstart', 'abc1', 'fixed_size'):
      self.assertIn(words, read.words)

  def test_average_as_in_the_evaluation(self):
    self._write_json('evaluation.json', {'average': True})
    read, _ = _rebuild(self.workdir)
    self.assertNotIn(tables.number(self.evaluation.mse.value), read.words)

  def test_removals_go_through_a_file_and_back(self):
    removals = self._removals()
    report.write_removals(
        self.workdir, removals, 'soft_margin', np.array([3, 6])
    )
    again, shown = report._removals(self.workdir, self.fitted)
    np.testing.assert_array_equal(shown, [3, 6])
    expected = dataclasses.replace(removals, removed=np.zeros((3, 3, 0)))
    for field in dataclasses.fields(removals):
      np.testing.assert_equal(
          getattr(again, field.name), getattr(expected, field.name)
      )
    read, printed = _rebuild(self.workdir)
    self.assertEqual(printed, '')
    self.assertEqual(read.words.count('Trained on everything'), 2)
    self.assertIn(
        tables.number(removals.agreement['helpful'].slope), read.words
    )

  def test_cards_are_of_retrained_targets(self):
    values = self._removals().to_json()
    self._write_json('counterfactuals.json', {**values, 'outcome': 'margin'})
    read, _ = _rebuild(self.workdir)
    self.assertNotIn('Trained on everything', read.words)
    values['outcome'] = 'soft_margin'
    self._write_json('counterfactuals.json', values)
    read, _ = _rebuild(self.workdir)
    self.assertEqual(read.words.count('Trained on everything'), 3)

  def test_intervals_of_weights(self):
    with flagsaver.flagsaver(report_bootstrap=40):
      with contextlib.redirect_stdout(io.StringIO()):
        report.main(self.workdir)
    read, printed = _rebuild(self.workdir)
    self.assertEqual(printed, '')
    self.assertIn('40 resamples of the 80 models', read.words)
    self.assertIn('Reliability', read.words)
    self.assertIn('top 10 shared by both halves', read.words)
    weights = np.asarray(self.fitted.weights) + np.float32(1)
    other = dataclasses.replace(self.fitted, weights=weights)
    path = os.path.join(self.workdir, 'datamodels_lasso_test.npz')
    datamodels_lib.save(path, other)
    read, printed = _rebuild(self.workdir)
    self.assertIn('uncertainty.npz is of other datamodels', printed)
    self.assertNotIn('resamples', read.words)
    self.assertNotIn('shared by both halves', read.words)

  def test_no_weights_to_resample(self):
    os.remove(os.path.join(self.workdir, 'datamodels_lasso_test.npz'))
    with flagsaver.flagsaver(report_bootstrap=40):
      with self.assertRaisesRegex(ValueError, 'run experiments.fit_data'):
        report.main(self.workdir)


if __name__ == '__main__':
  absltest.main()
