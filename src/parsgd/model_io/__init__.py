"""Fitted estimators in files and in the forms of other programs: ONNX, PyTorch, scikit-learn."""
