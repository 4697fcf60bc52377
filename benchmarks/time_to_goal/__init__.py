"""Passes and seconds until a model of several workers has the test loss that one tuned worker reaches."""
