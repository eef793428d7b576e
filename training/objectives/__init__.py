"""Objectives: what a face network is trained towards. Margins are in radians or in cosine, never in degrees."""
