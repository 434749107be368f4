"""More outcomes of a pool that is there: read from it, or refused with advice."""

import re
import tempfile

from absl.testing import absltest

from jdm import store as store_lib
from tests.experiments import binaries_test

_SMALL = (
    '--dataset=digits',
    '--num_train=60',
    '--num_test=6',
    '--epochs=1',
    '--batch_size=20',
)


class MoreOutcomesTest(absltest.TestCase):

  def _collect(self, workdir, num_models, *flags):
    return binaries_test.run(
        'collect_outcomes',
        f'--workdir={workdir}',
        f'--num_models={num_models}',
        *_SMALL,
        *flags,
    )

  def test_what_follows_from_logits_needs_no_training(self):
    with tempfile.TemporaryDirectory() as workdir:
      done = self._collect(workdir, 8, '--outcomes=logits')
      self.assertEqual(done.returncode, 0, done.stderr)
      done = self._collect(workdir, 12, '--outcomes=correctness')
      self.assertEqual(done.returncode, 0, done.stderr)
      self.assertIn('nothing is trained again', done.stdout)
      self.assertIn('4 models to train', done.stdout)  # The pool grows.
      done = self._collect(
          workdir, 12, '--outcomes=correctness', '--targets=train'
      )
      self.assertEqual(done.returncode, 2)
      self.assertRegex(
          done.stderr,
          'neither correctness_train nor the logits.*trained again.*'
          '--outcomes=logits,correctness --targets=test,train',
      )

  def test_a_timed_convolution_is_of_the_recipe(self):
    with tempfile.TemporaryDirectory() as workdir:
      flags = ('--model=cnn', '--num_train=30', '--batch_size=10')
      done = self._collect(workdir, 2, *flags, '--convolution=auto')
      self.assertEqual(done.returncode, 0, done.stderr)
      found = re.search(r'pass --convolution=(\w+) from now', done.stdout)
      assert found is not None
      options = store_lib.OutcomeStore.open(f'{workdir}/store').recipe[
          'model_options'
      ]
      self.assertEqual(options.get('convolution', 'im2col'), found.group(1))

  def test_another_model_is_refused_as_ever(self):
    with tempfile.TemporaryDirectory() as workdir:
      self._collect(workdir, 4)
      done = self._collect(workdir, 4, '--model=mlp')
      self.assertEqual(done.returncode, 2)
      self.assertIn('another recipe', done.stderr)


if __name__ == '__main__':
  absltest.main()
