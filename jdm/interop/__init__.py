"""Files of other packages, read and written; none of them is needed.

dattri       ground truth of its LDS: subsets and outcomes of retrained models
madrylab     masks, margins and datamodels, as released and as fitted
torch_files  tensors in .pt files, read without PyTorch
"""
