"""Imports between the modules of a source tree, and circles among them."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator, Mapping

Graph = dict[str, Counter[str]]


def module_of(file: str) -> str:
    """Dotted name of a file, by its path from the root."""
    return file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def import_graph(trees: Mapping[str, ast.Module], with_types: bool) -> Graph:
    """How many import statements of each module name each other one.

    Args:
        trees: Syntax trees by path from the root.
        with_types: Whether imports under ``if TYPE_CHECKING`` count. Imports inside of functions always do.
    """
    modules = {module_of(file) for file in trees}
    graph: Graph = {}
    for file, tree in trees.items():
        found = Counter(target for name in _named(tree, with_types, modules) if (target := _known(name, modules)))
        del found[module_of(file)]
        graph[module_of(file)] = found
    return graph


def _known(name: str, modules: set[str]) -> str | None:
    """The module that a dotted name is in, if it is one of ours."""
    while name and name not in modules:
        name = name.rpartition(".")[0]
    return name or None


def _named(node: ast.AST, with_types: bool, modules: set[str]) -> Iterator[str]:
    """Dotted names that import statements below a node name; one for all names taken out of one module."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and not with_types and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom) and child.module and not child.level:
            yield from {
                f"{child.module}.{alias.name}" if f"{child.module}.{alias.name}" in modules else child.module
                for alias in child.names
            }
        else:
            yield from _named(child, with_types, modules)


def circles(graph: Graph) -> list[set[str]]:
    """Groups of modules that import each other in a circle (strongly connected components of more than one)."""
    reach = {module: _reachable(graph, module) for module in graph}
    found: list[set[str]] = []
    for module in graph:
        group = {other for other in reach[module] if module in reach.get(other, ())}
        if group and not any(module in known for known in found):
            found.append(group | {module})
    return found


def _reachable(graph: Graph, start: str) -> set[str]:
    seen: set[str] = set()
    ahead = list(graph[start])
    while ahead:
        module = ahead.pop()
        if module not in seen:
            seen.add(module)
            ahead += graph.get(module, ())
    return seen
