"""YAML reading, --set overrides, and how a mistake in them is told."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, model_validator

from edgekd.config import (
    MAX_YAML_BYTES,
    MAX_YAML_DEPTH,
    MOST_MISTAKES,
    PathText,
    Settings,
    dotted,
    read_yaml,
    validate,
    with_overrides,
)
from edgekd.errors import ConfigError


class Bake(Settings):
    stage: Literal["bake"] = "bake"
    id: str | None = None
    degrees: float = Field(200.0, gt=0, lt=400)
    minutes: int = Field(30, ge=1)


class Cool(Settings):
    stage: Literal["cool"] = "cool"
    minutes: int | None = None
    quick: bool = False

    @model_validator(mode="after")
    def _one_way(self) -> "Cool":
        if (self.minutes is None) == (not self.quick):
            raise ValueError("give minutes or quick")
        return self


class Oven(Settings):
    kind: Literal["gas", "electric"] = "gas"


class Cake(Settings):
    name: str
    oven: Oven = Oven()
    stages: list[Annotated[Bake | Cool, Field(discriminator="stage")]] = Field(default=[])


def read(folder: Path, text: str | bytes) -> dict[str, Any]:
    path = folder / "cake.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_yaml(path)


def refused(folder: Path, text: str | bytes) -> str:
    """What is said of a file that must be refused, from the file's name on."""
    with pytest.raises(ConfigError) as error:
        read(folder, text)
    return str(error.value).removeprefix(f"{folder}/")


def mistakes(tree: dict[str, Any]) -> list[str]:
    with pytest.raises(ConfigError) as error:
        validate(Cake, tree, "cake.yaml")
    return error.value.lines


def test_a_missing_file_is_told_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        read_yaml(tmp_path / "none.yaml")

    assert str(error.value) == (
        f"{tmp_path}/none.yaml: cannot be read (no such file or directory); check the path and its permissions"
    )


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot be read \(is a directory\)"):
        read_yaml(tmp_path)


@pytest.fixture
def unreadable() -> Iterator[Path]:
    """A file that only root may read, in a folder that anybody may enter."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        path = Path(folder) / "cake.yaml"
        path.write_text("name: cake")
        path.chmod(0)
        yield path


@pytest.mark.usefixtures("unprivileged")
def test_a_file_without_read_permission_is_told(unreadable: Path) -> None:
    with pytest.raises(ConfigError, match=r"cake\.yaml: cannot be read \(permission denied\)"):
        read_yaml(unreadable)


def test_a_file_that_is_not_utf_8_is_told_with_the_first_wrong_byte(tmp_path: Path) -> None:
    assert refused(tmp_path, "name: gâteau".encode("latin-1")) == (
        "cake.yaml: is not UTF-8 text (byte 7); save it as UTF-8"
    )


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm(tmp_path: Path) -> None:
    assert read(tmp_path, b"\xef\xbb\xbfname: cake\r\noven:\r\n  kind: gas\r\n") == {
        "name": "cake",
        "oven": {"kind": "gas"},
    }


def test_the_largest_file_is_read_and_one_byte_more_is_not(tmp_path: Path) -> None:
    text = b"name: cake\n"
    room = MAX_YAML_BYTES - len(text)

    assert read(tmp_path, text + b"#" * room) == {"name": "cake"}
    assert refused(tmp_path, text + b"#" * (room + 1)).startswith("cake.yaml: is larger than 100000 bytes")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("name: cake\noven: [gas\n", "cake.yaml:3:1: not valid YAML: expected ',' or ']'"),
        ("name: cake\n\toven: gas\n", "cake.yaml:2:1: not valid YAML: found character '\\t'"),
        ("name: cake\noven: {kind: gas}}\n", "cake.yaml:2:18: not valid YAML"),
        ("name: 'cake\n", "cake.yaml:2:1: not valid YAML: found unexpected end of stream"),
        ("name: cake\nname: tart\n", "cake.yaml:2:1: not valid YAML: the key 'name' is used twice"),
        ("oven: {kind: gas, kind: gas}\n", "cake.yaml:1:19: not valid YAML: the key 'kind' is used twice"),
        ("name: cake\n? [a, b]\n: 1\n", "cake.yaml:2:3: not valid YAML: a key must be a plain word"),
        ("name: cake\n1: 2\n", "cake.yaml:2:1: not valid YAML: a key must be a plain word"),
        ("name: cake\nno: 2\n", "cake.yaml:2:1: not valid YAML: a key must be a plain word"),
        ("name: cake\noven: \x1b[31m\n", "cake.yaml:2:7: not valid YAML: found the character U+001B"),
        ('name: "\\UFFFFFFFF"\n', "cake.yaml: not valid YAML: a \\U escape that is not a character"),
        ("name: cake\nsize: " + "9" * 5000, "cake.yaml:2:7: not valid YAML: the number has too many digits"),
        ("name: !!python/object/apply:os.system [ls]", "cake.yaml:1:7: YAML tags are not allowed, found 'tag:yaml.org"),
        ("name: !!set {a, b}", "cake.yaml:1:7: YAML tags are not allowed, found 'tag:yaml.org,2002:set'"),
        ("name: cake\noven: !mine gas", "cake.yaml:2:7: YAML tags are not allowed, found '!mine'"),
        ("a: &x [1]\nb: 2", "cake.yaml:1:4: YAML anchors and aliases are not allowed"),
        ("a: 1\nb: *x", "cake.yaml:2:4: YAML anchors and aliases are not allowed"),
        ("a: 1\n---\nb: 2", "cake.yaml:2:1: a second document begins; keep one pipeline per file"),
        ("- 1\n- 2", "cake.yaml: must be a mapping of keys, found a list; begin with 'name:'"),
        ("cake", "cake.yaml: must be a mapping of keys, found text"),
        ("7", "cake.yaml: must be a mapping of keys, found a number"),
        ("", "cake.yaml: must be a mapping of keys, found nothing"),
    ],
)
def test_what_is_not_plain_yaml_is_told_with_line_and_column(text: str, told: str, tmp_path: Path) -> None:
    assert refused(tmp_path, text).startswith(told)


def test_nesting_is_read_up_to_the_limit(tmp_path: Path) -> None:
    lists = MAX_YAML_DEPTH - 1

    read(tmp_path, "a: " + "[" * lists + "]" * lists)
    assert "nested more than 20 deep" in refused(tmp_path, "a: " + "[" * (lists + 1) + "]" * (lists + 1))
    assert "nested more than 20 deep" in refused(tmp_path, "a: " + "[" * 90_000)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001), ("1.5E+2", 150.0), (".5", 0.5), ("-2.", -2.0), ("12", 12), ("-3", -3), ("1_000", 1000),
        ("true", True), ("null", None), ("", None), ("'12'", "12"),
        ("2024-01-31", "2024-01-31"), ("2024-01-31 10:00:00", "2024-01-31 10:00:00"), ("=", "="), ("0x10", "0x10"),
        ("1:30", "1:30"),
    ],
)  # fmt: skip
def test_a_value_is_what_it_looks_like(text: str, value: Any, tmp_path: Path) -> None:
    found = read(tmp_path, f"key: {text}\n")["key"]

    assert found == value
    assert type(found) is type(value)


def test_a_leading_zero_never_makes_another_number(tmp_path: Path) -> None:
    assert read(tmp_path, "a: 010\nb: 0\n") == {"a": 10.0, "b": 0}


def test_two_arrows_are_a_key_and_merge_nothing(tmp_path: Path) -> None:
    assert read(tmp_path, "<<: {name: cake}") == {"<<": {"name": "cake"}}


TREE: dict[str, Any] = {
    "name": "cake",
    "stages": [{"stage": "bake", "minutes": 40}, {"stage": "bake", "id": "again"}, {"stage": "cool", "quick": True}],
}


@pytest.mark.parametrize(
    ("path", "index"),
    [
        ("stages.1.minutes", 1), ("stages[1].minutes", 1), ("stages.again.minutes", 1), ("stages.cool.minutes", 2),
        ("stages.bake.minutes", 0), (" stages.0.minutes ", 0),
    ],
)  # fmt: skip
def test_an_override_finds_a_stage_by_index_by_id_and_by_kind(path: str, index: int) -> None:
    changed = with_overrides(TREE, [f"{path}=5"])

    assert changed["stages"][index]["minutes"] == 5
    others = [stage for i, stage in enumerate(changed["stages"]) if i != index]
    assert others == [stage for i, stage in enumerate(TREE["stages"]) if i != index]


def test_overrides_leave_their_input_as_it_was() -> None:
    tree: dict[str, Any] = {"oven": {"kind": "gas"}, "stages": [{"stage": "bake"}]}

    with_overrides(tree, ["oven.kind=electric", "stages.bake.minutes=1"])

    assert tree == {"oven": {"kind": "gas"}, "stages": [{"stage": "bake"}]}


def test_an_override_s_value_is_yaml_and_the_last_one_holds() -> None:
    changed = with_overrides(TREE, ["name=first", "name=last=1", "oven={kind: electric}", "stages.0.degrees=1e2"])

    assert changed["name"] == "last=1"
    assert changed["oven"] == {"kind": "electric"}
    assert changed["stages"][0]["degrees"] == 100.0


def test_an_override_may_fill_a_part_that_the_file_leaves_out() -> None:
    assert with_overrides({"name": "cake"}, ["oven.kind=gas"])["oven"] == {"kind": "gas"}
    assert with_overrides({"oven": None}, ["oven.kind=gas"])["oven"] == {"kind": "gas"}


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("name", "--set name: is not key.path=value; write e.g. --set seed=1"),
        ("=5", "--set =5: is not key.path=value"),
        (".=5", "--set .=5: is not key.path=value"),
        ("[]={}", "--set []={}: is not key.path=value"),
        (
            "stages.rest.minutes=5",
            "--set stages.rest.minutes: 'rest' does not exist; known: bake, again, cool, 0, 1, 2",
        ),
        ("stages.3.minutes=5", "--set stages.3.minutes: '3' does not exist; known:"),
        ("stages.-1.minutes=5", "--set stages.-1.minutes: '-1' does not exist"),
        ("stages." + "9" * 5000 + "=5", "--set stages.99999"),
        ("name.first=x", "--set name.first: 'first' does not exist: its parent is text; check the key path"),
        ("a" + ".a" * 5000 + "=1", "--set a.a.a.a"),
        ("name=[a", "--set name:1:3: not valid YAML: expected ',' or ']'"),
        ("name=!!set {a}", "--set name:1:1: YAML tags are not allowed"),
        ("name=a\n---\nb", "--set name:2:1: a second document begins"),
    ],
)
def test_an_override_that_fits_nowhere_is_refused(override: str, told: str) -> None:
    with pytest.raises(ConfigError) as error:
        with_overrides(TREE, [override])

    assert str(error.value).startswith(told)
    assert len(str(error.value)) < 250


def test_an_override_into_an_empty_list_is_refused() -> None:
    with pytest.raises(ConfigError, match="'0' does not exist; the list is empty"):
        with_overrides({"stages": []}, ["stages.0.minutes=1"])


def test_an_override_that_makes_an_unknown_key_is_told_by_the_check() -> None:
    changed = with_overrides(TREE, ["stages.again.minute=5", "ovn.kind=gas"])

    assert mistakes(changed) == [
        "cake.yaml: stages[1].minute: unknown key; did you mean 'minutes'? known: degrees, id, minutes, stage",
        "cake.yaml: ovn: unknown key; did you mean 'oven'? known: name, oven, stages",
    ]


def test_a_good_tree_becomes_settings() -> None:
    cake = validate(Cake, TREE, "cake.yaml")

    assert cake.stages[0] == Bake(minutes=40)
    assert cake.stages[2] == Cool(quick=True)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("oven.kid=gas", "oven.kid: unknown key; did you mean 'kind'? known: kind"),
        ("oven.kind=wood", "oven.kind: input should be 'gas' or 'electric', found 'wood'"),
        ("oven=gas", "oven: must be a mapping of keys, found 'gas'"),
        ("oven=", "oven: must be a mapping of keys, found nothing"),
        ("name=5", "name: input should be a valid string, found 5"),
        ("stages=bake", "stages: input should be a valid list, found 'bake'"),
        ("stages.0=5", "stages[0]: must be a mapping of keys, found 5"),
        ("stages.0={}", "stages[0].stage: is missing"),
        ("stages.0.stage=fry", "stages[0].stage: unknown stage 'fry'; known: bake, cool"),
        ("stages.0.stage=bak", "stages[0].stage: unknown stage 'bak'; did you mean 'bake'? known: bake, cool"),
        ("stages.0.minutes=0", "stages[0].minutes: input should be greater than or equal to 1, found 0"),
        ("stages.0.minutes=010", "stages[0].minutes: input should be a valid integer, found 10.0"),
        ("stages.0.minutes='5'", "stages[0].minutes: input should be a valid integer, found '5'"),
        ("stages.0.minutes=true", "stages[0].minutes: input should be a valid integer, found True"),
        ("stages.1.degrees=400", "stages[1].degrees: input should be less than 400, found 400"),
        ("stages.1.degrees=.nan", "stages[1].degrees: input should be a finite number, found nan"),
        ("stages.1.degrees=1e999", "stages[1].degrees: input should be a finite number, found inf"),
        ("stages.2.minutes=5", "stages[2]: give minutes or quick"),
    ],
)
def test_a_mistake_is_told_with_its_dotted_place_and_what_was_found(change: str, told: str) -> None:
    assert mistakes(with_overrides(TREE, [change])) == [f"cake.yaml: {told}"]


def test_every_mistake_has_a_line_of_its_own() -> None:
    tree = {"oven": {"kind": 1}, "stages": [{"stage": "bake", "minutes": 0, "degrees": -1}, {"stage": "fry"}], "x": 1}

    places = [line.split(": ")[1] for line in mistakes(tree)]

    assert sorted(places) == [
        "name", "oven.kind", "stages[0].degrees", "stages[0].minutes", "stages[1].stage", "x",
    ]  # fmt: skip


def test_of_thousands_of_mistakes_the_first_are_told_and_the_rest_counted() -> None:
    lines = mistakes({"name": "a", **{f"k{number}": 1 for number in range(5000)}})

    assert len(lines) == MOST_MISTAKES + 1
    assert lines[-1] == f"cake.yaml: {5000 - MOST_MISTAKES} more mistakes; is it a pipeline file?"


@pytest.mark.parametrize("text", ["[", "{a: ", "- ", "? "])
def test_ten_megabytes_of_nesting_are_refused_at_once(text: str, tmp_path: Path) -> None:
    assert "is larger than" in refused(tmp_path, text * (10_000_000 // len(text)))
    assert "nested more than 20 deep" in refused(tmp_path, text * (MAX_YAML_BYTES // len(text))) or text == "{a: "


class Shelf(Settings):
    place: PathText


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("~nosuchuser/x", "begins with the home folder of an unknown user"),
        ("a\0b", "holds the character U+0000"),
        ("\ud800", "holds a character that no path has"),
        ("a" * 256, "is too long for a path (256 bytes)"),
        ("a/" * 2100, "is too long for a path"),
        ("猫" * 86, "is too long for a path (258 bytes)"),
    ],
    ids=["home", "zero", "surrogate", "name", "path", "three-byte-characters"],
)
def test_a_path_that_no_disk_takes_is_told_with_its_place(text: str, told: str) -> None:
    with pytest.raises(ConfigError) as error:
        validate(Shelf, {"place": text}, "shelf.yaml")

    assert str(error.value).startswith(f"shelf.yaml: place: {told}")


def test_every_other_path_is_taken_as_it_is_written() -> None:
    for text in ("~/x", "a b/../c", "猫" * 85, "x\ny", "a/" * 2000, "nowhere"):
        assert validate(Shelf, {"place": text}, "shelf.yaml").place == text


def test_long_and_unprintable_words_are_shown_short_and_escaped() -> None:
    tree = {
        "name": "a",
        "\x1b[31m\nred": 1,
        "k" * 3000: 1,
        "stages": [{"stage": "s" * 3000, "n": 1}],
        "oven": "o" * 3000,
    }

    lines = mistakes(tree)

    assert len(lines) == 4
    assert all(line.isprintable() and len(line) < 250 for line in lines)
    assert "cake.yaml: \\x1b[31m red: unknown key; known: name, oven, stages" in lines


def test_a_place_is_written_as_people_write_it() -> None:
    assert dotted(("stages", 2, "temperature")) == "stages[2].temperature"
    assert dotted(("name",)) == "name"
    assert dotted(()) == ""
