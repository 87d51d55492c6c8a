"""Which folders are which packages; everything else is in pyproject.toml, which cannot both find and map them."""

from setuptools import find_packages, setup

FOLDERS = {"sparse_plugin": "sparse_plugin", "sparse_plugin.registry": "registry", "sparse_plugin.patches": "patches"}

setup(
    package_dir=FOLDERS,
    packages=[
        ".".join([package, *below])
        for package, folder in FOLDERS.items()
        for below in ([], *(name.split(".") for name in find_packages(folder)))
    ],
)
