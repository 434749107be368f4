"""jdm (JAX DataModels): how training data shapes models, at scale.

The rooms, in the order in which data flows through them:

  subsets       which training examples each model sees
  datasets      the examples
  models        what is trained
  training      many models at once: vmap over models, mapped over devices
  outcomes      what is read off a trained model (margins, losses, parameters)
  store         where the outcomes of all models live; resumable
  collection    subsets -> training -> store
  solvers       the batched LASSO and its certificates
  regressors    masks and outcomes -> Datamodels
  datamodels    predict, save, load
  recipe        what a pool of models is made by
  evaluation    scores on models that no fit has seen
  metrics       linear datamodeling score, noise ceiling, errors, intervals
  effects       what retraining says
  attributors   scores of examples that need few models, from gradients
  analysis      what applications are made of: values, support, directions, ...
  applications  what datamodels are for
  interop       scikit-learn estimators
  reports       pictures and pages
  interop       files of dattri and of MadryLab
"""

from jdm.datamodels import Datamodels
from jdm.datasets.dataset import Dataset
from jdm.solvers.moments import Moments
from jdm.store import OutcomeStore

__version__ = '0.1.0'

__all__ = ['Datamodels', 'Dataset', 'Moments', 'OutcomeStore', '__version__']
