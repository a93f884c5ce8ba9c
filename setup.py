"""Build the inner loops in C, which pyproject.toml cannot describe in a stable form yet.

They are left out where there is no compiler.
"""

from setuptools import Extension, setup

native = Extension(
    "crnn_cli.core.decoding._native", ["crnn_cli/core/decoding/_native.c"], optional=True
)
setup(ext_modules=[native])
