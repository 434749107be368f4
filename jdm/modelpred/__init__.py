"""ModelPred: from a training set to the parameters of the model trained on it.

  labels         subsets and the parameters of the models trained on them
  set_functions  neural networks of sets: DeepSets, DeepSets+, Set Transformer
  heads          from what a set function puts out to parameters, and back
  losses         parameter error, local and global regularization, no labels
  predictor      fit, predict, save, load
  refine         Newton and gradient steps from a prediction
  certificates   how far a prediction can be from the truth
  baselines      what a predictor has to beat

References:
  Zeng et al., `ModelPred: A framework for predicting trained model from
  training data <https://arxiv.org/abs/2111.12545>`_, SaTML 2023.
"""
