"""What pyproject.toml cannot say yet in a lasting form: the inner loops in C, left out where there is no compiler."""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "crnn_cli.core.decoding._native", ["crnn_cli/core/decoding/_native.c"], optional=True
        )
    ]
)
