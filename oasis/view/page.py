"""Page: the widgets of the viewer, which show what a session answers."""

import base64
import binascii
from html import escape
from typing import Any

from oasis.errors import DataError
from oasis.html import table_html
from oasis.view.figures import Figures
from oasis.view.panels import intensities, objects, panels
from oasis.view.session import Answer, Session

TABLE = "td, th { padding: 1px 10px; text-align: right } th { border-bottom: 1px solid #999 }"
LINEAR, LOGARITHMIC = "linear", "logarithmic"


class Page:
    """One page of the viewer.

    Args:
        session: answers what there is to show.

    Attributes:
        layout: what a document of Bokeh shows.
    """

    def __init__(self, session: Session) -> None:
        from bokeh.layouts import column, row
        from bokeh.models import Div

        self.session = session
        self._build_widgets()
        self.intensities = Div(stylesheets=[TABLE])  # a table of Bokeh kept values of an earlier image
        self.objects = Div(stylesheets=[TABLE], styles={"max-height": "220px", "overflow-y": "auto"})
        self.figures = Figures()
        self.nothing = Div(text="no image can be shown: choose another one")
        self.pictures = column(self.nothing)
        controls = column(
            self.kind, self.event, self.file, self.number, self.drop, self.fraction, self.stretch, width=280
        )
        tables = column(self.title, self.notice, self.intensities, self.objects)
        self.layout = column(row(controls, tables), self.pictures)
        self._connect()
        self.show()

    def _build_widgets(self) -> None:
        from bokeh.models import Div, FileInput, RadioButtonGroup, Select, Slider, Spinner

        session, files = self.session, list(self.session.files)
        first = 0 if session.events and not files else 1
        self.kind = RadioButtonGroup(labels=[f"{session.split} event", "file"], active=first)
        self.event = Spinner(
            title=f"event, 0 to {max(session.events - 1, 0)}", low=0, high=max(session.events - 1, 0), value=0
        )
        self.file = Select(title="file", options=files, value=files[0] if files else "")
        self.number = Spinner(title="image", low=0, high=0, value=0)
        self.drop = FileInput(title="or drop a file here", accept=",".join(session.suffixes))
        self.fraction = Slider(title="top of the scale, % of its range", start=1, end=100, step=1, value=100)
        self.stretch = Select(title="scale", options=[LINEAR, LOGARITHMIC], value=LINEAR)
        self.title, self.notice = Div(), Div()

    def _connect(self) -> None:
        for widget, name, call in (
            (self.kind, "active", self.show),
            (self.event, "value", lambda: self._choose(0)),
            (self.file, "value", lambda: self._choose(1)),
            (self.number, "value", lambda: self._choose(1)),
            (self.drop, "value", lambda: self._later(self.dropped)),
            (self.fraction, "value", lambda: self.figures.rescale(self.fraction.value / 100)),
            (self.stretch, "value", self._redraw),
        ):
            widget.on_change(name, lambda attr, old, new, call=call: call())

    def _later(self, call: Any) -> None:
        """Call a function when all changes of a message have arrived, such as a file and its name."""
        if self.layout.document is None:
            call()
        else:
            self.layout.document.add_next_tick_callback(call)

    def _choose(self, kind: int) -> None:
        if self.kind.active == kind:
            self.show()
        else:
            self.kind.active = kind  # which shows it

    def dropped(self) -> None:
        """Show a file that was dropped."""
        try:
            content = base64.b64decode(self.drop.value)
            name = self.session.add(str(self.drop.filename), content)
        except (DataError, binascii.Error) as error:
            self._tell((str(error),))
            return
        self.file.options = list(self.session.files)
        if self.file.value == name and self.kind.active == 1:
            self.show()  # another file of the same name
        self.file.value = name

    def show(self) -> None:
        """Show what is chosen."""
        answer = self._answer()
        self._tell((*self.session.notices, *answer.notices))
        self._shown = answer.shown
        self.title.text = "" if answer.shown is None else f"<b>{escape(self.session.plain(answer.shown.name))}</b>"
        self.intensities.text = "" if answer.shown is None else table_html(intensities(answer.shown))
        listed = {} if answer.shown is None else objects(answer.shown, self.session.classes)
        self.objects.text = f"single objects{table_html(listed)}" if listed else ""
        self._redraw()

    def _answer(self) -> Answer:
        if self.kind.active == 0:
            if not self.session.events:
                return Answer(None)
            return self.session.event(int(self.event.value or 0))
        if not self.file.value:
            return Answer(None, ("choose a file, or drop one",))
        self.number.high = max(self.session.images(self.file.value) - 1, 0)
        self.number.title = f"image, 0 to {self.number.high}"
        return self.session.image(self.file.value, min(int(self.number.value or 0), self.number.high))

    def _redraw(self) -> None:
        if self._shown is None:
            self.pictures.children = [self.nothing]  # Bokeh warns of an empty column
            return
        rows = panels(self._shown, self.session.classes, self.session.unit)
        logarithmic = self.stretch.value == LOGARITHMIC
        grid = self.figures.draw(rows, self.fraction.value / 100, logarithmic)
        if self.pictures.children != [grid]:
            self.pictures.children = [grid]

    def _tell(self, lines: tuple[str, ...]) -> None:
        self.notice.text = "".join(f'<div style="color:#a40000">{escape(line)}</div>' for line in lines)
