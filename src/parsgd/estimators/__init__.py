"""Estimators with scikit-learn's API: validate input, choose algorithm and engine, run the fit, set attributes."""
