"""Saving, loading, averaging and exporting fitted estimators: model files, ONNX, PyTorch, scikit-learn."""
