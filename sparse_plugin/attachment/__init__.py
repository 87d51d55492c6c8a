"""A regularizer on one generator: what was asked, placing the hooks, watching every forward, penalties, the handle."""
