"""The report of an audit for other tools: JSON, and SARIF 2.1.0 for code scanning."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from agentcomm.base.versions import versions
from agentcomm.protocols.audit.run import DISCOVERY, PROBES
from agentcomm.protocols.audit.verdicts import Report, Row, Verdict

KINDS = {
    Verdict.PASS: "pass",
    Verdict.FAIL: "fail",
    Verdict.INCONCLUSIVE: "open",
    Verdict.SKIPPED: "notApplicable",
}  # SARIF 2.1.0, 3.27.9


def as_json(report: Report) -> str:
    """The report as JSON."""
    counts = {verdict.value: number for verdict, number in report.counts.items()}
    rows = [asdict(row) for row in report.rows]
    shown = {"url": report.url, "protocol": report.protocol, "exit_code": report.exit_code, "counts": counts}
    return json.dumps({**shown, "rows": rows}, indent=2) + "\n"


def as_sarif(report: Report) -> str:
    """The report as SARIF; ``level`` is ``none`` for all that did not fail, as 3.27.10 demands."""
    probes = {probe.id: probe for probe in (*DISCOVERY.values(), *PROBES["a2a"], *PROBES["mcp"])}
    ids = sorted({row.probe for row in report.rows})
    rules = [
        {
            "id": id_,
            "shortDescription": {"text": probes[id_].title},
            "help": {"text": probes[id_].fix or "See the evidence."},
        }
        for id_ in ids
    ]
    driver = {"name": "agentcomm audit", "semanticVersion": versions()["agentcomm"], "rules": rules}
    results = [_result(report, row, ids.index(row.probe)) for row in report.rows]
    log = {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{"tool": {"driver": driver}, "results": results}],
    }
    return json.dumps(log, indent=2) + "\n"


def _result(report: Report, row: Row, rule: int) -> dict[str, Any]:
    fix = f" Fix: {row.fix}." if row.fix else ""
    return {
        "ruleId": row.probe,
        "ruleIndex": rule,
        "kind": KINDS[row.verdict],
        "level": "error" if row.verdict is Verdict.FAIL else "none",
        "message": {"text": f"{row.where}: {row.evidence}.{fix}"},
        "locations": [
            {
                "physicalLocation": {"artifactLocation": {"uri": report.url}},
                "logicalLocations": [{"fullyQualifiedName": row.where}],
            }
        ],
        "partialFingerprints": {"probe/v1": f"{row.probe}:{row.where}"},
    }
