"""Evaluated cells in the formats of other tools: marl-eval's JSON, CSV, Parquet, LaTeX."""

from agentcomm.export.runs import FORMATS, Exported, export_runs

__all__ = ["FORMATS", "Exported", "export_runs"]
