"""ModelPred: from a training set to the parameters of the model trained on it.

  points         what sets are made of, the objective, the models of sets
  labels         subsets and the parameters of the models trained on them
  set_functions  neural networks of sets: DeepSets, DeepSets+, Set Transformer
  heads          from what a set function puts out to parameters, and back
  losses         parameter error, local and global regularization, no labels
  config         how a predictor is made and trained; named recipes
  fitting        trains one
  predictor      predicts, is saved and loaded
  refine         Newton, gradient or training steps from a prediction
  utilities      what a set is worth, by retraining or by prediction
  ensembles      resamples of the points, draws of Laplace's approximation
  mask_gradients how a validation loss changes with each point's weight
  certificates   how far a prediction can be from the truth
  baselines      what a predictor has to beat
  addition       sets with points that no fit has seen

References:
  Zeng et al., `ModelPred: A framework for predicting trained model from
  training data <https://arxiv.org/abs/2111.12545>`_, SaTML 2023.
"""
