"""`charrnn report`: one self-contained page about finished runs. Each panel has a module that collects its values."""

from charrnn.tools.report.assemble import Collected, assembled, collect, report
from charrnn.tools.report.finished import read

__all__ = ["Collected", "assembled", "collect", "read", "report"]
