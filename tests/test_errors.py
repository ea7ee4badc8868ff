"""What a user is told when several tasks fail at once."""

from corpus.errors import SympatheiaError, root_cause


def test_the_root_cause_of_a_nested_group_is_its_first_error() -> None:
    cause = SympatheiaError("no server answers")
    inner = ExceptionGroup("tasks", [cause, OSError("its echo")])
    assert root_cause(ExceptionGroup("tasks", [inner, ValueError("another")])) is cause
