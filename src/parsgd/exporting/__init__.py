"""Fitted estimators in the forms of other programs: ONNX graphs, PyTorch's state dictionaries."""
