"""Synthetic text: what is written (`text`), with which faces (`fonts`), drawn as masks (`masks`) and styled (`style`)."""
