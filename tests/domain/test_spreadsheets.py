from __future__ import annotations

import pytest

from registry.domain.spreadsheets import csv_of


@pytest.mark.parametrize("value", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "  =1"])
def test_a_value_that_a_spreadsheet_would_calculate_is_marked_as_text(value: str) -> None:
    table = csv_of([["name", 4], [value, ""]])

    assert table.replace('"', "") == f"name,4\r\n'{value},\r\n"
