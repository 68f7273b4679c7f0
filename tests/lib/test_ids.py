"""Table ids and the paths of model files are parsed into their parts."""

import pytest

from mlsys.cloud.tables import TableRef
from mlsys.errors import InvalidRequest
from mlsys.models import ModelRef


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("my-project.d.t", ("my-project", "d", "t")),
        ("example.com:my-project.D_1.t-2024", ("example.com:my-project", "D_1", "t-2024")),
        ("my-project.d.tabellen_äöü", ("my-project", "d", "tabellen_äöü")),
    ],
)
def test_a_table_id_is_parsed_and_formatted(text: str, parts: tuple[str, str, str]) -> None:
    ref = TableRef.parse(text)
    assert (ref.project, ref.dataset, ref.table) == parts
    assert str(ref) == text
    assert ref.path == "projects/{}/datasets/{}/tables/{}".format(*parts)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("titanic/v1/model.pkl", ("titanic", "v1", "model")),
        ("a-1-b/v123456789/metadata.json", ("a-1-b", "v123456789", "metadata")),
    ],
)
def test_a_path_is_parsed_into_name_version_and_file(
    path: str, expected: tuple[str, str, str]
) -> None:
    ref, kind = ModelRef.of_object(path)
    assert (ref.name, ref.version, kind) == expected
    assert path == (ref.path if kind == "model" else ref.metadata_path)


@pytest.mark.parametrize(
    "path",
    [
        *("", "/", "model.pkl", "a/model.pkl", "a/v1/", "a/v1/b/model.pkl", "/a/v1/model.pkl"),
        *("a/v1/model.pkl/", "a/v1/model.pkl\n", "a/v1\n/model.pkl", "a\n/v1/model.pkl"),
        *("A/v1/model.pkl", "a--b/v1/model.pkl", "a/V1/model.pkl", "a/v1/Model.pkl"),
        *("../v1/model.pkl", "a/../model.pkl", "ä/v1/model.pkl", "a/v１/model.pkl", "x" * 5000),
    ],
)
def test_other_paths_are_not_model_files(path: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        ModelRef.of_object(path)
    assert len(str(refused.value)) < 400


def test_versions_sort_by_number() -> None:
    refs = [ModelRef("a", v) for v in ("v10", "v9", "v1")]
    assert [ref.number for ref in sorted(refs, key=lambda ref: ref.number)] == [1, 9, 10]
