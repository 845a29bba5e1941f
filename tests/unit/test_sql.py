"""Statements: parameters are numbered, constants are integers."""

from pathlib import Path

import pytest

import graphs
from graphs.memory.database import statements
from graphs.memory.database.statements import Statement


def test_a_parameter_keeps_its_number_wherever_it_stands() -> None:
    statement = Statement("s", "SELECT %(b)s::text[], %(a)s, %(b)s")
    assert statement.text == b"SELECT $1::text[], $2, $1"
    assert statement.parameters == (("b", "text[]"), ("a", ""))


def test_constants_are_integers_and_nothing_else() -> None:
    statement = Statement("s", "SELECT {model}::smallint")
    assert statement.with_constants(model=3).text == b"SELECT 3::smallint"
    with pytest.raises(ValueError, match="invalid literal"):
        statement.with_constants(model="3; DROP TABLE x")  # type: ignore[arg-type]


def test_other_constants_are_another_statement() -> None:
    statement = Statement("s", "SELECT {model}::smallint")
    assert statement.with_constants(model=1).digest != statement.with_constants(model=2).digest


def test_every_file_beside_its_module_holds_named_statements() -> None:
    package = Path(graphs.__file__).parent
    files = [path.relative_to(package.parent) for path in package.rglob("*.sql")]
    assert len(files) > 10
    for file in files:
        named = statements.load(file.stem, ".".join(file.parent.parts))
        assert all(statement.text for statement in named.values()), file
