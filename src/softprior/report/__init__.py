"""Tables, figures and claims become one HTML page, one JSON file, and text for the terminal.

The same as Markdown with figures, LaTeX and CSV: ``files.FORMATS``. ``softprior.report.terminal``
and ``softprior.report.diagnosis`` are imported by whoever needs them.
"""

from softprior.report.figures import svg
from softprior.report.files import FORMATS, write_report
from softprior.report.markdown import refresh, write_markdown
from softprior.report.page import render
from softprior.report.results import Section, to_json, write_json

__all__ = [
    "FORMATS",
    "Section",
    "refresh",
    "render",
    "svg",
    "to_json",
    "write_json",
    "write_markdown",
    "write_report",
]
