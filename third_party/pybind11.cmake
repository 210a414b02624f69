# pybind11 (BSD-3-Clause), 2.12 or newer: from the build environment that pyproject.toml describes.
find_package(Python REQUIRED COMPONENTS Interpreter Development.Module)
find_package(pybind11 2.12 CONFIG REQUIRED)
