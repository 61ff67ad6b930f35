"""The outputs of the book's cells are kept, for readers who run none."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "docs/machinery"))

import outputs

PAGE = """---
file_format: mystnb
---
# A page

```{code-cell}
x = 3
print(x)
x
```

```{code-cell}
:varies:
!echo 0.5 s
```
"""


@pytest.fixture
def page(tmp_path, monkeypatch):
    monkeypatch.setattr(outputs, "KEPT", tmp_path / "kept")
    path = tmp_path / "page.md"
    path.write_text(PAGE)
    return path


def test_the_kept_outputs_are_of_the_cells_of_the_pages():
    pages = outputs.pages()
    assert {path.stem for path in outputs.KEPT.glob("*")} == {page.stem for page in pages}
    stale = [page.stem for page in pages if outputs.kept(page) is None]
    assert stale == [], "run docs/machinery/outputs.py, or make book-full"
    for page in pages:
        assert len(outputs.kept(page)) == len(outputs.sources(page))


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("loss 1.50 nats", "loss  1.55\nnats", True),
        ("loss 1.5 nats", "loss 1.8 nats", False),
        ("loss 1.5 nats", "loss 1.5 bits", False),
        ("20,100 tokens", "20,000 tokens", True),
        ("error 3e-14", "error 8e-13", True),
        ("error 3e-14", "error 3e-4", False),
        ("1 2", "1 2 3", False),
    ],
)
def test_numbers_may_differ_by_a_tenth(one, other, same):
    assert outputs.alike(one, other) is outputs.alike(other, one) is same


def test_outputs_are_new_where_the_cells_or_what_they_print_changed(page):
    def is_new(*printed):
        return outputs.is_new(page, list(printed), outputs.kept(page))

    assert is_new("3\n3", "0.5 s")
    outputs.keep(page, ["3\n3", "0.5 s"], 7.4)
    assert outputs.seconds_of(page) == 7
    assert json.loads((outputs.KEPT / "page.json").read_text())["outputs"] == [
        ["3", "3"],
        ["0.5 s"],
    ]
    assert outputs.kept(page) == ["3\n3", "0.5 s"]
    assert not is_new("3\n3", "0.5 s")
    assert not is_new("3\n3", "0.9 s")  # this cell varies
    assert is_new("4\n4", "0.5 s")
    page.write_text(PAGE.replace("x = 3", "x = 3.0"))
    assert outputs.kept(page) is None
    assert is_new("3\n3", "0.5 s")


@pytest.mark.deep  # a notebook's kernel needs seconds to start
def test_a_page_runs_and_a_cell_that_raises_is_named(page, capsys):
    with pytest.raises(SystemExit, match=r"new outputs, .* page.json"):
        outputs.main([str(page)])
    assert outputs.kept(page) == ["3\n3", "0.5 s"]
    assert "[1/1] page: 2 cells" in capsys.readouterr().out
    outputs.main([str(page)])  # nothing is new
    page.write_text(PAGE.replace("x = 3", "x = 1 / 0"))
    with pytest.raises(SystemExit, match=r"(?s)page: .*1 / 0.*ZeroDivisionError"):
        outputs.main([str(page)])
