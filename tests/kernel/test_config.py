"""Settings: what is accepted, what is refused and with which words, and where values come from."""

import dataclasses
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pileus.kernel import config
from pileus.kernel.config import SettingsError, load, setting
from pileus.settings import Settings, load_settings


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True)
class Inner:
    """`[outer.inner]`: a section in a section."""

    depth: int = setting(1, "how deep", minimum=0, maximum=9)


@dataclass(frozen=True)
class Shelf:
    """`[outer.shelves.NAME]`: one of many."""

    height: int = setting(1, "how high", minimum=1)
    place: Path = setting(Path(), "where")
    password: str = setting("", "never shown", secret=True)


@dataclass(frozen=True)
class Outer:
    """`[outer]`: one of everything."""

    name: str = setting("x", "a name", pattern="[a-z]+")
    count: int = setting(3, "how many", unit="things")
    ratio: float = setting(0.5, "how much")
    wanted: bool = setting(True, "whether")
    place: Path = setting(Path("here"), "where")
    names: tuple[str, ...] = setting((), "which")
    table: dict[str, str] = setting({"a": "b"}, "what is what")
    shelves: dict[str, Shelf] = setting({"top": Shelf(3)}, "the shelves")
    colour: Colour = setting(Colour.RED, "the colour")
    kind: Literal["one", "two"] = setting("one", "the kind")
    maybe: int | None = setting(None, "perhaps")
    password: str = setting("", "never shown", secret=True)
    inner: Inner = field(default_factory=Inner)


@dataclass(frozen=True)
class Root:
    outer: Outer = field(default_factory=Outer)


def read(tmp_path: Path, text: str, **environ: str) -> config.Loaded[Root]:
    path = tmp_path / "pileus.toml"
    path.write_text(text)
    return load(Root, path, environ)


def problems(tmp_path: Path, text: str, **environ: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        read(tmp_path, text, **environ)
    return [problem.removeprefix(f"{tmp_path}/") for problem in caught.value.problems]


def test_defaults_need_no_file() -> None:
    loaded = load(Root, None, {})
    assert loaded.settings == Root()
    assert {entry.source for entry in loaded.entries} == {"default"}


def test_every_type_from_the_file(tmp_path: Path) -> None:
    text = """
    [outer]
    name = "abc"
    count = 7
    ratio = 2
    wanted = false
    place = "/there"
    names = [
        "p",
        "q",
    ]
    table = {k = "v"}
    colour = "blue"
    kind = "two"
    maybe = 4
    password = "s3cret"
    [outer.inner]
    depth = 2
    """
    assert read(tmp_path, text).settings.outer == Outer(
        name="abc",
        count=7,
        ratio=2.0,
        wanted=False,
        place=Path("/there"),
        names=("p", "q"),
        table={"k": "v"},
        colour=Colour.BLUE,
        kind="two",
        maybe=4,
        password="s3cret",
        inner=Inner(depth=2),
    )


def test_every_type_from_the_environment() -> None:
    environ = {
        "PILEUS_OUTER_COUNT": "7",
        "PILEUS_OUTER_RATIO": "2.5",
        "PILEUS_OUTER_WANTED": "no",
        "PILEUS_OUTER_PLACE": "/there",
        "PILEUS_OUTER_NAMES": "p, q",
        "PILEUS_OUTER_TABLE": "k=v, l=w=x",
        "PILEUS_OUTER_COLOUR": "blue",
        "PILEUS_OUTER_MAYBE": "",
        "PILEUS_OUTER_INNER_DEPTH": "2",
    }
    outer = load(Root, None, environ).settings.outer
    assert (outer.count, outer.ratio, outer.wanted, outer.place) == (7, 2.5, False, Path("/there"))
    assert (outer.names, outer.table) == (("p", "q"), {"k": "v", "l": "w=x"})
    assert (outer.colour, outer.maybe, outer.inner.depth) == (Colour.BLUE, None, 2)


def test_the_environment_wins_and_sources_are_known(tmp_path: Path) -> None:
    loaded = read(tmp_path, "[outer]\ncount = 4\nname = 'abc'\n", PILEUS_OUTER_COUNT="5")
    sources = {entry.name: (entry.value, entry.source) for entry in loaded.entries}
    assert sources["outer.count"] == (5, "environment PILEUS_OUTER_COUNT")
    assert sources["outer.name"] == ("abc", f"{tmp_path}/pileus.toml:3")
    assert sources["outer.inner.depth"] == (1, "default")


@pytest.mark.parametrize(
    "text",
    [
        "[outer]\ntable = {k = 'v', l = 'w'}",
        "[outer.table]\nk = 'v'\nl = 'w'",
        "[outer]\ntable.k = 'v'\ntable.l = 'w'",
        "outer.table.k = 'v'\nouter.table.l = 'w'",
        "outer = {table = {k = 'v', l = 'w'}}",
    ],
)
def test_a_dictionary_in_all_of_its_spellings(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, text).settings.outer.table == {"k": "v", "l": "w"}


@pytest.mark.parametrize(
    "text",
    [
        "[outer.shelves.low]\nheight = 2\nplace = '/x'\n[outer.shelves.high]",
        "[outer.shelves]\nlow = {height = 2, place = '/x'}\nhigh = {}",
        "[outer]\nshelves.low.height = 2\nshelves.low.place = '/x'\nshelves.high = {}",
        "[outer]\nshelves = {low = {height = 2, place = '/x'}, high = {}}",
    ],
)
def test_a_table_of_sections_in_all_of_its_spellings(tmp_path: Path, text: str) -> None:
    found = read(tmp_path, text).settings.outer.shelves
    assert found == {"low": Shelf(2, Path("/x")), "high": Shelf()}
    assert Root().outer.shelves == {"top": Shelf(3)}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[outer.shelves.low]\nheihgt = 2", "outer.shelves has no setting 'heihgt' in 'low': did you mean 'height'?"),
        ("[outer.shelves.low]\nheight = 0", "outer.shelves in 'low': height must be at least 1, not 0"),
        ("[outer.shelves]\nlow = 3", 'outer.shelves must be a table of sections, not {"low" = 3}'),
    ],
)
def test_mistakes_in_a_table_of_sections(tmp_path: Path, text: str, said: str) -> None:
    assert any(said in problem for problem in problems(tmp_path, text)), problems(tmp_path, text)


def test_secrets_in_a_table_of_sections_are_hidden(tmp_path: Path) -> None:
    loaded = read(tmp_path, "[outer.shelves.low]\nheight = 2\npassword = 'xyzzy'")
    entry = next(entry for entry in loaded.entries if entry.key == "shelves")
    assert config.shown(entry.value, entry.meta) == '{"low" = {"height" = 2, "password" = "(hidden)"}}'


def test_dotted_keys_of_a_dictionary_keep_their_dots(tmp_path: Path) -> None:
    assert read(tmp_path, '[outer.table]\n"a.b" = "c"').settings.outer.table == {"a.b": "c"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[outer]\ncuont = 3", "pileus.toml:2: [outer] has no setting 'cuont': did you mean 'count'?"),
        ("[outer]\ndepth = 3", "pileus.toml:2: [outer] has no setting 'depth': it belongs in [outer.inner]"),
        ("[oter]\ncount = 3", "pileus.toml:1: there is no section [oter]: did you mean [outer]?"),
        ("[outer.iner]", "pileus.toml:1: there is no section [outer.iner]: did you mean [outer.inner]?"),
        ("[[outer]]\ncount = 3", "pileus.toml:1: there is no section [outer[]]: did you mean [outer]?"),
        ("count = 3", "pileus.toml:1: 'count' stands outside any section: did you mean [outer] count?"),
        ("[outer]\n\ncount = 'many'", 'pileus.toml:3: outer.count must be an integer, not "many"'),
        ("[outer]\ncount = true", "pileus.toml:2: outer.count must be an integer, not true"),
        ("[outer]\ncount = 1.5", "pileus.toml:2: outer.count must be an integer, not 1.5"),
        ("[outer]\nwanted = 1", "pileus.toml:2: outer.wanted must be a boolean, not 1"),
        ("[outer]\nplace = ''", "pileus.toml:2: outer.place must be a path, not ''"),
        ("[outer]\nnames = 'a'", 'pileus.toml:2: outer.names must be a list of texts, not "a"'),
        ("[outer]\nnames = [1]", "pileus.toml:2: outer.names must be a text, not 1"),
        (
            "[outer]\ncolour = 'bleu'",
            "pileus.toml:2: outer.colour must be one of red, blue, not \"bleu\": did you mean 'blue'?",
        ),
        ("[outer]\nname = 'A'", "pileus.toml:2: outer.name must match [a-z]+, not 'A'"),
        ("[outer.inner]\ndepth = 10", "pileus.toml:2: outer.inner.depth must be at most 9, not 10"),
        ("[outer]\ntext = '''\ncount = 3\n'''\ncount = ''", 'pileus.toml:5: outer.count must be an integer, not ""'),
    ],
)
def test_a_mistake_is_refused_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    assert said in problems(tmp_path, text)


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    said = problems(tmp_path, "[outer]\ncount = ''\n[nothing]\nx = 1\ny = 2", PILEUS_OUTER_RATIO="x", PILEUS_QQQ="")
    assert said == [
        'pileus.toml:2: outer.count must be an integer, not ""',
        "pileus.toml:3: there is no section [nothing]",
        "environment PILEUS_OUTER_RATIO: outer.ratio must be a number, not 'x'",
        "environment: there is no setting PILEUS_QQQ",
    ]


def test_broken_toml_is_refused_with_its_line(tmp_path: Path) -> None:
    (said,) = problems(tmp_path, "[outer]\ncount = = 3")
    assert said.startswith("pileus.toml:2: is not valid TOML")


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read: No such file"):
        load(Root, tmp_path / "none.toml", {})


def test_variables_that_are_no_settings_are_left_alone() -> None:
    environ = {"PILEUS_CONFIG": "x", "PILEUS_REQUIRE_REAL": "1", "PILEUS_TEST_ANY": "y", "HOME": "/"}
    assert load(Root, None, environ).settings == Root()


def test_secrets_are_not_shown(tmp_path: Path) -> None:
    loaded = read(tmp_path, "[outer]\npassword = 'hunter2'")
    shown = {entry.name: config.shown(entry.value, entry.meta) for entry in loaded.entries}
    assert shown["outer.password"] == "(hidden)"
    assert "hunter2" not in "".join(shown.values())


_texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20)


@given(text=_texts, count=st.integers(-(2**62), 2**62), names=st.lists(_texts, max_size=3))
def test_what_is_shown_can_be_read_back(
    tmp_path_factory: pytest.TempPathFactory, text: str, count: int, names: list[str]
) -> None:
    outer = dataclasses.replace(Outer(), password=text, count=count, names=tuple(names))
    lines = [
        f"{entry.key} = {config.shown(entry.value, dataclasses.replace(entry.meta, secret=False))}"
        for entry in config.entries_of(Root(outer), {})
        if entry.section == "outer" and entry.value is not None
    ]
    path = tmp_path_factory.mktemp("shown") / "pileus.toml"
    path.write_text("[outer]\n" + "\n".join(lines), encoding="utf-8")
    assert load(Root, path, {}).settings.outer == outer


# --- the real root ------------------------------------------------------------------------------------------


def test_every_setting_says_what_it_is_for() -> None:
    for entry in load(Settings, None, {}).entries:
        assert len(entry.meta.meaning) > 15, entry.name
    for name, section in config.sections_of(Settings):
        assert config.title(section), name


def test_every_field_of_a_section_is_declared_as_a_setting() -> None:
    sections = dict(config.sections_of(Settings))
    declared = {entry.name for entry in load(Settings, None, {}).entries} | set(sections)
    for name, section in sections.items():
        for item in dataclasses.fields(section):
            assert f"{name}.{item.name}" in declared


def test_the_default_file_changes_nothing_also_when_uncommented(tmp_path: Path) -> None:
    text = config.defaults_toml(Settings)
    path = tmp_path / "pileus.toml"
    path.write_text(text)
    assert load(Settings, path, {}).settings == Settings()
    path.write_text("\n".join(line[1:] if line[:1] == "#" and line[1:2] != " " else line for line in text.splitlines()))
    assert load(Settings, path, {}).settings == Settings()


def test_variables_are_unambiguous() -> None:
    variables = [entry.variable for entry in load(Settings, None, {}).entries]
    assert len(variables) == len(set(variables))


def test_what_follows_from_other_settings_is_filled_in(tmp_path: Path) -> None:
    loaded = load_settings(
        None, {"PILEUS_SITE_STATE_DIR": str(tmp_path), "PILEUS_SITE_RUN_DIR": "/run/x", "PILEUS_API_PORT": "81"}
    )
    settings = loaded.settings
    assert settings.database.url == f"sqlite:///{tmp_path}/pileus.db"
    assert settings.site.public_url == "http://127.0.0.1:81"
    assert settings.agent.socket == Path("/run/x/agent.sock")
    assert settings.agent.host
    sources = {entry.name: entry.source for entry in loaded.entries}
    assert sources["database.url"] == "from site.state_dir"
    assert sources["agent.socket"] == "from site.run_dir"
    assert all(entry.value.is_absolute() for entry in loaded.entries if isinstance(entry.value, Path))


def test_the_file_is_found_by_variable(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("[site]\nregion = 'North'\n")
    assert load_settings(None, {"PILEUS_CONFIG": str(path)}).settings.site.region == "North"
