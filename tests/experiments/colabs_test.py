"""Executes the notebooks, cell by cell."""

import os
import pathlib

from absl.testing import absltest
from absl.testing import parameterized
import nbclient
import nbformat

_ROOT = pathlib.Path(__file__).parents[2]
_FOLDER = _ROOT / 'experiments' / 'colabs'


class ColabsTest(parameterized.TestCase):

  @parameterized.parameters(
      *((p.name,) for p in sorted(_FOLDER.glob('*.ipynb')))
  )
  def test_runs(self, name):
    notebook = nbformat.read(_FOLDER / name, as_version=4)
    for cell in notebook.cells:
      self.assertFalse(
          cell.get('outputs'), 'notebooks are saved without outputs'
      )
    os.environ['PYTHONPATH'] = str(_ROOT)
    client = nbclient.NotebookClient(notebook, timeout=300)
    client.execute()


if __name__ == '__main__':
  absltest.main()
