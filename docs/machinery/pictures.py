"""The directives ``picture``, ``interactive`` and ``look``: see svgs.py."""

from pathlib import Path

from docutils import nodes
from docutils.parsers.rst import Directive, directives
from svgs import beside_page, inline_svg, with_numbers

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


def setup(app):
    app.add_directive("picture", Picture)
    app.add_directive("interactive", Interactive)
    app.add_directive("look", Look)
    return {"parallel_read_safe": True}
