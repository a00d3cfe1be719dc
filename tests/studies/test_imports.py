"""What the picture of the architecture and the bench of the structure take from source text."""

from __future__ import annotations

import ast

from benchmarks.structure import functions, room_of
from studies.imports import circles, import_graph

SOURCES = {
    "house/__init__.py": "",
    "house/a.py": "from house import b\nfrom house.c import One, Two\nimport os",
    "house/b.py": "def later():\n    from house.c import One",
    "house/c.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import house.a\nelse:\n    import house",
}
TREES = {file: ast.parse(source) for file, source in SOURCES.items()}


def test_imports_are_counted_by_statement() -> None:
    graph = import_graph(TREES, with_types=False)
    assert graph["house.a"] == {"house.b": 1, "house.c": 1}
    assert graph["house.b"] == {"house.c": 1}, "inside of functions, too"
    assert graph["house.c"] == {}
    assert not circles(graph)


def test_circles_through_types_are_found() -> None:
    assert circles(import_graph(TREES, with_types=True)) == [{"house.a", "house.b", "house.c"}]


def test_tables_are_told_from_functions() -> None:
    table = "def table():\n    return {\n" + "        1: 2,\n" * 9 + "    }\n"
    work = "def work():\n" + "    a = 1\n" * 9 + "    return {\n        a: 2,\n    }\n"
    assert [(f.name, f.lines, f.table) for f in functions(ast.parse(table + work), "x.py")] == [
        ("table", 12, True),
        ("work", 13, False),
    ]


def test_rooms_of_files() -> None:
    assert room_of("agentcomm/guards/base.py") == "guards"
    assert room_of("agentcomm/api.py") == "api"
    assert room_of("attacks/external/drop.py") == "attacks"
    assert room_of("agentcomm/messages/guard.py") == "guards"
