"""Tests of files of other packages: what is written is read again."""

import io
import pickle
import zipfile

from absl.testing import absltest
from absl.testing import parameterized
import numpy as np
from scipy import stats

from jdm import datamodels as datamodels_lib
from jdm import metrics
from jdm.interop import dattri
from jdm.interop import madrylab
from jdm.interop import torch_files
from jdm.regressors import lasso
from tests import planted


def _write_pt(path, tensors):
  """What torch.save writes of a dict of tensors, byte by byte enough."""

  class Named:
    """Pickled as the name of something in a module."""

    def __init__(self, module, name):
      self.place = f'{module}\n{name}\n'

  class Pickler(pickle._Pickler):  # The one in Python can be told what to do.

    def save(self, obj, save_persistent_id=True):
      if isinstance(obj, Named):
        self.write(pickle.GLOBAL + obj.place.encode())
      elif isinstance(obj, np.ndarray):
        kind = {
            'float32': 'FloatStorage',
            'float16': 'HalfStorage',
            'int64': 'LongStorage',
        }[obj.dtype.name]
        storage = (
            'storage',
            Named('torch', kind),
            str(len(data)),
            'cpu',
            obj.size,
        )
        data.append(obj)
        stride = tuple(s // obj.itemsize for s in obj.strides)
        self.save(Named('torch._utils', '_rebuild_tensor_v2'))
        # The storage is a persistent id: its tuple, then BINPERSID.
        self.write(pickle.MARK)
        super().save(storage, save_persistent_id=False)
        self.write(pickle.BINPERSID)
        for part in (0, obj.shape, stride, False, {}):
          self.save(part)
        self.write(pickle.TUPLE + pickle.REDUCE)
      else:
        super().save(obj, save_persistent_id)

  data = []
  content = io.BytesIO()
  Pickler(content, protocol=2).dump(tensors)
  with zipfile.ZipFile(path, 'w') as archive:
    archive.writestr('archive/data.pkl', content.getvalue())
    for number, array in enumerate(data):
      archive.writestr(f'archive/data/{number}', array.tobytes())


class TorchFilesTest(absltest.TestCase):

  def _path(self, name):
    return self.create_tempdir().full_path + f'/{name}'

  def test_tensors_are_read_without_torch(self):
    path = self._path('a.pt')
    values = {
        'weight': np.arange(6, dtype=np.float32).reshape(2, 3),
        'pair': (np.arange(3), [np.ones((2, 2), np.float16)]),
        'note': 'text',
    }
    _write_pt(path, values)
    found = torch_files.load(path)
    np.testing.assert_array_equal(found['weight'], values['weight'])
    np.testing.assert_array_equal(found['pair'][0], [0, 1, 2])
    np.testing.assert_array_equal(found['pair'][1][0], np.ones((2, 2)))
    self.assertEqual(found['note'], 'text')

  def test_no_code_of_a_file_runs(self):
    path = self._path('bad.pt')
    with zipfile.ZipFile(path, 'w') as archive:
      archive.writestr('archive/data.pkl', b"cos\nsystem\n(S'true'\ntR.")
    with self.assertRaisesRegex(ValueError, 'mentions os.system'):
      torch_files.load(path)

  def test_other_files(self):
    path = self._path('text')
    with open(path, 'w', encoding='utf-8') as file:
      file.write('text')
    with self.assertRaisesRegex(ValueError, 'a zip file'):
      torch_files.load(path)


class DattriTest(parameterized.TestCase):

  def test_round_trip(self):
    problem = planted.sparse_linear(0, num_models=20)
    truth = dattri.ground_truth(problem.masks, problem.outcomes)
    path = self.create_tempdir().full_path + '/truth.npz'
    dattri.save(path, truth)
    masks, outcomes = dattri.masks_and_outcomes(dattri.load(path), 60)
    np.testing.assert_array_equal(masks, problem.masks)
    np.testing.assert_array_equal(outcomes, problem.outcomes)

  def test_a_pair_of_tensors(self):
    problem = planted.sparse_linear(0, num_models=5)
    truth = dattri.ground_truth(problem.masks, problem.outcomes)
    path = self.create_tempdir().full_path + '/truth.pt'
    _write_pt(path, tuple(truth))
    masks, outcomes = dattri.masks_and_outcomes(dattri.load(path), 60)
    np.testing.assert_array_equal(masks, problem.masks)
    np.testing.assert_array_equal(outcomes, problem.outcomes)

  def test_their_lds_is_ours(self):
    """As `dattri.metric.lds` computes it: sums of scores over indices."""
    problem = planted.sparse_linear(0, num_models=30)
    values, indices = dattri.ground_truth(problem.masks, problem.outcomes)
    sums = np.stack([problem.weights[rows].sum(axis=0) for rows in indices])
    theirs = [stats.spearmanr(sums[:, t], values[:, t])[0] for t in range(5)]
    ours = metrics.lds(problem.masks @ problem.weights, problem.outcomes)
    np.testing.assert_allclose(ours.per_target, theirs, atol=1e-12)

  def test_losses_are_negated(self):
    problem = planted.sparse_linear(0, num_models=5)
    truth = dattri.ground_truth(
        problem.masks, problem.outcomes, higher_is_better=False
    )
    np.testing.assert_array_equal(truth.values, -problem.outcomes)

  def test_what_does_not_fit(self):
    masks = np.array([[True, False, True], [True, False, False]])
    with self.assertRaisesRegex(ValueError, 'subsets of one size'):
      dattri.ground_truth(masks, np.zeros((2, 4)))
    with self.assertRaisesRegex(ValueError, r'outcomes \[2, num_targets\]'):
      dattri.ground_truth(masks, np.zeros((3, 4)))
    pair = dattri.GroundTruth(np.zeros((2, 4)), np.array([[0, 2], [1, 3]]))
    with self.assertRaisesRegex(ValueError, 'from 0 to 2, got 0 to 3'):
      dattri.masks_and_outcomes(pair, 3)
    pair = dattri.GroundTruth(np.zeros((2, 4)), np.array([[0, 2], [1, 1]]))
    with self.assertRaisesRegex(ValueError, 'each example once'):
      dattri.masks_and_outcomes(pair, 4)
    with self.assertRaisesRegex(ValueError, 'expects values'):
      dattri.masks_and_outcomes(
          dattri.GroundTruth(np.zeros(2), np.zeros((2, 2))), 4
      )


class MadrylabTest(parameterized.TestCase):

  def _folder(self):
    return self.create_tempdir().full_path

  def test_outcomes_round_trip(self):
    problem = planted.sparse_linear(0, num_models=20)
    folder = self._folder()
    madrylab.write_outcomes(folder, problem.masks, problem.outcomes, percent=50)
    masks, margins = madrylab.read_outcomes(folder, percent=50)
    np.testing.assert_array_equal(masks, problem.masks)
    np.testing.assert_allclose(margins, problem.outcomes, rtol=1e-3)
    some = madrylab.read_outcomes(
        folder, percent=50, rows=slice(2, 5), columns=[1, 3]
    )
    np.testing.assert_array_equal(some[0], problem.masks[2:5])
    np.testing.assert_array_equal(some[1], margins[2:5][:, [1, 3]])

  @parameterized.parameters(True, False)
  def test_datamodels_round_trip(self, standardized):
    problem = planted.sparse_linear(0)
    fitted = lasso.fit(problem.masks, problem.outcomes)
    path = self._folder() + '/datamodels.npz'
    options = {'standardized': standardized, 'masks': problem.masks}
    madrylab.write_datamodels(path, fitted, **options)
    found = madrylab.read_datamodels(path, **options)
    np.testing.assert_allclose(found.weights, fitted.weights, atol=1e-6)
    np.testing.assert_allclose(found.bias, fitted.bias, rtol=1e-5)
    np.testing.assert_allclose(found.lam, fitted.lam, rtol=1e-6)
    self.assertAlmostEqual(found.alpha, 0.5)

  def test_standardized_columns_are_undone(self):
    problem = planted.sparse_linear(0, alpha=0.2)
    mean, std = problem.masks.mean(axis=0), problem.masks.std(axis=0)
    weights = np.random.default_rng(0).normal(size=(60, 5))
    bias = np.arange(5.0)
    path = self._folder() + '/datamodels.pt'
    values = {
        'weight': weights.astype(np.float32),
        'bias': bias.astype(np.float32),
        'lam': np.ones(5, np.float32),
    }
    _write_pt(path, values)
    found = madrylab.read_datamodels(
        path, standardized=True, masks=problem.masks
    )
    expected = (problem.masks - mean) / std @ weights + bias
    np.testing.assert_allclose(
        datamodels_lib.predict(found, problem.masks), expected, atol=1e-4
    )

  def test_what_does_not_fit(self):
    folder = self._folder()
    with self.assertRaisesRegex(ValueError, 'no train_masks_50pct'):
      madrylab.read_outcomes(folder, percent=50)
    masks = np.eye(4, dtype=bool)
    with self.assertRaisesRegex(ValueError, 'of 50 %, got 25.0 %'):
      madrylab.write_outcomes(folder, masks, np.zeros((4, 2)), percent=50)
    with self.assertRaisesRegex(ValueError, 'float16 holds'):
      madrylab.write_outcomes(folder, masks, np.full((4, 2), 1e6), percent=25)
    with self.assertRaisesRegex(ValueError, "'test', 'train'"):
      madrylab.write_outcomes(
          folder, masks, np.zeros((4, 2)), percent=25, targets='val'
      )
    path = folder + '/a.npz'
    np.savez(path, weight=np.ones((4, 2)), bias=np.zeros(2))
    with self.assertRaisesRegex(ValueError, r"no \['lam'\]"):
      madrylab.read_datamodels(path, standardized=False)
    np.savez(path, weight=np.ones((4, 2)), bias=np.zeros(2), lam=np.ones(2))
    with self.assertRaisesRegex(ValueError, 'pass `masks`'):
      madrylab.read_datamodels(path, standardized=True)
    with self.assertRaisesRegex(ValueError, 'not the masks'):
      madrylab.read_datamodels(
          path, standardized=True, masks=np.ones((3, 4), bool)
      )


if __name__ == '__main__':
  absltest.main()
