"""A model and its decoder, which read images together."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from crnn_cli.core.codec import Codec

if TYPE_CHECKING:
    from crnn_cli.core.decoding import Decoder, ParallelDecoders
    from crnn_cli.runners import Runner


@dataclass(frozen=True)
class ModelWithDecoder:
    """A model with the decoder of its log-probabilities.

    Attributes:
        runner: The runner of the loaded model.
        decoder: The decoder that turns log-probabilities into text; None means greedy decoding.
    """

    runner: Runner
    decoder: Decoder | ParallelDecoders | None = None

    @property
    def codec(self) -> Codec:
        """The codec of the model, built anew at each access."""
        return Codec.of(self.runner.config)

    def complete(self) -> ModelWithDecoder:
        """Return the model with a greedy decoder if it has no decoder."""
        from crnn_cli.core.decoding import Decoder

        if self.decoder is not None:
            return self
        return replace(self, decoder=Decoder(self.codec, self.runner.config.temperature))
