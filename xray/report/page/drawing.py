"""The look of every chart: colours, fonts, margins, and SVG that shares a page."""

import io
import re
import textwrap
import warnings
from dataclasses import dataclass
from html import escape

import numpy as np
from matplotlib import rc_context
from matplotlib.axis import Axis
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from xray.config.runners import runner_of

# Of the same palette as the runners' colours.
PHASE_COLOURS = {
    "startup": "#CC79A7",
    "load": "#56B4E9",
    "warmup": "#F0E442",
    "fit": "#E69F00",
    "evaluate": "#444444",
    "other": "#BBBBBB",
}
INK, MUTED = "#222222", "#777777"
WIDTH = 5.2
"""Inches; narrow enough to be read on a phone without zooming."""
LABEL_INCHES, LABEL_CHARACTERS = 0.14, 25
"""Height and length of a line beside a chart."""
Paint = str | tuple[float, ...]
COLUMNS, PANEL = 2, 2.3
"""Of small charts in one picture, and the inches that each is high with its title."""

THEME = {
    "#222222": "var(--ink)",
    "#777777": "var(--soft)",
    "#e4e4e4": "var(--line)",
    "#ffffff": "var(--panel)",
}
"""What Matplotlib drew, and the page's own colours: they follow dark mode and print."""

STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "xray",
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "xtick.color": INK,
    "ytick.color": INK,
    "lines.markersize": 5,
    "lines.linewidth": 1.5,
    "legend.frameon": False,
    "legend.fontsize": 9,
}


@dataclass(frozen=True)
class Chart:
    """An SVG element with its title and what to know when reading it."""

    name: str
    title: str
    caption: str
    svg: str


class Sheet:
    """One pair of axes with a legend above them.

    Args:
        height: of the axes, inches.
        left: margin for the labels of the y axis, inches.
        right: margin for `label_end`, inches.
    """

    def __init__(self, height: float, left: float = 0.65, right: float = 0.15) -> None:
        self._height, self._left, self._right = height, left, right
        self._ends: list[tuple[float, float, str, Paint]] = []
        with rc_context(STYLE):
            self._figure = Figure(figsize=(WIDTH, height))
            self.axes = self._figure.add_subplot()

    def label_end(self, x: float, y: float, text: str, paint: Paint) -> None:
        """Name the point (x, y) in the right margin, with a thin line to it."""
        lines = textwrap.wrap(text, LABEL_CHARACTERS)[:2]
        self._ends.append((x, y, "\n".join(lines), paint))

    def chart(self, name: str, title: str, caption: str) -> Chart:
        """The finished drawing; `name` is the prefix of every id in its SVG."""
        with rc_context(STYLE), warnings.catch_warnings():
            # The reader's fonts draw the text, so a glyph missing here is not missing.
            warnings.filterwarnings("ignore", "Glyph .* missing")
            self._place(self._add_legend())
            self._write_ends()
            buffer = io.StringIO()
            self._figure.savefig(buffer, format="svg", metadata={"Date": None})
        return Chart(name, title, caption, inline_svg(buffer.getvalue(), name, title))

    def _write_ends(self) -> None:
        """The labels of `label_end`, from top to bottom, a line apart at least."""
        axes = self.axes
        lines = 1 + max((end[2].count("\n") for end in self._ends), default=0)
        step = lines * LABEL_INCHES / self._height
        _ = axes.viewLim  # fixes the limits, which are those of the drawing from now on
        to_share = axes.transAxes.inverted()
        ends = [
            (to_share.transform(axes.transData.transform((x, y)))[1], x, y, *more)
            for x, y, *more in self._ends
        ]
        ends.sort(key=lambda end: -end[0])
        for place, (_, x, y, text, paint) in zip(
            spread_out([end[0] for end in ends], step), ends, strict=True
        ):
            axes.annotate(
                text,
                (x, y),
                (1.03, place),
                textcoords=axes.transAxes,
                va="center",
                fontsize=8,
                color=INK,
                annotation_clip=False,
                arrowprops={
                    **{"arrowstyle": "-", "color": paint, "lw": 0.7},
                    "relpos": (0, 0.5),  # ends before the text, not in it
                },
            )

    def _add_legend(self) -> int:
        """Draw it in as many columns as fit and return its rows."""
        handles, labels = self.axes.get_legend_handles_labels()
        if not handles:
            return 0
        labels = [shortened(label, 56) for label in labels]
        longest = max(map(len, labels))
        columns = 3 if longest <= 14 else 2 if longest <= 24 else 1
        self._figure.legend(
            handles, labels, loc="upper center", ncols=columns, borderaxespad=0.2
        )
        return -(-len(labels) // columns)

    def _place(self, legend_rows: int) -> None:
        """Fixed margins in inches, whatever the height of the axes."""
        top, bottom = 0.15 + 0.2 * legend_rows, 0.5
        whole = self._height + top + bottom
        left, width = self._left / WIDTH, 1 - (self._left + self._right) / WIDTH
        self._figure.set_size_inches(WIDTH, whole)
        self.axes.set_position((left, bottom / whole, width, self._height / whole))


class Panels(Sheet):
    """Small pairs of axes in two columns, with one legend above them all.

    Args:
        count: of the pairs.
        xlabel: of all x axes, under the lowest ones.
        ylabel: of all y axes, beside the left ones.
    """

    def __init__(self, count: int, xlabel: str, ylabel: str) -> None:
        self._rows = -(-count // COLUMNS)
        super().__init__(height=self._rows * PANEL)
        with rc_context(STYLE):
            others = [self._figure.add_subplot() for _ in range(count - 1)]
            self.panels = [self.axes, *others]
            for panel in self.panels[-COLUMNS:]:
                panel.set_xlabel(xlabel)
            for panel in self.panels[::COLUMNS]:
                panel.set_ylabel(ylabel)

    def _place(self, legend_rows: int) -> None:
        top, bottom = 0.2 * legend_rows - 0.05, 0.3
        whole = self._height + top + bottom
        self._figure.set_size_inches(WIDTH, whole)
        wide = (WIDTH - self._left - 0.15) / COLUMNS
        for place, panel in enumerate(self.panels):
            row, column = divmod(place, COLUMNS)
            left = self._left + column * wide + 0.3 * bool(column)
            low = bottom + (self._rows - 1 - row) * PANEL + 0.2
            size = (wide - 0.3) / WIDTH, (PANEL - 0.6) / whole
            panel.set_position((left / WIDTH, low / whole, *size))


def spread_out(places: list[float], step: float) -> list[float]:
    """Falling places moved as little downwards as keeps them `step` apart.

    Where that leads below 0 all of the lowest move up again.
    """
    found: list[float] = []
    for place in places:
        found.append(min(place, found[-1] - step) if found else place)
    for back in range(len(found) - 1, -1, -1):
        lowest = 0.0 if back == len(found) - 1 else found[back + 1] + step
        found[back] = max(found[back], lowest)
    return found


def shortened(text: str, length: int) -> str:
    """Text of at most `length` characters."""
    return text if len(text) <= length else text[: length - 1] + "…"


def inline_svg(document: str, name: str, title: str) -> str:
    """The <svg> element of a Matplotlib file, fit to sit in a page beside others.

    Matplotlib names its parts figure_1, axes_1 and so on in every file, so each id and
    each reference to one gets the prefix `name`. Its style sheet would apply to the
    whole page and its metadata name other hosts: both go.
    """
    svg = document[document.index("<svg") :]
    for fixed, follows in THEME.items():
        svg = svg.replace(fixed, follows)
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", svg, flags=re.S)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = svg.replace('href="#', f'href="#{name}-').replace("url(#", f"url(#{name}-")
    box = re.search(r'viewBox="[^"]*"', svg)
    opening = (
        f'<svg {box.group() if box else ""} role="img" aria-label="{escape(title)}" '
        'xmlns="http://www.w3.org/2000/svg" '
        f'xmlns:xlink="http://www.w3.org/1999/xlink"><title>{escape(title)}</title>'
    )
    return opening + svg[svg.index(">") + 1 :].strip()


def colour(runner: str) -> str:
    """The colour of a runner."""
    return runner_of(runner).colour or INK


def shades(runner: str, count: int) -> list[tuple[float, ...]]:
    """The colour of a runner in `count` shades, dark to light, for lines that cross."""
    own = np.array(to_rgb(colour(runner)))
    ends = np.array([own * 0.6, own, own + 0.5 * (1 - own)])
    place = np.linspace(0, 2, count) if count > 1 else [1.0]
    mixed = [np.interp(place, (0, 1, 2), column) for column in ends.T]
    return [tuple(map(float, shade)) for shade in zip(*mixed, strict=True)]


def markers() -> str:
    """Marker shapes that tell configurations of one runner apart."""
    return "os^DvPX*<>"


def plain_log_axis(axis: Axis) -> None:
    """Doubling scale with plain numbers: 0.5, 1, 2, 4."""
    axis.axes.set(**{f"{axis.axis_name}scale": "log"})
    axis.set_major_locator(LogLocator(base=2))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())
    axis.minorticks_off()
