"""Set functions: what every one must keep, and loops as oracles."""

from absl.testing import absltest
from absl.testing import parameterized
import jax
import jax.numpy as jnp
import numpy as np

from jdm.modelpred import set_functions
from tests.models import quick

_NUM, _WIDTH, _SETS, _OUTPUTS = 20, 5, 6, 7


def _problem(seed=0):
  rng = np.random.default_rng(seed)
  points = jnp.asarray(rng.normal(size=(_NUM, _WIDTH)), jnp.float32)
  weights = (rng.random((_SETS, _NUM)) < 0.5).astype(np.float32)
  classes = np.eye(2, dtype=np.float32)[rng.integers(0, 2, _NUM)]
  return points, jnp.asarray(weights), jnp.asarray(classes)


def _made(name):
  network = set_functions.make(name, _OUTPUTS, width=16)
  points, weights, classes = _problem()
  init = quick.jit(network.init)
  return network, init(jax.random.key(0), points, weights, classes)


class SetFunctionsTest(parameterized.TestCase):

  @parameterized.parameters(*set_functions.SET_FUNCTIONS)
  def test_contract(self, name):
    network, variables = _made(name)
    points, weights, classes = _problem()
    found = jax.jit(network.apply)(variables, points, weights, classes)
    self.assertEqual(found.shape, (_SETS, _OUTPUTS))
    self.assertEqual(found.dtype, jnp.float32)
    self.assertGreater(float(jnp.std(found, axis=0).min()), 0)  # It looks.
    order = np.random.default_rng(1).permutation(_NUM)
    apply = quick.jit(network.apply)  # Not one program an operation.
    moved = apply(variables, points[order], weights[:, order], classes[order])
    np.testing.assert_allclose(moved, found, atol=2e-5)
    # Points outside a set do not matter, and may be left away.
    inside = np.flatnonzero(weights[0])
    alone = apply(
        variables, points[inside], weights[:1, inside], classes[inside]
    )
    np.testing.assert_allclose(alone[0], found[0], atol=2e-5)
    # A point that counts twice is two points.
    twice = weights.at[:, 0].set(2.0)
    again = apply(variables, points, twice, classes)
    doubled = apply(
        variables,
        jnp.concatenate([points, points[:1]]),
        jnp.concatenate([weights.at[:, 0].set(1.0), jnp.ones((_SETS, 1))], 1),
        jnp.concatenate([classes, classes[:1]]),
    )
    np.testing.assert_allclose(again, doubled, atol=2e-5)

  def test_released_deepsets_by_hand(self):
    network, variables = _made('deepsets')
    points, weights, classes = _problem()
    found = network.apply(variables, points, weights, classes)
    inner = variables['params']
    elu = lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0)))
    total = np.zeros(16)
    for point, weight in zip(np.asarray(points), np.asarray(weights[0])):
      hidden = point
      for layer in range(3):
        hidden = hidden @ np.asarray(inner['phi'][f'Dense_{layer}']['kernel'])
        hidden = elu(hidden) if layer < 2 else hidden
      total += weight * hidden
    for layer in range(3):
      total = elu(total @ np.asarray(inner['rho'][f'Dense_{layer}']['kernel']))
    expected = total @ np.asarray(inner['out']['kernel'])
    expected += np.asarray(inner['out']['bias'])
    np.testing.assert_allclose(found[0], expected, atol=1e-5)
    self.assertNotIn('bias', inner['phi']['Dense_0'])

  def test_shared_attention_is_attention_to_each_set(self):
    attention = set_functions.Attention(8, 2)
    points, weights, _ = _problem()
    keys = jnp.pad(points, ((0, 0), (0, 3)))
    query = jax.random.normal(jax.random.key(2), (3, 8))
    variables = attention.init(
        jax.random.key(0), query, keys, weights, method='shared'
    )
    shared = attention.apply(variables, query, keys, weights, method='shared')
    each = attention.apply(
        variables,
        jnp.broadcast_to(query, (_SETS, *query.shape)),
        jnp.broadcast_to(keys, (_SETS, *keys.shape)),
        weights,
    )
    np.testing.assert_allclose(shared, each, atol=1e-5)

  def test_point_features(self):
    inputs = np.array([[1.0, 2.0], [3.0, 4.0]])
    features = set_functions.point_features
    plain = features(inputs, np.array([0, 1]), num_classes=2)
    np.testing.assert_array_equal(plain, [[1, 2, 0], [3, 4, 1]])
    signed = features(inputs, np.array([0, 1]), num_classes=2, kind='signed')
    np.testing.assert_array_equal(signed[:, 2:], [[-1, -2, -1], [3, 4, 1]])
    three = features(inputs, np.array([0, 2]), num_classes=3)
    np.testing.assert_array_equal(three[:, 2:], [[1, 0, 0], [0, 0, 1]])
    value = features(inputs, np.array([0.5, 2.0]), num_classes=0, kind='signed')
    np.testing.assert_array_equal(value[1], [3, 4, 6, 8, 2])

  def test_errors(self):
    with self.assertRaisesRegex(ValueError, "'gru'; known"):
      set_functions.make('gru', 3)
    with self.assertRaisesRegex(ValueError, "'deepsets': .*heads"):
      set_functions.make('deepsets', 3, heads=2)
    with self.assertRaisesRegex(ValueError, "got 'raw'"):
      set_functions.point_features(
          np.ones((2, 2)), np.zeros(2, int), num_classes=2, kind='raw'
      )


if __name__ == '__main__':
  absltest.main()
