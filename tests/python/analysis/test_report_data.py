"""Rows and totals of a report."""

import sparse_engine as engine
from sparse_engine.analysis.report_data import LayerReport, ReportData


def row(**values):
    return LayerReport(**{"name": "a", "kind": "Linear", "shape": (2, 3), "parameters": 6, "nonzeros": 3, **values})


def test_density_is_the_share_of_weights_that_are_not_zero():
    assert row().density == 0.5
    assert row(nonzeros=0).density == 0.0
    assert row(parameters=0, nonzeros=0).density == 1.0, "nothing was removed"


def test_totals_leave_out_layers_that_were_not_counted_and_are_none_where_none_was():
    data = ReportData([row(macs=10, nonzero_macs=4), row(), row(macs=5, nonzero_macs=0)], 12, 6)
    assert (data.macs, data.nonzero_macs) == (15, 4)
    for rows in ([], [row()]):
        assert ReportData(rows, 0, 0).macs is None
        assert ReportData(rows, 0, 0).nonzero_macs is None
    assert ReportData([row(macs=0, nonzero_macs=0)], 6, 0).macs == 0, "counted, and none"


def test_the_machine_is_the_one_at_the_time_of_the_report(every_isa):
    before = ReportData([], 0, 0)
    assert before.isa == every_isa
    engine.runtime.set_num_threads(3)
    try:
        assert ReportData([], 0, 0).threads == 3
    finally:
        engine.runtime.set_num_threads(0)


def test_rows_share_no_lists():
    first, second = row(), row()
    first.histogram.append(1)
    first.density_map.append([0.5])
    assert second.histogram == second.density_map == []
