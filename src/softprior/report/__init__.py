"""Tables, figures and claims become one HTML page, one JSON file, and text for the terminal.

``softprior.report.terminal`` and ``softprior.report.diagnosis`` are imported by whoever needs
them.
"""

from softprior.report.figures import png, svg
from softprior.report.page import render, write_report
from softprior.report.results import Section, to_json, write_json

__all__ = ["Section", "png", "render", "svg", "to_json", "write_json", "write_report"]
