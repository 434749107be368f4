"""How the peers of compare_attributors are searched, and written as rows.

Imports nothing of jdm, and no package of a peer; see dattri_attributors.py.
"""

from collections.abc import Callable, Mapping, Sequence
import contextlib
import importlib.metadata
import json
import os
import time
from typing import Any, NamedTuple

import numpy as np

_POWERS = {2**i for i in range(10)}
_NUM_TOP = 10  # Of `top_overlap`, as for jdm's own methods.


class Peer(NamedTuple):
  """A method of a package that scores with one model at a time.

  Attributes:
    package: that it is of.
    shared: options of the work that several candidates share.
    options: of the candidates, tried with each of the shared ones.
    prepare: from work, model and shared options to what `score` reads.
    score: from work, that, and options to scores `[num_train, num_targets]` and
      factors of examples `[num_train, 1]`: each is averaged over models, and
      their product is the result.
  """

  package: str
  shared: Sequence[Mapping[str, Any]]
  options: Sequence[Mapping[str, Any]]
  prepare: Callable[[Any, int, Mapping[str, Any]], Any]
  score: Callable[[Any, Any, Mapping[str, Any]], tuple[Any, Any]]


class Sums(NamedTuple):
  """Scores added up over models, of one candidate."""

  values: Any
  factors: Any

  def plus(self, other: 'Sums') -> 'Sums':
    """Of the models of both."""
    return Sums(self.values + other.values, self.factors + other.factors)

  def minus(self, other: 'Sums') -> 'Sums':
    """Of the models that the other has not."""
    return Sums(self.values - other.values, self.factors - other.factors)

  def mean(self, num: int) -> np.ndarray:
    """The scores of so many models."""
    values = self.values / num * (self.factors / num)
    return np.asarray(values, np.float32)


def sweep(work: Any, name: str, peer: Peer, limit: float) -> None:
  """Tries all candidates, model by model, and writes a row for each budget."""
  wanted = sorted(set(work.num_read.values()))
  # Where rows and their halves end; the time may be over anywhere else.
  ends = {size // part for size in wanted for part in (1, 2)} | _POWERS
  kept: dict[int, list[Sums]] = {}
  sums: list[Sums] = []
  seconds, start = [0.0], time.process_time()
  for row in range(wanted[-1]):
    found, spent = _one_model(work, row, peer)
    sums = [a.plus(b) for a, b in zip(sums, found)] if sums else found
    seconds.append(seconds[-1] + spent)
    is_last = time.process_time() - start > limit or row + 1 == wanted[-1]
    if is_last or row + 1 in ends:
      kept[row + 1] = sums
    if is_last:
      break
  num_found = len(seconds) - 1
  options = [{**s, **o} for s in peer.shared for o in peer.options]
  for budget, num in work.num_read.items():
    num = min(num, num_found)
    half = max((n for n in kept if n <= num / 2), default=0)
    rows = [
        (o, total.mean(num), _overlap(total, num, kept, half, i))
        for i, (o, total) in enumerate(zip(options, kept[num]))
    ]
    write(work, name, peer.package, budget, num, seconds[num], rows)
  total = time.process_time() - start
  print(f'{name}: {num_found} models, {total:.0f} CPU s', flush=True)


def _one_model(work, row, peer) -> tuple[list[Sums], float]:
  """Sums of all candidates, and the seconds of one: shared work and a score."""
  found, seconds = [], []
  for shared in peer.shared:
    start = time.process_time()
    state = peer.prepare(work, row, shared)
    for number, options in enumerate(peer.options):
      values, factors = peer.score(work, state, options)
      found.append(Sums(np.asarray(values), np.asarray(factors)))
      if not number:
        seconds.append(time.process_time() - start)
  return found, float(np.mean(seconds))


def _overlap(total, num, kept, half, which) -> float:
  """Between the first models, at most half, and the rest; NaN of one."""
  if not half:
    return float('nan')
  first = kept[half][which]
  return top_overlap(first.mean(half), total.minus(first).mean(num - half))


def top_overlap(first: np.ndarray, second: np.ndarray) -> float:
  """The share of the ten most helpful examples that two estimates agree on."""
  is_top = []
  for values in (first, second):
    rows = np.argsort(-values, axis=0, kind='stable')[:_NUM_TOP]
    chosen = np.zeros(values.shape, bool)
    np.put_along_axis(chosen, rows, True, axis=0)
    is_top.append(chosen)
  return float((is_top[0] & is_top[1]).sum() / is_top[0].sum())


def write(
    work: Any,
    name: str,
    package: str,
    budget: int,
    num_read: int,
    seconds: float,
    rows: Sequence[tuple[Mapping[str, Any], np.ndarray, float]],
) -> None:
  """A row: scores of candidates with their options and overlaps."""
  rows = [row for row in rows if np.isfinite(row[1]).all()]
  path = os.path.join(work.folder, f'peer_{name}_{budget}')
  if not rows:
    print(f'{name}: no candidate is finite')
    for ending in ('npz', 'json'):  # Of an earlier run.
      with contextlib.suppress(FileNotFoundError):
        os.remove(f'{path}.{ending}')
    return
  arrays: dict[str, Any] = {f'c{i}': row[1] for i, row in enumerate(rows)}
  np.savez(f'{path}.npz', **arrays)
  per_model = len(work.train) + len(work.tests)
  about = {
      'method': name,
      'budget': budget,
      'num_read': num_read,
      'cpu_seconds': seconds,
      # Those of examples and targets; a Hessian takes more, uncounted ones.
      'gradients': None if 'influence' in name else per_model * num_read,
      'candidates': {f'c{i}': row[0] for i, row in enumerate(rows)},
      'top_overlap': {f'c{i}': row[2] for i, row in enumerate(rows)},
      'versions': {n: version(n) for n in ('torch', package)},
  }
  with open(f'{path}.json', 'w', encoding='utf-8') as file:
    json.dump(about, file, indent=1)


def version(name) -> str:
  try:
    return importlib.metadata.version(name)
  except importlib.metadata.PackageNotFoundError:
    return ''
