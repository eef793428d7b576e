"""Runs a KServe `InferenceGraph` on one machine, behaving as KServe's own router does.

One executor (`router`), two ways to reach the services: over HTTP or as functions in this process
(`transports`). Between steps everything is bytes, so both give the same answer byte for byte.
"""
