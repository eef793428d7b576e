"""Checks the manifests under infra/: every overlay is built, every object validated, before any cluster sees it."""
