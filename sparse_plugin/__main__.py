"""`python -m sparse_plugin` is `sparse-plugin`."""

from sparse_plugin.commands.cli import main

if __name__ == "__main__":
    main()
