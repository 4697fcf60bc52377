"""Algorithms with optimal time for workers of unequal speed."""
