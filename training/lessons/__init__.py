"""Lessons: what `training.fit` teaches. Each holds a network, its data and its loss."""
