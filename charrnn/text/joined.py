"""Join documents into one text, in which a separator ends each of them."""

from __future__ import annotations

import re
from collections.abc import Sequence


def joined(documents: Sequence[str], separator: str = "") -> tuple[str, str]:
    """Return a text of these documents, and the separator that ends each of them in it.

    Args:
        documents: their texts. Empty ones are left out.
        separator: the user's; a document that does not end with it gets it. If it is empty, the separator is one line
            end more than the documents have in a row inside of them, and replaces the line ends at their ends. So
            documents of one line each are separated by a single line end. A single document gets no separator.
    """
    documents = [document for document in documents if document]
    if separator:
        return "".join(text if text.endswith(separator) else text + separator for text in documents), separator
    if len(documents) < 2:
        return "".join(documents), ""
    documents = [text.rstrip("\n") or text for text in documents]
    most = max((len(run) for text in documents for run in re.findall(r"\n+", text)), default=0)
    separator = "\n" * (most + 1)
    return "".join(text + separator for text in documents), separator
