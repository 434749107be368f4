"""Other packages' ways in and out of jdm; none of their files needs them.

scikit_learn  estimators with scikit-learn's interface
dattri        ground truth of its LDS: subsets and outcomes of retrained models
madrylab      masks, margins and datamodels, as released and as fitted
torch_files   tensors in .pt files, read without PyTorch
"""
