"""Samples that a run leaves out, named by cause."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from crnn_cli.core.codec import show


@dataclass
class Skipped:
    """The names of the samples left out, by cause, and the characters that are not learned."""

    unreadable: list[str] = field(default_factory=list)
    too_wide: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)
    control: list[str] = field(default_factory=list)
    infeasible: list[str] = field(default_factory=list)
    lost_in_reordering: list[str] = field(default_factory=list)
    characters: Counter[str] = field(default_factory=Counter)  # outside the alphabet

    def cause(
        self, readable: bool, line: bool, labelled: bool, survives: bool, feasible: bool
    ) -> list[str] | None:
        """Return the list that a sample belongs to, or None if the sample is used.

        Args:
            readable: Whether the image can be decoded.
            line: Whether the image is narrow enough for a line of text.
            labelled: Whether the label is not empty, or empty on purpose.
            survives: Whether the label survives the way to visual order and back.
            feasible: Whether the image gives as many frames as the label needs.
        """
        if not readable:
            return self.unreadable
        if not line:
            return self.too_wide
        if not labelled:
            return self.empty
        if not survives:
            return self.lost_in_reordering
        return None if feasible else self.infeasible

    def summary(self) -> Iterable[str]:
        """Yield a sentence for each cause that occurred."""
        for names, cause in (
            (self.unreadable, "an image that cannot be decoded"),
            (self.too_wide, "an image too wide for a line of text"),
            (self.empty, "an empty label"),
            (self.control, "a control character in the label"),
            (
                self.infeasible,
                "a label that needs more frames than the image gives (try a greater --height)",
            ),
            (
                self.lost_in_reordering,
                "a label that does not survive the way to visual order and back",
            ),
        ):
            if names:
                yield f"{len(names):,} samples with {cause} left out: {enumerate_names(names)}"
        if self.characters:
            by_count = sorted(self.characters.items(), key=lambda item: -item[1])
            counts = [f"{show(character)} {count:,} times" for character, count in by_count]
            yield (
                "characters outside the alphabet are not learned, "
                f"and count as errors in validation: {enumerate_names(counts)}"
            )


def enumerate_names(names: Sequence[str], max_names: int = 5) -> str:
    """Return the first names, and how many more there are."""
    more = f" and {len(names) - max_names:,} more" if len(names) > max_names else ""
    return ", ".join(names[:max_names]) + more
