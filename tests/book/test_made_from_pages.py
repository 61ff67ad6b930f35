"""What is made from the built pages: slides, and the printed book."""

import re
import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "docs/machinery"))

import built
import printed
import searching
import slides

STYLE = Path(__file__).parents[2] / "docs/_static/book.css"
LINK = '<a class="headerlink" href="#{}" title="Link to this heading">¶</a>'
INDEX = """<div class="sidebar-tree">
<p class="caption" role="heading"><span class="caption-text">I Counting &amp; more</span></p>
<ul>
<li class="toctree-l1"><a class="reference internal" href="chapters/01-one.html">1 One</a></li>
<li class="toctree-l1"><a class="reference internal" href="chapters/02-two.html">2 Two</a></li>
</ul>
</div>
<article role="main">
<section id="the-book"><h1>The book</h1>
<p><a href="chapters/02-two.html#summary">Two</a> and
<a href="genindex.html"><em>all words</em></a></p>
</section>
</article>
"""
FORMULA = """<div class="math-wrapper docutils container">
<div class="equation"><div class="formula"><span class="katex-display"><span class="katex">
<span class="katex-mathml">
<math><semantics><mi>y</mi>
<annotation encoding="application/x-tex">{}</annotation></semantics></math>
</span><span class="katex-html" aria-hidden="true">y</span></span></span></div>
<a href="#formula-1-1"><span class="formula-number">(1.1)</span></a></div></div>"""
NUMBER = '<span class="section-number">1.{} </span>'
ONE = f"""<article role="main">
<section id="one"><span id="1-one"></span><h1>1 One{LINK.format("one")}</h1>
<p>A problem.</p>
<div class="admonition-in-this-chapter admonition"><p class="admonition-title">In this chapter</p>
<p><strong>You will be able to</strong> count.</p><p><strong>Before:</strong> nothing.</p></div>
<section id="sums"><h2>{NUMBER.format(1)}Sums{LINK.format("sums")}</h2>
<p>Said, and <a class="footnote-reference brackets" href="#note" id="id1">[<b>1</b>]</a> cited.</p>
<p><strong>The first line.</strong> It is short:</p>
{FORMULA.format("y = x")}
<figure class="picture" id="id2">
<div class="live"><iframe src="../look/a.html" title="A"></iframe>
<p><a class="reference" href="../look/a.html">Open this page alone</a></p></div>
<svg width="9" height="9"><clipPath id="sum-a"><path d="M0 0"/></clipPath>
<g clip-path="url(#sum-a)"/></svg>
<figcaption><p>A sum of <a href="02-two.html#summary">two</a>.</p></figcaption></figure>
<section id="more"><h3>More</h3>
<div class="admonition-by-hand admonition">
<p class="admonition-title">By hand</p><p>1 + 1 = 2</p></div>
<div class="admonition-optional admonition">
<p class="admonition-title">Optional</p><p>Detour</p></div>
</section>
</section>
<section id="code"><h2>Code &lt;here&gt;</h2>
<p>Only code:</p><div class="cell"><pre>print("id=1")</pre></div>
<details class="sd-dropdown"><summary>The source</summary><ul><li>folded</li></ul></details>
</section>
<section id="summary"><h2>{NUMBER.format(3)}Summary</h2>
<ul><li><p>Five lines.</p></li></ul></section>
<section id="equations"><h2>Equations</h2>{FORMULA.format("a" + chr(92) * 2 + "b")}</section>
<section id="history"><h2>{NUMBER.format(5)}History</h2><ul><li>1951</li></ul></section>
<section id="exercises"><h2>Exercises</h2><ul><li>Write.</li></ul></section>
<aside id="note"><a role="doc-backlink" href="#id1">1</a></aside>
</section>
</article>
"""
TWO = """<article role="main">
<section id="two"><h1>2 Two</h1>
<section id="summary"><h2>Summary</h2>
<p>See <a href="01-one.html">one</a>, <a href="01-one.html#summary">its summary</a>,
<a href="../notebooks/02-two.ipynb">the notebook</a>, <a href="https://example.org/#x">elsewhere</a>.</p>
</section></section>
</article>
"""


@pytest.fixture
def book(tmp_path):
    folder = tmp_path / "html"
    (folder / "chapters").mkdir(parents=True)
    (folder / "index.html").write_text(INDEX)
    (folder / "chapters/01-one.html").write_text(ONE)
    (folder / "chapters/02-two.html").write_text(TWO)
    (folder / "_static/katex-1").mkdir(parents=True)
    for name in ("katex-1/katex.min.css", "pygments.css", "book.css", "interactive.js"):
        (folder / "_static" / name).touch()
    return folder


def test_a_section_becomes_a_slide_of_what_can_be_shown(book):
    chapter = slides.Chapter(book / "chapters/01-one.html")
    assert chapter.title == "1 One"
    assert chapter.aim == "<p><strong>You will be able to</strong> count.</p>"
    shown = [(re.sub("<.*?>", "", heading), "".join(pieces)) for heading, pieces in chapter.slides]
    assert [heading for heading, _ in shown] == [
        *("1.1 Sums", "1.1 Sums More", "Code &lt;here&gt;", "1.3 Summary", "Equations")
    ]
    sums, more, code, summary, equations = (text for _, text in shown)
    assert sums.index("The first line.") < sums.index("y = x") < sums.index("<svg")
    assert "A sum of two." in sums
    assert "1 + 1 = 2" in more
    assert code == "<p>Only code:</p>"
    assert "Five lines." in summary
    assert "annotation" in equations
    assert "(1.1)" in equations
    assert not re.search(
        r"<a |¶|iframe|alone|Said|Detour|folded|1951|Write", "".join(text for _, text in shown)
    )


def test_what_is_more_than_a_slide_holds_goes_on(book):
    page = book / "chapters/01-one.html"
    page.write_text(ONE.replace(FORMULA.format("y = x"), FORMULA.format("y = x" + r"\\y" * 7)))
    chapter = slides.Chapter(page)
    assert [heading for heading, _ in chapter.slides[:2]] == [NUMBER.format(1) + "Sums"] * 2
    assert "<svg" not in chapter.slides[0][1][0]
    text = slides.page_of(chapter, "")
    assert text.count("<small>continued</small>") == 1
    assert text.count('<section class="slide"') == len(chapter.slides) + 1
    assert text.count(f"/ {len(chapter.slides) + 1}</span>") == len(chapter.slides) + 1


def test_slides_ask_for_no_file_but_their_own(book, tmp_path, capsys):
    folder = tmp_path / "slides"
    slides.main(book, folder, [])
    assert {path.name for path in folder.glob("*.html")} == {
        "index.html",
        "01-one.html",
        "02-two.html",
    }
    for page in folder.glob("*.html"):
        for file in re.findall(r'\b(?:href|src)="([^"#]+)"', page.read_text()):
            assert (folder / file).exists(), file
    assert "in 2 pages: open" in capsys.readouterr().out
    slides.main(book, folder, ["02-two"])
    assert {path.name for path in folder.glob("*.html")} == {"index.html", "02-two.html"}


def printed_book(book: Path) -> printed.Book:
    return printed.Book(book, [("", ["index.html"]), *built.contents(book / "index.html")])


def test_the_pages_are_one_whose_links_are_right(book):
    text = printed_book(book).page([], {"chapters-02-two": 7})
    ids = re.findall(r'\sid="([^"]*)"', text)
    assert len(ids) == len(set(ids))
    links = re.findall(r'<a\b[^>]*href="([^"]*)"', text)
    assert {link[1:] for link in links if link != "https://example.org/#x"} <= set(ids)
    assert '<a href="#chapters-02-two--summary">two</a>' in text
    assert '<a href="#chapters-01-one">one</a>, <a href="#chapters-01-one--summary">' in text
    assert "and\n<em>all words</em>" in text  # the general index has no page on paper
    assert "\nthe notebook, <a" in text
    assert 'clip-path="url(#chapters-01-one--sum-a)"' in text
    assert 'print("id=1")' in text
    assert '<details open class="sd-dropdown">' in text
    assert "headerlink" not in text
    assert "iframe" not in text


def test_the_contents_list_parts_pages_and_their_own_sections(book):
    text = printed_book(book).page([], {"chapters-02-two": 7})
    lines = re.findall(
        r'<p class="(\w+)"><a href="#.*?">(.*?)</a><span></span><b>(.*?)</b></p>', text
    )
    assert lines == [
        ("page", "The book", ""),
        ("part", "I Counting &amp; more", ""),
        ("page", "1 One", ""),
        *(("section", name, "") for name in (NUMBER.format(1) + "Sums", "Code &lt;here&gt;")),
        ("page", "2 Two", "7"),
    ]


def test_the_search_has_the_sections_and_terms_of_each_page(book):
    (book / "chapters/02-two.html").write_text(
        TWO.replace(
            "<p>See",
            '<dl class="glossary"><dt id="term-a">alpha<a class="headerlink" href="#">¶</a></dt>'
            "<dd><p>The first.</p></dd></dl><p>See",
        )
    )
    title, one = searching.entries(book, "chapters/01-one.html")
    assert title == "1 One"
    assert [(place, heading) for place, heading, _ in one] == [
        *(("one", "1 One"), ("sums", "1.1 Sums"), ("more", "More"), ("code", "Code <here>")),
        *(("summary", "1.3 Summary"), ("equations", "Equations"), ("history", "1.5 History")),
        ("exercises", "Exercises"),
    ]
    texts = {place: text for place, _, text in one}
    assert "cited" in texts["sums"]
    assert "Detour" not in texts["sums"]
    assert "Detour" in texts["more"]
    assert texts["equations"] == "y (1.1)"  # once, and not as TeX
    _, two = searching.entries(book, "chapters/02-two.html")
    assert ("term-a", "alpha", "The first.") in two


def test_a_page_with_stray_html_is_named(book):
    page = book / "chapters/02-two.html"
    page.write_text(TWO.replace("See", "source<tab>target"))
    with pytest.raises(ValueError, match=r"02-two\.html: expected </tab>, found </p>"):
        built.article(page)


def test_the_numbers_of_pages_are_read_from_the_pdf():
    objects = [
        *(b"<</Type /Page /Parent %d 0 R>>" % parent for parent in (4, 5, 5)),
        b"<</Type /Pages /Count 3 /Kids [1 0 R 5 0 R]>>",
        b"<</Type /Pages /Parent 4 0 R /Count 2 /Kids [3 0 R 2 0 R]>>",
        b"<</a [3 0 R /XYZ 63 763 0] /caf#C3#A9--b [2 0 R /XYZ 1 1 0]\n/c [1 0 R /XYZ 1 2 0]>>",
        b"<</Type /Catalog /Pages 4 0 R /Dests 6 0 R>>",
    ]
    pdf = b"".join(b"%d 0 obj\n%s\nendobj\n" % pair for pair in enumerate(objects, 1))
    assert printed.destinations(pdf) == {"a": 2, "café--b": 3, "c": 1}


def test_without_chromium_one_line_says_so(book, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CHROMIUM", str(tmp_path / "none"))
    assert printed.main(book, tmp_path / "book.pdf") == 2
    told = capsys.readouterr()
    assert re.fullmatch(
        r"make pdf: expected Chromium \(.*\), found none; .*index\.html\n", told.err
    )
    assert not told.out
    assert (tmp_path / "printed/index.html").exists()


@pytest.mark.deep
@pytest.mark.skipif(not printed.chromium(), reason="needs Chromium")
def test_chromium_prints_two_chapters(book, tmp_path):
    for name in ("katex-1/katex.min.css", "pygments.css", "book.css"):
        shutil.copy(STYLE, book / "_static" / name)
    assert printed.main(book, tmp_path / "book.pdf") == 0
    pdf = (tmp_path / "book.pdf").read_bytes()
    numbers = printed.destinations(pdf)
    assert numbers["chapters-01-one"] == 5  # after the title, contents, the first page, the part
    assert numbers["chapters-01-one--sums"] == 5 < numbers["chapters-02-two"]
    linked = {link.decode() for link in re.findall(rb"/Dest /(\S+)", pdf)}
    assert linked
    assert linked <= set(numbers)
    assert re.search(rb"/URI \(https://example\.org/#x\)", pdf)
    page = (tmp_path / "printed/index.html").read_text()
    lines = re.findall(r'<a href="#([^"]*)">.*</a><span></span><b>(\d+)</b>', page)
    assert len(lines) == 6
    assert all(numbers[name] == int(number) for name, number in lines)
