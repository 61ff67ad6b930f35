"""The directives ``picture``, ``interactive``, ``look`` (see svgs.py), ``so-far`` (so_far.py)."""

from pathlib import Path

import so_far
from docutils import nodes
from docutils.parsers.rst import Directive, directives
from docutils.statemachine import StringList
from svgs import beside_page, inline, inline_svg, with_numbers

PICTURES = Path(__file__).resolve().parents[1] / "pictures"


class Picture(Directive):
    """``{picture} NAME`` with the option ``alt`` and a caption."""

    required_arguments = 1
    has_content = True
    classes = ("picture",)
    markup = staticmethod(inline_svg)
    option_spec = {"alt": directives.unchanged_required}  # noqa: RUF012  (docutils reads it from the class)

    def run(self) -> list[nodes.Node]:
        path = PICTURES / f"{self.arguments[0]}.svg"
        if not path.exists():
            raise self.error(f"expected a picture, found no {path.name} in docs/pictures")
        if "alt" not in self.options:
            raise self.error(f"{path.name}: expected the option alt, for those who cannot see it")
        for read in (path, path.with_suffix(".json")):
            self.state.document.settings.record_dependencies.add(str(read))
        picture = nodes.raw("", self.markup(path, self.options["alt"]), format="html")
        figure = nodes.figure("", picture, classes=[*self.classes])
        caption = nodes.Element()
        self.state.nested_parse(self.content, self.content_offset, caption)
        for paragraph in caption.children:
            figure += nodes.caption("", "", *paragraph.children)
        return [figure]


class Interactive(Picture):
    """``{interactive} NAME``: the same, with sliders where there is JavaScript."""

    markup = staticmethod(with_numbers)


class Look(Picture):
    """``{look} look-NAME``: a page of ``minillm look`` in a frame, and on paper the picture."""

    classes = ("picture", "look")
    markup = staticmethod(beside_page)


class SoFar(Directive):
    """``{so-far} NAMES``: the models of the chapter, compared with those before them."""

    required_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        new = self.arguments[0].split()
        for read in (so_far.KEPT, so_far.PICTURE):
            self.state.document.settings.record_dependencies.add(str(read))
        parts = nodes.Element()
        lines = StringList(so_far.text(new).splitlines())
        self.state.nested_parse(lines, self.content_offset, parts)
        if svg := so_far.grown(new):
            markup = inline(svg, so_far.PICTURE.stem, so_far.alternative(new))
            picture = nodes.raw("", markup, format="html")
            caption = nodes.caption("", so_far.CAPTION)
            parts += nodes.figure("", picture, caption, classes=["picture"])
        return parts.children


def setup(app):
    app.add_directive("picture", Picture)
    app.add_directive("interactive", Interactive)
    app.add_directive("look", Look)
    app.add_directive("so-far", SoFar)
    return {"parallel_read_safe": True}
