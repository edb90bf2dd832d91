"""Finding: tokens, passages, vectors, and how their evidence becomes one score."""
