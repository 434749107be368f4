"""What applications are made of: methods on masks, outcomes and weights.

Changes of a training set, and what came of them:
  interventions       remove, add, relabel: trials about one target each
  curves              the first examples of an order, or all but these
  support             after how many removals a margin falls below zero
  directions, clusters, submatrix   examples that act together
  cues                a cue whose place is known, and what finds it

Scores of examples, and of pairs of examples:
  semivalues, shapley, knn_shapley  what an example is worth
  sampled_values      the same, of sets that are chosen for it
  influence           what an example does to a target
  pairs, likeness     pairs by weight, by distance, by what a pool says
  suspects, detection how well a score finds what is known

Pools:
  scores, learning_curves           how good datamodels are, by outcome and size
  noise_stability, correlated_subsets   how linear outcomes are in the subset
  uncertainty         a bootstrap over models: intervals of weights
"""
