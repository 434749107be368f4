"""Many models at once: one program for one model, run for all of them."""

from jdm.training import ensemble
from jdm.training import sgd

Config = sgd.Config
Trainer = ensemble.Trainer

__all__ = ['Config', 'Trainer', 'ensemble', 'sgd']
