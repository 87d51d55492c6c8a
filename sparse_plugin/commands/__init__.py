"""The command line, one module a command.

Imports inside functions keep torch, pydantic and the reading of installed packages' metadata out of `--help`.
"""
