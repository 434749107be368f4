"""Outcomes against numpy loops, and the contract of the table."""

from absl.testing import absltest
from absl.testing import parameterized
import jax
import jax.numpy as jnp
import numpy as np

from jdm import outcomes

_NUM_TARGETS, _NUM_CLASSES = 7, 4


def _logits(scale=3.0):
  rng = np.random.default_rng(0)
  values = scale * rng.normal(size=(_NUM_TARGETS, _NUM_CLASSES))
  return values.astype(np.float32), np.arange(_NUM_TARGETS) % _NUM_CLASSES


def _probability(logits, label):
  exponentials = np.exp(np.asarray(logits, np.float64) - logits.max())
  return exponentials[label] / exponentials.sum()


_BY_HAND = {
    'margin': lambda z, y: z[y] - max(np.delete(z, y)),
    'soft_margin': lambda z, y: np.log(
        _probability(z, y) / (1 - _probability(z, y))
    ),
    'log_loss': lambda z, y: -np.log(_probability(z, y)),
    'correctness': lambda z, y: float(np.argmax(z) == y),
    'logits': lambda z, y: z,
}


def _compute(name, logits, labels):
  return outcomes.OUTCOMES[name].compute(
      jnp.asarray(logits), jnp.asarray(labels)
  )


class OracleTest(parameterized.TestCase):

  @parameterized.parameters(*_BY_HAND)
  def test_matches_a_loop(self, name):
    logits, labels = _logits()
    expected = [_BY_HAND[name](z, y) for z, y in zip(logits, labels)]
    # float32 against float64.
    np.testing.assert_allclose(
        _compute(name, logits, labels), expected, rtol=1e-4, atol=1e-5
    )

  def test_squared_error(self):
    predictions = np.array([[1.0], [2.0], [-3.0]], np.float32)
    found = _compute('squared_error', predictions, np.array([0.5, 2.0, 1.0]))
    np.testing.assert_allclose(found, [0.25, 0.0, 16.0], rtol=1e-6)

  def test_parameters(self):
    params = {'b': jnp.arange(2.0), 'a': jnp.arange(6.0).reshape(2, 3)}
    found = outcomes.OUTCOMES['parameters'].compute(params)
    np.testing.assert_array_equal(found, [0, 1, 2, 3, 4, 5, 0, 1])

  def test_soft_margin_of_a_confident_model(self):
    # log(p / (1 - p)) in float32 would be infinite here.
    logits = np.array([[60.0, 0.0, 0.0]], np.float32)
    found = _compute('soft_margin', logits, np.array([0]))
    np.testing.assert_allclose(found, [60 - np.log(2)], rtol=1e-6)

  def test_soft_margin_is_below_the_margin_and_meets_it_for_two_classes(self):
    logits, labels = _logits()
    soft = _compute('soft_margin', logits, labels)
    self.assertTrue((soft < _compute('margin', logits, labels)).all())
    two = _compute('soft_margin', logits[:, :2], labels % 2)
    np.testing.assert_allclose(
        two, _compute('margin', logits[:, :2], labels % 2), rtol=1e-5
    )

  def test_a_tie_is_right_when_the_class_comes_first(self):
    found = _compute('correctness', np.zeros((2, 3)), np.array([0, 1]))
    np.testing.assert_array_equal(found, [1.0, 0.0])


class ContractTest(parameterized.TestCase):

  @parameterized.parameters(*outcomes.OUTCOMES)
  def test_shape_type_jit_and_vmap(self, name):
    outcome = outcomes.OUTCOMES[name]
    if outcome.of_parameters:
      self.skipTest('reads no logits')
    logits, labels = _logits()
    if outcome.task == 'regression':
      logits, labels = logits[:, :1], labels.astype(np.float32)
    found = _compute(name, logits, labels)
    self.assertEqual(found.dtype, jnp.float32)
    self.assertLen(found, _NUM_TARGETS)
    self.assertTrue(np.isfinite(found).all())
    many = jax.jit(jax.vmap(outcome.compute, in_axes=(0, None)))
    stacked = many(jnp.stack([logits, logits]), labels)
    np.testing.assert_allclose(stacked[1], found, rtol=1e-6)
    half = _compute(name, jnp.asarray(logits, jnp.bfloat16), labels)
    self.assertEqual(half.dtype, jnp.float32)

  @parameterized.parameters(*outcomes.OUTCOMES)
  def test_a_diverged_model_is_seen(self, name):
    outcome = outcomes.OUTCOMES[name]
    bad = jnp.full((3, 4), jnp.nan)
    if outcome.of_parameters:
      found = outcome.compute({'w': bad})
    else:
      found = outcome.compute(bad, jnp.zeros(3, jnp.int32))
    self.assertFalse(np.isfinite(found).any())

  @parameterized.parameters(*outcomes.OUTCOMES)
  def test_direction(self, name):
    outcome = outcomes.OUTCOMES[name]
    if outcome.higher_is_better is None:
      self.skipTest('has no direction')
    if outcome.task == 'regression':
      good, bad = jnp.zeros((1, 1)), jnp.ones((1, 1))
      labels = jnp.zeros(1)
    else:
      good, bad = jnp.asarray([[4.0, 0.0]]), jnp.asarray([[0.0, 4.0]])
      labels = jnp.zeros(1, jnp.int32)
    better = outcome.compute(good, labels) - outcome.compute(bad, labels)
    self.assertEqual(bool(better[0] > 0), outcome.higher_is_better)


class GetTest(parameterized.TestCase):

  def test_keeps_the_order_asked_for(self):
    self.assertEqual(
        list(outcomes.get(('margin', 'correctness'), 3)),
        ['margin', 'correctness'],
    )

  @parameterized.parameters(((),), (('margin', 'margin'),), (('loss',),))
  def test_names(self, names):
    with self.assertRaisesRegex(ValueError, 'different outcomes of.*margin'):
      outcomes.get(names, 3)

  def test_classification_outcome_of_a_regression(self):
    words = r"regression problem, for which \['margin'\].*squared_error"
    with self.assertRaisesRegex(ValueError, words):
      outcomes.get(('logits', 'margin'), 0)

  def test_regression_outcome_of_a_classification(self):
    words = r"classification problem.*'squared_error'.*soft_margin"
    with self.assertRaisesRegex(ValueError, words):
      outcomes.get(('squared_error',), 3)

  @parameterized.parameters(0, 3)
  def test_outcomes_of_any_task(self, num_classes):
    self.assertLen(outcomes.get(('logits', 'parameters'), num_classes), 2)


if __name__ == '__main__':
  absltest.main()
