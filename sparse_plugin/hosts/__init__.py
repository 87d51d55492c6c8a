"""Somebody's trainer: telling which it is, patching it, launching it, and the verdict on what happened."""
