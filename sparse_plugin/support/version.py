"""The version of sparse_plugin."""

__version__ = "0.1.0"
