"""Self-contained HTML pages of tables: they need nothing else, neither files nor a network."""

import html
from collections.abc import Iterable, Sequence

COLOURS = ("#767676", "#c44536", "#1f6f8b", "#e09f3e")
STYLE = """
body { font: 14px/1.4 sans-serif; margin: 2em; color: #333 } h1 { font-size: 1.5em } h2 { font-size: 1.1em; margin-top: 2em }
table { border-collapse: collapse } td, th { padding: 2px 10px; text-align: right; border-bottom: 1px solid #ddd }
td:first-child, th:first-child { text-align: left } .layers { display: flex; flex-wrap: wrap }
figure { margin: 0 1.5em 1em 0 } figcaption { font-size: 12px } svg { background: #fafafa; outline: 1px solid #ddd }
"""


def page(title: str, parts: Iterable[str]) -> str:
    """A whole page under a heading.

    Args:
        title: text. parts: HTML.
    """
    return "\n".join(
        [
            "<!DOCTYPE html>",
            f'<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>',
            f"<style>{STYLE}</style></head><body>",
            f"<h1>{html.escape(title)}</h1>",
            *parts,
            "</body></html>",
        ]
    )


def html_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of text; what is in it cannot write into the page."""
    lines = ["".join(f"<th>{html.escape(cell)}</th>" for cell in head)]
    lines += ["".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in rows]
    return f"<table>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"
