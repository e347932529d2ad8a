"""Many texts through a model that may not take all of them: the misfits are found, the rest gets vectors.

Servers refuse a whole request for one text that is too long, or for too many texts at once. So what is
refused is asked in halves; what a server cannot take at once is remembered while the process lives.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from distill_grpc.llm.base import Purse
from distill_grpc.llm.embedding import Embedded, Embedder, EmbeddingFailed

_SECONDS = 30.0  # that one request may take
_PLAIN = "Hello"  # which every model takes

Texts = Sequence[tuple[bytes, str]]  # a key and a text, which is not empty


@dataclass(slots=True)
class Fitting:
    """The work on one user's texts."""

    embedder: Embedder
    purse: Purse
    failed: EmbeddingFailed | None = None  # what ended the work
    _fits: bool = False  # something was taken: the server is well
    _misfits: list[bytes] = field(default_factory=list)

    async def embed(self, texts: Texts) -> dict[bytes, Sequence[float] | None]:
        """The vectors by key, as far as there are any; None for what the model does not take.

        Raises what the purse raises where the user has no credits.
        """
        made: dict[bytes, Sequence[float] | None] = {}
        await self._halve(texts, made)
        if self._misfits and self.failed is None and not self._fits:
            # Is it the texts, or would nothing be taken?
            await self._ask([(b"", _PLAIN)], {})
            if not self._fits and self.failed is None:
                self.failed = EmbeddingFailed("refused", charged=False)
        if self._fits:
            made.update(dict.fromkeys(self._misfits))
            self._misfits.clear()
        return made

    async def _halve(self, texts: Texts, made: dict[bytes, Sequence[float] | None]) -> None:
        if self.failed is not None or await self._ask(texts, made) or self.failed is not None:
            return
        if len(texts) == 1:
            ((key, text),) = texts
            if not text[: len(text) // 2] or not await self._ask(
                [(key, text[: len(text) // 2])], made
            ):
                self._misfits.append(key)
            return
        before = len(self._misfits)
        middle = len(texts) // 2
        for half in (texts[:middle], texts[middle:]):
            await self._halve(half, made)
        if self.failed is None and len(self._misfits) == before:
            self.embedder.together = min(self.embedder.together, len(texts) - middle)

    async def _ask(self, texts: Texts, made: dict[bytes, Sequence[float] | None]) -> bool:
        """False where the server does not take these texts, or fails, which `failed` then tells."""
        told = await self.embedder.embed([text for _, text in texts], self.purse, seconds=_SECONDS)
        if isinstance(told, Embedded):
            made.update(zip((key for key, _ in texts), told.vectors, strict=True))
            self._fits = True
            return True
        if told.why != "unfit":
            self.failed = told
        return False
