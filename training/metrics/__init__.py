"""How good a model is, by fixed protocols, each with its interval."""
