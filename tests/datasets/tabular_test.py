"""Tests of scikit-learn's tables against its own StandardScaler."""

from absl.testing import absltest
from absl.testing import parameterized
import numpy as np
from sklearn import datasets
from sklearn import preprocessing

from jdm import datasets as jdm_datasets
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


class OptionsTest(parameterized.TestCase):

  def test_max_norm(self):
    plain = jdm_datasets.load('breast_cancer')
    data = jdm_datasets.load('breast_cancer', scale='max_norm')
    np.testing.assert_array_equal(data.train.ids, plain.train.ids)
    norms = np.linalg.norm(data.train.inputs, axis=1)
    self.assertAlmostEqual(float(norms.max()), 1.0, places=5)
    self.assertGreater(float(data.train.inputs.min()), -1e-9)

  def test_first_classes(self):
    data = jdm_datasets.load('iris', first_classes=2, scale='max_norm')
    self.assertEqual(data.num_classes, 2)
    self.assertLen(data.class_names, 2)
    self.assertEqual(len(data.train) + len(data.test), 100)
    self.assertEqual(set(data.train.labels.tolist()), {0, 1})

  @parameterized.parameters(
      ('iris', {'scale': 'unit'}, "got 'unit'"),
      ('iris', {'first_classes': 4}, '3 classes'),
      ('iris', {'first_classes': 1}, '2 or more'),
      ('diabetes', {'first_classes': 2}, '0 classes'),
  )
  def test_option_errors(self, table, options, words):
    with self.assertRaisesRegex(ValueError, words):
      jdm_datasets.load(table, **options)


if __name__ == '__main__':
  absltest.main()
