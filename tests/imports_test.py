"""Arrows go one way: who may import whom, and what importing jdm changes."""

import ast
from collections.abc import Iterator
import json
import pathlib
import subprocess
import sys

from absl.testing import absltest
from absl.testing import parameterized

from jdm import applications
from jdm import attributors
from jdm import datasets
from jdm import models
from jdm import outcomes
from jdm import regressors

_ROOT = pathlib.Path(__file__).parents[1]
_JDM = _ROOT / 'jdm'

# What each room may import of jdm, besides itself. A new room is a new line.
_ALLOWED = {
    'shuffle': set(),
    'subsets': {'shuffle'},
    'datasets': set(),
    'models': set(),
    'outcomes': set(),
    'shares': set(),
    'locations': set(),
    'zarr_files': {'locations'},
    'store': {'locations', 'zarr_files'},
    'solvers': set(),
    'datamodels': {'locations'},
    'intervals': set(),
    'metrics': {'intervals'},
    'provenance': set(),
    'effects': set(),
    'training': {
        'datasets',
        'models',
        'outcomes',
        'shuffle',
        'solvers',
        'subsets',
    },
    'recipe': {'datasets', 'models', 'outcomes', 'subsets', 'training'},
    'representation': {'recipe', 'subsets', 'training'},
    'collection': {
        'datasets',
        'effects',
        'models',
        'outcomes',
        'provenance',
        'recipe',
        'shares',
        'store',
        'subsets',
        'training',
    },
    'ray_collection': {'collection', 'locations', 'recipe', 'store'},
    'regressors': {'datamodels', 'solvers', 'subsets'},
    'evaluation': {'datamodels', 'metrics'},
    'analysis': {
        'datamodels',
        'effects',
        'intervals',
        'metrics',
        'outcomes',
        'regressors',
        'solvers',
        'subsets',
    },
    'attributors': {
        'analysis',
        'models',
        'outcomes',
        'provenance',
        'recipe',
        'solvers',
        'store',
        'subsets',
        'training',
    },
    'modelpred': {
        'datasets',
        'models',
        'outcomes',
        'solvers',
        'subsets',
        'training',
    },
    'interop': {'datamodels', 'regressors', 'solvers', 'store', 'subsets'},
}
_ALLOWED['applications'] = set(_ALLOWED)
_ALLOWED['reports'] = {
    'analysis',
    'applications',
    'datamodels',
    'datasets',
    'evaluation',
    'intervals',
    'metrics',
}
_EXPORTED = {'datamodels', 'datasets', 'solvers', 'store'}  # By jdm itself.

# Of each shelf: its table, and the files that are not entries of it.
_SHELVES = {
    'applications': (applications.APPLICATIONS, set()),
    'datasets': (
        datasets.DATASETS,
        {
            'answers',
            'components',
            'dataset',
            'pixels',
            'plants',
            'rows',
            'tabular',
            'tfds',
        },
    ),
    'models': (models.MODELS, {'model', 'dense', 'convolution'}),
    'outcomes': (outcomes.OUTCOMES, set()),
    'attributors': (
        attributors.ATTRIBUTORS,
        {
            'cross_fit',
            'gradients',
            'influence_programs',
            'over_models',
            'rebuild',
            'scores',
            'trained',
        },
    ),
    'regressors': (
        regressors.REGRESSORS | regressors.WITH_PRIOR,
        {'distributed', 'observations', 'own_models', 'pools', 'sparse'},
    ),
}


def _imports(file: pathlib.Path) -> Iterator[str]:
  """Dotted names of all modules that a file imports, wherever in it."""
  for node in ast.walk(ast.parse(file.read_text(encoding='utf-8'))):
    if isinstance(node, ast.Import):
      yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
      assert node.level == 0, f'{file}: relative import'
      for alias in node.names:
        yield f'{node.module}.{alias.name}'


def _room(file: pathlib.Path) -> str:
  return file.relative_to(_JDM).with_suffix('').parts[0]


class ImportsTest(parameterized.TestCase):

  def test_every_room_has_its_line(self):
    rooms = {_room(file) for file in _JDM.rglob('*.py')} - {'__init__'}
    self.assertEmpty(rooms - set(_ALLOWED))

  def test_arrows_go_one_way(self):
    for file in sorted(_JDM.rglob('*.py')):
      room = _room(file)
      allowed = _EXPORTED if room == '__init__' else _ALLOWED[room] | {room}
      for name in _imports(file):
        parts = name.split('.')
        if parts[0] == 'jdm':
          self.assertIn(
              parts[1], allowed, f'{file.relative_to(_ROOT)} imports {name}'
          )

  def test_no_circles(self):
    """Rooms can be put in an order in which each imports earlier ones."""
    left = {room: set(allowed) - {room} for room, allowed in _ALLOWED.items()}
    while left:
      free = {room for room, needs in left.items() if not needs & set(left)}
      self.assertNotEmpty(free, f'a circle among {sorted(left)}')
      left = {r: needs for r, needs in left.items() if r not in free}

  def test_the_library_knows_neither_experiments_nor_tests(self):
    for file in _JDM.rglob('*.py'):
      for name in _imports(file):
        self.assertNotIn(name.split('.')[0], ('experiments', 'tests'), file)

  def test_slow_packages_are_imported_where_they_are_needed(self):
    # An estimator of scikit-learn's is one from its first line.
    files = set(_JDM.rglob('*.py')) - {_JDM / 'interop' / 'scikit_learn.py'}
    for file in files:
      for node in ast.parse(file.read_text(encoding='utf-8')).body:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
          self.assertNotRegex(
              ast.unparse(node),
              'matplotlib|tensorflow|orbax|sklearn|ray$',
              file,
          )

  def test_the_library_does_not_print_or_define_flags(self):
    for file in _JDM.rglob('*.py'):
      for node in ast.walk(ast.parse(file.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Call):
          called = ast.unparse(node.func)
          self.assertNotIn(called, ('print', 'jax.config.update'), file)
          self.assertNotStartsWith(called, 'flags.', file)

  def assertNotStartsWith(self, text, start, where):
    self.assertFalse(text.startswith(start), f'{where}: {text}')

  @parameterized.parameters(*_SHELVES)
  def test_every_file_of_a_shelf_is_in_its_table(self, shelf):
    table, machinery = _SHELVES[shelf]
    files = {file.stem for file in (_JDM / shelf).glob('*.py')}
    files -= {'__init__'} | machinery
    self.assertEmpty(files - set(table), f'files of {shelf} not in its table')

  def test_importing_has_no_side_effects(self):
    code = """
import json, sys
import jax
before = dict(jax.config.values)
import jdm
from jdm import collection, recipe, evaluation, applications, regressors
changed = [k for k, v in jax.config.values.items() if before.get(k) != v]
slow = [n for n in ('matplotlib', 'tensorflow', 'tensorflow_datasets',
                    'orbax.checkpoint') if n in sys.modules]
print(json.dumps([changed, slow, bool(jax.config.jax_enable_x64),
                  sorted(set(jdm.__all__))]))
"""
    done = subprocess.run(
        [sys.executable, '-c', code],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    self.assertEqual(done.stderr, '')
    changed, slow, x64, names = json.loads(done.stdout)
    self.assertEmpty(changed)
    self.assertEmpty(slow)
    self.assertFalse(x64)
    self.assertEqual(
        names,
        ['Datamodels', 'Dataset', 'Moments', 'OutcomeStore', '__version__'],
    )


if __name__ == '__main__':
  absltest.main()
