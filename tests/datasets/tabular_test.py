"""Tests of scikit-learn's tables against its own StandardScaler."""

from absl.testing import absltest
from absl.testing import parameterized
import numpy as np
from sklearn import datasets
from sklearn import preprocessing

from jdm.datasets import tabular


class TabularTest(parameterized.TestCase):

  @parameterized.named_parameters(
      ('iris', 'iris', 120, 'cd04b63509244707'),
      ('wine', 'wine', 142, 'a6856dcea679eecb'),
      ('breast_cancer', 'breast_cancer', 455, 'b6aeab51db3b1cea'),
      ('diabetes', 'diabetes', 353, '6b7aa3220a9fd3b2'),
  )
  def test_matches_scikit_learn(self, table, num_train, fingerprint):
    data = tabular.load(table)
    options = {'scaled': False} if table == 'diabetes' else {}
    source = getattr(datasets, f'load_{table}')(**options)
    rows = np.random.default_rng(0).permutation(len(source.target))
    inputs = source.data[rows]
    scaler = preprocessing.StandardScaler().fit(inputs[:num_train])
    self.assertLen(data.train, num_train)
    # One float32 rounding of numbers up to 12.
    np.testing.assert_allclose(
        data.train.inputs, scaler.transform(inputs[:num_train]), atol=2e-6
    )
    np.testing.assert_allclose(
        data.test.inputs, scaler.transform(inputs[num_train:]), atol=2e-6
    )
    if data.num_classes:
      labels = source.target[rows[num_train:]]
      np.testing.assert_array_equal(data.test.labels, labels)
      self.assertEqual(data.class_names, tuple(map(str, source.target_names)))
    self.assertStartsWith(data.fingerprint, fingerprint)

  def test_diabetes_is_standardized_regression(self):
    data = tabular.load('diabetes')
    self.assertEqual(data.num_classes, 0)
    # 353 float32 numbers near 1 are averaged.
    np.testing.assert_allclose(data.train.labels.mean(), 0, atol=1e-6)
    np.testing.assert_allclose(data.train.labels.std(), 1, atol=1e-6)

  def test_unknown_table(self):
    with self.assertRaisesRegex(ValueError, "'boston'; known: iris, wine"):
      tabular.load('boston')


if __name__ == '__main__':
  absltest.main()
