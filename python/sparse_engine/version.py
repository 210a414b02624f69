"""The version of the package as installed."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("sparse-engine")
except PackageNotFoundError:  # run from a source tree
    __version__ = "0+unknown"
