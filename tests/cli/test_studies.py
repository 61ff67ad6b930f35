"""Verbs whose programs are in benchmarks/studies."""

import pytest

from minillm.cli import main, studies

VERBS = [
    p.stem
    for p in (studies.ROOT / "benchmarks/studies").glob("*.py")
    if "\ndef run(" in p.read_text()
]


@pytest.mark.parametrize("verb", VERBS)
def test_the_help_is_the_program_s(verb, capsys):
    with pytest.raises(SystemExit, match="0"):
        main([verb, "--help"])
    shown, program = capsys.readouterr().out, studies.program(verb)
    assert program.__doc__.splitlines()[0] in shown
    assert "examples:\n" in shown


@pytest.mark.parametrize("verb", VERBS)
def test_an_installed_package_finds_it_in_the_checkout_or_says_where_it_is(
    verb, fails, capsys, monkeypatch, tmp_path
):
    monkeypatch.chdir(studies.ROOT)
    monkeypatch.setattr(studies, "ROOT", tmp_path)
    with pytest.raises(SystemExit, match="0"):
        main([verb, "--help"])
    assert "examples:\n" in capsys.readouterr().out
    monkeypatch.chdir(tmp_path)
    line = fails(verb, "--help")
    assert f"{verb}: expected a checkout of minillm's source" in line
    assert f"benchmarks/studies/{verb}.py" in line
