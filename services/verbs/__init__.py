"""Verbs of `whodid`, a module for each room. Thin: they read options, call the room and say what came of it."""
