"""Conditions of an InferenceGraph: does a GJSON path *exist* on a message?

KServe's router evaluates `condition` with tidwall/gjson v1.18 and asks only whether the result exists. This package
answers the same question, with gjson's own quirks kept where they decide the answer.

Source: https://github.com/tidwall/gjson/blob/v1.18.0/SYNTAX.md and the library's behaviour.
"""
