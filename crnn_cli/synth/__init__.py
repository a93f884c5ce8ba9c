"""Synthetic text: written (`text`), in some face (`fonts`), drawn as a mask (`masks`), given a look (`style`)."""
