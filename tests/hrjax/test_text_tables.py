"""Tables of text."""

from hrjax import text_tables


def test_tables_align_names_left_and_numbers_right():
    table = text_tables.format_table([["", "Head", "Mean"], ["PCKh@0.5", "97.10", "9.00"]])
    assert table.split("\n") == ["           Head  Mean", "PCKh@0.5  97.10  9.00"]


def test_one_row_has_numbers_below_their_names():
    assert text_tables.one_row({"AP": 0.5, "AR": 0.25}).split() == ["AP", "AR", "0.5000", "0.2500"]
