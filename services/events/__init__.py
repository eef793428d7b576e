"""Joins who with what: the events of a clip."""
