"""Where Γ is in third-party generators, and how their trainers switch a regularizer on. One flat file per host.

Imports inside functions keep torch, and the hosts themselves, out of the start of a process.
"""
