"""Image data sets, decoded once into memory: in one of the formats that are registered, a file each (see `format`), or the
photographs that are built in.
"""

from __future__ import annotations

from sparse_plugin.data.images import DataError as DataError
from sparse_plugin.data.images import Images as Images
from sparse_plugin.data.images import to_uint8 as to_uint8
from sparse_plugin.data.load import Split as Split
from sparse_plugin.data.load import load as load
from sparse_plugin.data.source import Source as Source
