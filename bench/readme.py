"""Tables in a README, between markers that say who wrote them."""

from pathlib import Path


def insert(readme: Path, name: str, script: str, lines: list[str]) -> None:
    """Put `lines` between the markers called `name`, which `script` writes."""
    before, begin, rest = readme.read_text().partition(f"<!-- {name}: written by {script}, do not edit -->\n")
    _, end, after = rest.partition(f"<!-- /{name} -->")
    if not begin or not end:
        raise SystemExit(f"{readme} lacks the two {name} markers")
    readme.write_text(before + begin + "\n".join([*lines, ""]) + end + after)
