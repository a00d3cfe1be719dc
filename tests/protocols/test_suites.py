"""How the results of the official suites are read and compared; the suites themselves run in ``make conformance``."""

import json

from benchmarks.conformance import differing, section
from benchmarks.conformance_kits import read_junit, read_mcp


def test_a_check_that_is_worse_or_missing_counts():
    bare = {"a": "success", "b": "failure", "c": "skipped", "d": "success"}
    other = {"a": "warning", "b": "success", "c": "skipped"}
    assert (differing(bare, other, worse=True), differing(bare, other, worse=False)) == (["a", "d"], ["b"])
    lines, count = section({"bare": bare, "defended": other})
    assert count == 2
    assert "| defended | 3 | 1 | 0 | 2 | 2 | 1 |" in lines


def test_differences_that_are_meant_do_not_fail_the_run_where_they_are_meant():
    bare = {"2026-07-28: x, sep-2322-ignore-unexpected-params 1": "success"}
    worse = dict.fromkeys(bare, "warning")
    assert [section({"bare": bare, place: worse})[1] for place in ("defended", "proxy")] == [0, 1]


def test_what_only_repeated_ids_make_worse_is_meant():
    fine = {"repeats an id": "success", "breaks": "success"}
    results = {
        "bare": fine,
        "defended": dict.fromkeys(fine, "failure"),
        "bare, own ids": fine,
        "defended, own ids": fine | {"breaks": "failure"},
    }
    lines, count = section(results)
    assert count == 2  # the check that breaks, in both places
    assert [line for line in lines if "repeats an id" in line and "each id is executed once" in line]
    assert "| defended, own ids | 2 | 1 | 1 | 0 | 1 | 0 |" in lines


def test_reports_are_read(tmp_path):
    folder = tmp_path / "server-tools-list-2026-11-26T21-07-55-329Z"
    folder.mkdir()
    checks = [{"id": "same", "status": "SUCCESS"}, {"id": "same", "status": "FAILURE"}]
    folder.joinpath("checks.json").write_text(json.dumps(checks))
    assert read_mcp(tmp_path) == {"tools-list, same 1": "success", "tools-list, same 2": "failure"}
    cases = '<testcase classname="tests.compatibility.m" name="{}">{}</testcase>'
    made = [("fine", ""), ("bad", "<failure/>"), ("broken", "<error/>"), ("left", "<skipped/>")]
    report = tmp_path / "junit.xml"
    report.write_text(f"<testsuites>{''.join(cases.format(*case) for case in made)}</testsuites>")
    assert list(read_junit(report).values()) == ["success", "failure", "failure", "skipped"]
