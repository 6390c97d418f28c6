"""Text as numbers: sources, vocabulary, corpus and its splits, (T, B) streams. Everything here is on the host."""

from charrnn.text.build import from_files, from_text, in_vocabulary, widen, with_held_out, with_vocabulary
from charrnn.text.corpus import MANY, Corpus, Fingerprint, Part, document_starts, join, validation_start
from charrnn.text.joined import joined
from charrnn.text.rows import Rows
from charrnn.text.sources import EMBEDDED, blocks, check_name, check_plain_files, expand
from charrnn.text.streams import Streams, fit_batch, streams
from charrnn.text.vocabulary import Ids, Vocabulary

__all__ = [
    "EMBEDDED",
    "MANY",
    "Corpus",
    "Fingerprint",
    "Ids",
    "Part",
    "Rows",
    "Streams",
    "Vocabulary",
    "blocks",
    "check_name",
    "check_plain_files",
    "document_starts",
    "expand",
    "fit_batch",
    "from_files",
    "from_text",
    "in_vocabulary",
    "join",
    "joined",
    "streams",
    "validation_start",
    "widen",
    "with_held_out",
    "with_vocabulary",
]
