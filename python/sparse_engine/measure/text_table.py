"""Tables for terminals."""


def table(head: list[str], rows: list[list[str]]) -> str:
    """Columns of text, aligned: the first to the left, numbers to the right."""
    widths = [max(len(line[i]) for line in [head, *rows]) for i in range(len(head))]
    numeric = [all(not row[i] or row[i][0].isdigit() or row[i][0] in "-–" for row in rows) for i in range(len(head))]

    def line(cells: list[str]) -> str:
        return "  ".join(
            cell.rjust(width) if right else cell.ljust(width) for cell, width, right in zip(cells, widths, numeric, strict=True)
        ).rstrip()

    rule = "  ".join("-" * width for width in widths)
    return "\n".join([line(head), rule, *map(line, rows)])
