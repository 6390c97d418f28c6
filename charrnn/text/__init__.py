"""Text as numbers: reading, vocabulary, split, (T, B) streams. Host only."""

from charrnn.text.build import from_files, from_text
from charrnn.text.corpus import Corpus, Part, held_out_from
from charrnn.text.documents import begins
from charrnn.text.names import check_name, expand
from charrnn.text.sources import EMBEDDED, blocks, plain
from charrnn.text.streams import Streams, fitted, streams
from charrnn.text.vocabulary import Ids, Vocabulary
from charrnn.text.widening import known, widened

__all__ = [
    "EMBEDDED",
    "Corpus",
    "Ids",
    "Part",
    "Streams",
    "Vocabulary",
    "begins",
    "blocks",
    "check_name",
    "expand",
    "fitted",
    "from_files",
    "from_text",
    "held_out_from",
    "known",
    "plain",
    "streams",
    "widened",
]
