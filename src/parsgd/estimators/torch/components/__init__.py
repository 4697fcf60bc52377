"""Components of the estimators: modules, losses, optimizers and tensors from parameters."""
