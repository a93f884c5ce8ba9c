"""Synthetic text: composed (`text`), drawn in a font as a mask (`masks`), and styled (`style`)."""
