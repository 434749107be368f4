"""Shares: read off the schedulers' variables, complete, and of no effect."""

from absl.testing import absltest
from absl.testing import parameterized
import numpy as np

from jdm import shares

_ARRAY = {
    'SLURM_ARRAY_TASK_ID': '12',
    'SLURM_ARRAY_TASK_COUNT': '4',
    'SLURM_ARRAY_TASK_MIN': '10',
    'SLURM_ARRAY_TASK_MAX': '13',
}
_TASKS = {'SLURM_PROCID': '1', 'SLURM_NTASKS': '3'}
_LIST = {
    'SLURM_ARRAY_TASK_ID': '3',
    'SLURM_ARRAY_TASK_COUNT': '2',
    'SLURM_ARRAY_TASK_MIN': '3',
    'SLURM_ARRAY_TASK_MAX': '7',
    'SLURM_ARRAY_TASK_STEP': '1',
}
_POD = {'JOB_COMPLETION_INDEX': '5'}


class FindTest(parameterized.TestCase):

  @parameterized.named_parameters(
      ('array', _ARRAY, {}, (2, 4)),
      (
          'array_with_steps',
          {
              'SLURM_ARRAY_TASK_ID': '30',
              'SLURM_ARRAY_TASK_COUNT': '4',
              'SLURM_ARRAY_TASK_MIN': '10',
              'SLURM_ARRAY_TASK_STEP': '10',
          },
          {},
          (2, 4),
      ),
      ('array_before_tasks', {**_TASKS, **_ARRAY}, {}, (2, 4)),
      ('tasks', _TASKS, {}, (1, 3)),
      ('tasks_and_their_count', _TASKS, {'count': 3}, (1, 3)),
      ('pod', _POD, {'count': 6}, (5, 6)),
      ('arguments_first', _ARRAY, {'index': 0, 'count': 7}, (0, 7)),
  )
  def test_found(self, variables, arguments, expected):
    found = shares.find(variables, **arguments)
    self.assertEqual((found.index, found.count), expected)

  def test_nobody_said_anything(self):
    self.assertIsNone(shares.find({'HOME': '/'}))
    # A Slurm job that is no array and was not started by srun.
    self.assertIsNone(shares.find({'SLURM_NTASKS': '4'}))

  @parameterized.named_parameters(
      ('index_alone', {}, {'index': 1}, 'needs worker_count'),
      ('count_alone', {}, {'count': 2}, 'needs worker_index'),
      ('pod_alone', _POD, {}, 'JOB_COMPLETION_INDEX=5 .* pass worker_count'),
      ('out_of_range', {}, {'index': 3, 'count': 3}, 'got 3 of 3'),
      (
          'array_of_other_steps',
          {**_ARRAY, 'SLURM_ARRAY_TASK_MIN': '0'},
          {},
          '4 array tasks from 0 to 13 are a list',
      ),
      ('array_that_is_a_list', _LIST, {}, 'submit a range'),
      ('negative', {}, {'index': -1, 'count': 3}, 'got -1 of 3'),
      ('pod_out_of_range', _POD, {'count': 5}, 'got 5 of 5 .from JOB'),
      ('two_counts', _TASKS, {'count': 4}, 'pass worker_index as well'),
      ('words', {'SLURM_PROCID': 'x'}, {}, "SLURM_PROCID must.* got 'x'"),
  )
  def test_errors(self, variables, arguments, words):
    with self.assertRaisesRegex(ValueError, words):
      shares.find(variables, **arguments)


class ShareTest(parameterized.TestCase):

  @parameterized.parameters(1, 3, 9)
  def test_every_chunk_is_of_one_share(self, count):
    held = [shares.Share(i, count).holds(np.arange(7)) for i in range(count)]
    np.testing.assert_array_equal(np.sum(held, axis=0), 1)

  def test_says_who_it_is(self):
    found = shares.find(_TASKS)
    self.assertEqual(
        str(found), 'worker 1 of 3 (from SLURM_PROCID and SLURM_NTASKS)'
    )


if __name__ == '__main__':
  absltest.main()
