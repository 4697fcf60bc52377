"""parsgd: parallel stochastic gradient descent with scikit-learn's face."""

__version__ = "0.1.0"
