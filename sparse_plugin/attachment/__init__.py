"""A regularizer on one generator: what was asked, placing the hooks, watching every forward, penalties, the handle.

Torch is imported by all of it, and this room by whoever has a generator. safetensors is an extra, imported for its files alone.
"""
