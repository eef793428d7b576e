"""Forgetting: one person leaves every store of this installation, provably."""
