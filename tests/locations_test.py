"""Files at URLs: written, read, listed; and what is no URL."""

import os
from unittest import mock

from absl.testing import absltest
from absl.testing import parameterized
import numpy as np

from jdm import datamodels as datamodels_lib
from jdm import locations
from jdm.regressors import difference_of_means
from tests import planted


class LocationsTest(parameterized.TestCase):

  def setUp(self):
    super().setUp()
    self.url = f'file://{self.create_tempdir().full_path}'

  def test_files(self):
    path = f'{self.url}/a/b.json'
    self.assertFalse(locations.exists(path))
    with self.assertRaisesRegex(FileNotFoundError, 'no file at file:'):
      locations.read(path)
    locations.write(path, b'[]')
    locations.write(f'{self.url}/c', b'')
    self.assertTrue(locations.exists(path))
    self.assertEqual(locations.read(path), b'[]')
    self.assertEqual(locations.names(self.url), ['a/b.json', 'c'])

  @parameterized.parameters('foo://bucket/x', 's3://B/x', 'http//://')
  def test_what_is_no_url(self, url):
    with self.assertRaisesRegex(ValueError, 'neither a folder nor an URL'):
      locations.check(url)
    locations.check('runs/mlp')
    locations.check('gs://bucket/runs')

  def test_another_server(self):
    variables = {'AWS_ENDPOINT_URL': 'http://minio:9000', 'AWS_REGION': 'here'}
    with mock.patch.dict(os.environ, variables):
      found = locations.kvstore('s3://pool/runs/mlp', 'masks')
    self.assertEqual(found['endpoint'], 'http://minio:9000')
    self.assertEqual(found['aws_region'], 'here')
    self.assertEqual(
        (found['bucket'], found['path']), ('pool', 'runs/mlp/masks/')
    )

  def test_datamodels(self):
    problem = planted.sparse_linear(0)
    fitted = difference_of_means.fit(problem.masks, problem.outcomes)
    datamodels_lib.save(f'{self.url}/some/fitted.npz', fitted)
    found = datamodels_lib.load(f'{self.url}/some/fitted.npz')
    np.testing.assert_array_equal(found.weights, fitted.weights)
    with self.assertRaisesRegex(ValueError, 'ending in .npz'):
      datamodels_lib.save(f'{self.url}/folder', fitted)
    with self.assertRaisesRegex(FileNotFoundError, 'nothing at'):
      datamodels_lib.load(f'{self.url}/none.npz')


if __name__ == '__main__':
  absltest.main()
