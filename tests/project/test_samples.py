"""A sample of cases runs on every push, and the others keep their place in the long tests."""

from pathlib import Path

import pytest

from samples import chosen, sampled

CASES = {f"case {n}": (n, n % 3) for n in range(20)}


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "test_file.py"
    path.write_text("content")
    return str(path)


def test_every_case_is_kept_and_all_but_the_sample_are_long(file: str) -> None:
    params = sampled(CASES, 5, file)
    assert [(p.id, p.values) for p in params] == list(CASES.items())
    assert len([p for p in params if not p.marks]) == 5
    assert all([mark.name for mark in p.marks] in ([], ["long"]) for p in params)


def test_the_sample_has_each_kind_and_changes_with_the_file_alone(file: str) -> None:
    samples = set()
    for content in range(30):
        Path(file).write_text(str(content))
        params = sampled(CASES.values(), 2, file, kind=lambda case: case[1])
        some = [p.values for p in params if not p.marks]
        assert sorted(kind for _, kind in some) == [0, 1, 2]
        assert params == sampled(CASES.values(), 2, file, kind=lambda case: case[1])
        samples |= set(some)
    assert samples == set(CASES.values())  # none is left out for good


def test_values_and_params_are_taken_as_parametrize_does(file: str) -> None:
    [one, two] = sampled([7, pytest.param(8, id="eight", marks=pytest.mark.long)], 2, file)
    assert (one.values, one.marks, two.values, two.id) == ((7,), (), (8,), "eight")
    assert [mark.name for mark in two.marks] == ["long"]
    assert chosen(0, 5, file) == frozenset()
