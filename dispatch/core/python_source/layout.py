"""Python as text: docstrings, signatures, named types and imports, laid out as ruff would.

What a stranger wrote goes into it as literals, docstrings and identifiers only, each escaped here or by
:mod:`dispatch.core.python_source.names`: nothing of it is run.
"""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Collection, Iterable, Iterator

from dispatch.core.python_source.names import identifier
from dispatch.core.python_source.types import Definition, joined, quoted

WIDTH = 88
#: The names that a module may import, in isort's order, by groups and modules; "x as y" is imported itself.
IMPORTS = (
    [("__future__", ("annotations",))],
    [
        ("datetime as dt", ("dt",)),  # so that keys may be called date and time
        ("collections.abc", ("Mapping",)),
        ("decimal", ("Decimal",)),
        ("typing", ("Any", "Final", "Literal", "Never", "NotRequired", "TypeAlias", "TypedDict")),
        ("uuid", ("UUID",)),
    ],
    [("dispatch.api", ("Array", "deprecated", "sender"))],
)
IMPORTED = tuple(name for group in IMPORTS for _, names in group for name in names)


def header(name: str, parameters: Collection[str], returns: str) -> str:
    """Return the first line of a function; more of them where one would be too long."""
    line = f"def {name}({', '.join(parameters)}) -> {returns}:\n"
    if len(line) <= WIDTH + 1 or not parameters:
        return line
    lines = "".join(f"    {each},\n" for each in parameters)
    return f"def {name}(\n{lines}) -> {returns}:\n"


def docstring(text: str, notes: Iterable[str] = ()) -> str:
    """Return an indented docstring: a paragraph, and one with a line, or several, for each note."""
    paragraphs = [_wrapped(text), "\n".join(map(_wrapped, notes))]
    body = "\n\n".join(filter(None, paragraphs))
    end = "\n" if "\n" in body or len(body) > WIDTH - 10 else ""
    return textwrap.indent(f'"""{body}{end}"""\n', "    ")


def types(definitions: Iterable[Definition]) -> list[str]:
    """Return the blocks of named types: a block for each TypedDict, and one for the aliases."""
    found = list(_in_order(definitions))
    records = [_record(each) for each, _ in found if each.fields]
    aliases = [_alias(each, is_early) for each, is_early in found if not each.fields]
    return [*records, "".join(aliases)]


def imports(used: Collection[str]) -> str:
    """Return the statements that import what is used of :data:`IMPORTS`."""
    groups = (
        "".join(
            _import(module, found)
            for module, names in group
            if (found := [*filter(used.__contains__, names)])
        )
        for group in IMPORTS
    )
    return "\n".join(filter(None, groups))


def identifiers(expressions: Iterable[str]) -> set[str]:
    """Return the names that type expressions refer to."""
    trees = (ast.parse(each, mode="eval") for each in expressions)
    return {node.id for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Name)}


def _wrapped(text: str) -> str:
    lines = textwrap.wrap(" ".join(text.split()), WIDTH - 7, break_long_words=False, break_on_hyphens=False)
    return "\n".join(map(_escaped, lines))


def _escaped(line: str) -> str:
    """Return a line for a docstring: no quote ends it early, and what cannot be seen is written in ASCII.

    A lone surrogate becomes a question mark: since 3.13 Python compiles no docstring that holds one, escaped or not.
    """
    safe = line.encode("utf-8", "replace").decode().replace("\\", "\\\\")
    if '""' in safe or safe.startswith('"') or safe.endswith('"'):
        safe = safe.replace('"', r"\"")
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in safe)


def _in_order(definitions: Iterable[Definition]) -> Iterator[tuple[Definition, bool]]:
    """Yield TypedDicts, then aliases after those that they need; True with one that refers to a later alias."""
    by_name = {each.name: each for each in sorted(definitions, key=lambda each: each.name)}
    aliases = {name for name, each in by_name.items() if not each.fields}
    yield from ((each, False) for name, each in by_name.items() if name not in aliases)
    waiting = {name: aliases & identifiers(by_name[name].expressions) for name in sorted(aliases)}
    while waiting:
        name = next((name for name, needs in waiting.items() if not needs), next(iter(waiting)))
        yield by_name[name], bool(waiting.pop(name))
        for needs in waiting.values():
            needs.discard(name)


def _record(found: Definition) -> str:
    meanings = identifiers(found.expressions) | {"NotRequired"}
    if any(identifier(each.name) != each.name or each.name in meanings for each in found.fields):
        return _functional(found)
    doc = f"{docstring(found.description)}\n" if found.description.strip() else ""
    fields = "".join(f"    {name}: {expression}\n" for name, expression in _fields(found))
    return f"class {found.name}(TypedDict):\n{doc}{fields}"


def _functional(found: Definition) -> str:
    """Return a TypedDict in the form that allows any key, also one by which a type is called."""
    fields = "".join(
        f"        {quoted(name)}: {quoted(expression)},\n" for name, expression in _fields(found)
    )
    return f"{found.name} = TypedDict(\n    {quoted(found.name)},\n    {{\n{fields}    }},\n)\n"


def _fields(found: Definition) -> Iterator[tuple[str, str]]:
    for each in found.fields:
        yield each.name, each.expression if each.required else f"NotRequired[{each.expression}]"


def _alias(found: Definition, is_early: bool) -> str:
    text = joined(found.members)
    line = f"{found.name}: TypeAlias = {quoted(text) if is_early else text}\n"
    values = [each[len("Literal[") : -1] for each in found.members if each.startswith("Literal[")]
    if len(line) <= WIDTH + 1 or len(values) < max(2, len(found.members)):
        return line
    lines = "".join(f"    {each},\n" for each in values)
    return f"{found.name}: TypeAlias = Literal[\n{lines}]\n"


def _import(module: str, names: Collection[str]) -> str:
    line = f"import {module}\n" if " as " in module else f"from {module} import {', '.join(names)}\n"
    if len(line) <= WIDTH + 1:
        return line
    lines = "".join(f"    {each},\n" for each in names)
    return f"from {module} import (\n{lines})\n"
