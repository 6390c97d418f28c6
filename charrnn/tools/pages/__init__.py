"""Self-contained HTML pages, which need no server and send no request: what the report and the playground share."""

from charrnn.tools.pages.page import page

__all__ = ["page"]
