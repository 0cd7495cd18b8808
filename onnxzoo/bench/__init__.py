"""Timing models against each other: latency, memory, accuracy, and how near they come to what the machine can do.

timing      contenders in processes of their own, in turn, behind a gate that finds the machine's bad moments
children/   what runs in those processes; needs nothing of this package that a peer's Python might lack
"""
