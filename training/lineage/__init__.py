"""Lineage: from one event back to pixels, models, data and people, and forwards again; every link can be proved."""
