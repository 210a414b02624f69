"""Tables for terminals."""

from sparse_engine.measure.text_table import table


def test_columns_are_aligned_words_to_the_left_numbers_to_the_right():
    assert table(["layer", "weights", "kind"], [["a", "5", "csr"], ["bcdefgh", "1,000", "bitmask"]]).splitlines() == [
        "layer    weights  kind",
        "-------  -------  -------",
        "a              5  csr",
        "bcdefgh    1,000  bitmask",
    ]


def test_dashes_signs_and_gaps_count_as_numbers_and_one_word_does_not():
    lines = table(["n", "x"], [["–", "-1"], ["", "word"], ["12", "3"]]).splitlines()
    assert lines[2:] == [" –  -1", "    word", "12  3"]


def test_without_rows_there_is_a_head():
    assert table(["a", "bc"], []).splitlines() == ["a  bc", "-  --"]


def test_no_line_ends_with_blanks():
    assert all(line == line.rstrip() for line in table(["name", "what"], [["a", ""], ["b", "long text"]]).splitlines())
