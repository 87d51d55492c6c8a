"""What to attach and where: `SparsityConfig`, validated, from keywords, YAML, TOML, the environment or data."""

from sparse_plugin.config.out_of_data import by_registered_name as by_registered_name
from sparse_plugin.config.out_of_data import own_fields as own_fields
from sparse_plugin.config.out_of_data import section_of as section_of
from sparse_plugin.config.sparsity import ENVIRONMENT as ENVIRONMENT
from sparse_plugin.config.sparsity import Delivery as Delivery
from sparse_plugin.config.sparsity import Role as Role
from sparse_plugin.config.sparsity import SparsityConfig as SparsityConfig
from sparse_plugin.support.config_text import assign as assign
from sparse_plugin.support.config_text import load_yaml as load_yaml
from sparse_plugin.support.config_text import read as read
