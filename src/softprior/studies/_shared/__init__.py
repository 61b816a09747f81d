"""What studies share: recipes, names of methods, scores, and the figures of several."""
