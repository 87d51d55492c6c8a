"""Somebody's trainer: telling which it is, patching it, launching it, and the verdict on what happened.

Imports inside functions keep torch out of the start of a process: the plugin comes into every Python process of a run, and
acts in those that import torch themselves.
"""
