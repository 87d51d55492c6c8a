"""The commands, one module each: `sparse_plugin.commands.NAME` holds a click command of that name."""
