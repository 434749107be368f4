"""What a collection says of itself while it runs."""

import json
import pathlib
import sys
from unittest import mock

from absl.testing import absltest
from absl.testing import parameterized
import jax
import jax.numpy as jnp

from experiments import metrics
from jdm import collection

_COST = collection.Estimate(
    num_models=30, compile_seconds=1.0, seconds=2.0, num_bytes=9, num_devices=2
)


def _done(first_row, num_diverged=0):
  return collection.ChunkDone(
      first_row=first_row,
      last_row=first_row + 9,
      num_models=10,
      num_diverged=num_diverged,
      seconds=0.5,
      means={'margin': 1.5},
  )


class MetricsTest(parameterized.TestCase):

  def setUp(self):
    super().setUp()
    self.workdir = pathlib.Path(self.create_tempdir().full_path)

  def _lines(self):
    text = (self.workdir / 'metrics.jsonl').read_text(encoding='utf-8')
    return [json.loads(line) for line in text.splitlines()]

  def test_lines(self):
    log = metrics.Metrics(str(self.workdir), _COST)
    log.on_chunk(_done(0))
    log.on_chunk(_done(10, num_diverged=1))
    summary = log.end(is_complete=False)
    start, first, second, end = self._lines()
    self.assertEqual(start['estimated_seconds'], 2)
    self.assertEqual((first['event'], first['rate']), ('chunk', 20))
    self.assertEqual(second['means'], {'margin': 1.5})
    self.assertEqual(second['num_diverged'], 1)
    self.assertEqual((end['num_models'], end['is_complete']), (20, False))
    self.assertAlmostEqual(end['estimate_error'], (end['seconds'] - 2) / 2)
    self.assertEqual(summary['estimated'], 2)
    # Another process adds its lines.
    metrics.Metrics(str(self.workdir), _COST).on_chunk(_done(20))
    self.assertLen(self._lines(), 6)

  def test_nothing_to_do_leaves_nothing(self):
    log = metrics.Metrics(str(self.workdir), None)
    self.assertEqual(log.end(is_complete=True), {})
    self.assertEmpty(list(self.workdir.iterdir()))

  def test_tensorboard(self):
    log = metrics.Metrics(str(self.workdir), _COST, tensorboard=True)
    log.on_chunk(_done(0))
    log.end(is_complete=True)
    (events,) = (self.workdir / 'tensorboard').iterdir()
    self.assertIn(b'share_diverged', events.read_bytes())

  def test_without_the_package(self):
    with mock.patch.dict(sys.modules, {'tensorboardX': None}):
      with self.assertRaisesRegex(ValueError, r"pip install 'jdm\[tensorboard"):
        metrics.Metrics(str(self.workdir), _COST, tensorboard=True)

  @parameterized.parameters(1, 2, 3)
  def test_profile(self, num_chunks):
    log = metrics.Metrics(str(self.workdir), _COST, profile=True)
    for number in range(num_chunks):
      log.on_chunk(_done(10 * number))
      jax.block_until_ready(jnp.ones(3) + number)
    log.end(is_complete=True)
    self.assertLen(list(self.workdir.glob('profile/**/*.xplane.pb')), 1)


class EstimateTest(absltest.TestCase):

  def test_other_devices(self):
    self.assertEqual(_COST.on(8).seconds, 0.5)
    self.assertEqual(_COST.on(8).compile_seconds, 1)
    self.assertEqual(_COST.on(2), _COST)


if __name__ == '__main__':
  absltest.main()
