"""scikit-learn's faces: validate, build the four parts, call fit, set attributes."""
