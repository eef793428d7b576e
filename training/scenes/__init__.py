"""Synthetic surveillance clips and enrolment pictures, with the exact truth of every frame."""
