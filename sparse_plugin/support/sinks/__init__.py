"""Where measurements go: one file a sink, found by name through the entry points `sparse_plugin.sinks`."""
