"""The page of a chart: panels from top to bottom, each under its sentence, and below them what it was drawn from."""

from __future__ import annotations

import re
import textwrap
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Unpack

from matplotlib.axes import Axes
from matplotlib.figure import Figure

import kacap
from kacap.analysis import Analysis
from kacap.facts.overall import overall
from kacap.report.chart.axis import TimeAxis
from kacap.report.chart.palette import DARK, LIGHT, Theme
from kacap.report.chart.style import PatchStyle, WordStyle, styled
from kacap.report.sentences import span_words
from kacap.units import clean, counted, duration, moment

MIN_WIDTH, DOTS = 3.3, 150  # inches, and dots per inch; a picture with more dots shows more things, not larger ones
LINE, TITLE_LINE = 0.165, 0.21  # inches
TOP, FOOT, SIDE = 0.12, 0.22, 0.35
LETTERS = 16.4  # of 8 points on an inch
NARROW, NARROWER = 5.5, 0.15  # inches of a page, below which the words under an axis take two lines; how high one is
PIXELS = 1200
MOST_TITLE = 2  # lines
# Where a clause of a sentence ends.
CLAUSE = "|".join(
    (
        r"; ",
        r"(?<!keepalive): ",
        r" \((?=[^()]*\)$)",
        r", (?=all to |\[?[\da-f.:]+\]?:\d+ |[\d,]+ of )",
        r",? (?=between \d|the shortest )",
    )
)
LONG_ADDRESS = 17  # letters of an IPv6 address, from which on its end alone is shown where there is no room
NOBODY = "no keepalive probe seen"


@dataclass(slots=True)
class Panel:
    """One pair of axes, ``height`` inches high, with room around it: ``left`` for labels of the y axis.

    ``title`` is the verdict as a sentence, ``lines`` stand under it; ``draw`` fills the axes. ``fit`` returns the
    height and the room above that it needs on axes of a width in inches, ``sides`` the room left and right on a page.
    """

    draw: Callable[[Axes, Theme], None]
    height: float
    title: str = ""
    lines: Sequence[str] = ()
    above: float = 0.1
    below: float = 0.42
    left: float = SIDE
    right: float = SIDE
    fit: Callable[[float], tuple[float, float]] | None = None
    sides: Callable[[float], tuple[float, float]] | None = None

    def heading(self, columns: int) -> tuple[list[str], list[str]]:
        """Return the lines of the title and those below it, wrapped to a page of so many characters."""
        wide, lines = round(columns * 0.72), list(self.lines)
        title = wrap(self.title, wide)
        if len(title) > MOST_TITLE:
            for words in (self.title, short(self.title)):
                first, rest = conclusion(words, lambda words: len(wrap(words, wide)) <= MOST_TITLE)
                title = wrap(first, wide)
                if len(title) <= MOST_TITLE:
                    break
            lines = [*filter(None, [rest]), *lines]
        return title, [part for line in lines for part in wrap(line, columns)]


@dataclass(slots=True)
class Look:
    """How a picture looks: ``width`` in pixels (png), ``dark`` paper."""

    width: int = PIXELS
    dark: bool = False

    @property
    def theme(self) -> Theme:
        """The colours."""
        return DARK if self.dark else LIGHT

    @property
    def inches(self) -> float:
        """The width of the page: text keeps its size, down to a column of a paper with two."""
        return max(MIN_WIDTH, self.width / DOTS)


class Chart(Figure):
    """A matplotlib figure that notebooks show by themselves."""

    said: tuple[str, str] = ("", "")  # title and description for readers that cannot see it

    def _repr_png_(self) -> bytes:
        """Return the picture as a PNG."""
        from kacap.report.chart.save import write

        out = BytesIO()
        write(self, out, "png")
        return out.getvalue()


@dataclass(slots=True)
class _Cursor:
    """Where on the page the next thing goes, inches from the top."""

    figure: Chart
    theme: Theme
    width: float
    height: float
    at: float = TOP

    def text(self, words: str, step: float, **style: Unpack[WordStyle]) -> None:
        """Write one line and step below it."""
        self.at += step
        corner = (SIDE / self.width, 1 - self.at / self.height)
        self.figure.text(*corner, words, va="baseline", parse_math=False, **style)

    def axes(self, panel: Panel) -> Axes:
        """Make a panel's axes and step below them."""
        self.at += panel.above + panel.height
        wide = 1 - (panel.left + panel.right) / self.width
        box = (panel.left / self.width, 1 - self.at / self.height, wide, panel.height / self.height)
        axes: Axes = self.figure.add_axes(box)
        self.at += panel.below
        _plain(axes, self.theme)
        return axes


@dataclass(slots=True)
class Page:
    """What a picture shows, ready to be drawn: panels, and notes that stand at its foot."""

    panels: list[Panel]
    notes: list[str] = field(default_factory=list)

    def figure(self, analysis: Analysis, look: Look) -> Chart:
        """Return the figure."""
        columns = round((look.inches - 2 * SIDE) * LETTERS)
        for panel in self.panels:
            if panel.sides is not None:
                panel.left, panel.right = panel.sides(look.inches)
            wide = look.inches - panel.left - panel.right
            panel.below += NARROWER * (wide < NARROW - 2 * SIDE and panel.below > NARROWER)
            if panel.fit is not None:
                panel.height, panel.above = panel.fit(wide)
        headings = [panel.heading(columns) for panel in self.panels]
        notes = [part for note in self.notes for part in wrap(note, columns)]
        foot = wrap(source(analysis), round(columns * 1.12))
        texts = sum(len(title) * TITLE_LINE + len(lines) * LINE for title, lines in headings)
        pictures = sum(panel.above + panel.height + panel.below for panel in self.panels)
        height = TOP + texts + pictures + LINE * (len(notes) + len(foot) - 1) + FOOT
        dots = look.width / look.inches
        height = round(height * dots) / dots
        with styled(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph", UserWarning)  # words in a script that no font here has
            figure = Chart(figsize=(look.inches, height), dpi=dots, facecolor=look.theme.paper)
            cursor = _Cursor(figure, look.theme, look.inches, height)
            for panel, (title, lines) in zip(self.panels, headings, strict=True):
                for line in title:
                    cursor.text(line, TITLE_LINE, size=10, weight="bold", color=look.theme.ink)
                for line in lines:
                    cursor.text(line, LINE, size=8, color=look.theme.soft)
                panel.draw(cursor.axes(panel), look.theme)
            for note in notes:
                cursor.text(note, LINE, size=8, color=look.theme.ink)
            for nth, line in enumerate(foot):
                cursor.text(line, FOOT - 0.08 if nth == 0 else LINE, size=7, color=look.theme.soft)
        said = [panel.title for panel in self.panels if panel.title]
        below = [line for panel in self.panels for line in panel.lines]
        figure.said = clean("; ".join(said)), clean("; ".join([*below, *self.notes, source(analysis)]))
        return figure


def conclusion(words: str, fits: Callable[[str], bool]) -> tuple[str, str]:
    """Return a sentence's first clauses, as many as fit a title that is read in five seconds, and the rest of it.

    All of it, and nothing, where not even the first fits.
    """
    if fits(words):
        return words, ""
    ends = [found.start() for found in re.finditer(CLAUSE, words)]
    end = next((end for end in reversed(ends) if fits(words[:end])), 0)
    if not end:
        return words, ""
    rest = words[end:].lstrip(";:, ")
    return words[:end], rest[1:-1] if rest.startswith("(") and rest.endswith(")") else rest


def short(words: str) -> str:
    """Return words with the ends of long IPv6 addresses alone, and always the port: ``[..eeff:1:2:3]:443``."""
    return re.sub(rf"[\da-f:]{{{LONG_ADDRESS},}}", lambda found: f"..{found[0][-12:]}", words)


def wrap(words: str, columns: int) -> list[str]:
    """Return words in lines of so many characters; a number stays with its unit."""
    bound = re.sub(r"(?<=\d) (?=(?:[num]?s|min|h|d|%)\b)", "\u00a0", clean(words))
    return [line.replace("\u00a0", " ") for line in textwrap.wrap(bound, columns)]


def _plain(axes: Axes, theme: Theme) -> None:
    """Take everything off new axes that says nothing."""
    axes.set_facecolor(theme.paper)
    for side in ("left", "right", "top"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(theme.ink)
    axes.tick_params(length=3, width=0.6, labelsize=8, colors=theme.ink)


def hatch(axes: Axes, theme: Theme, left: float, right: float, low: float = 0.0, high: float = 1.0) -> None:
    """Hatch what lies outside the capture, between two shares of the height: nothing is known of it."""
    style: PatchStyle = {"facecolor": "none", "edgecolor": theme.hatch, "hatch": "////", "linewidth": 0, "zorder": 0.5}
    axes.axvspan(left, right, low, high, **style)


def halo(theme: Theme) -> PatchStyle:
    """Return the box that keeps a label readable on top of lines."""
    return {"facecolor": theme.paper, "edgecolor": "none", "pad": 0.8, "alpha": 0.9}


def scale_left(axes: Axes, theme: Theme, words: str) -> None:
    """Show the y axis and write what it is."""
    axes.spines["left"].set_visible(True)
    axes.spines["left"].set_color(theme.soft)
    axes.set_ylabel(words, size=7.5, color=theme.soft)


def scale_time(
    axes: Axes, theme: Theme, axis: TimeAxis, origin_ns: int, *, labelled: bool = True, since: str = "the capture began"
) -> None:
    """Write the time below a panel, counted from ``origin_ns``; not ``labelled``: only its ticks."""
    inches = axes.get_window_extent().width / axes.figure.dpi
    xs, labels, unit = axis.ticks(origin_ns, inches)
    axes.set_xticks(xs, labels if labelled else [""] * len(labels))
    if labelled:
        words = f"{unit} since {since}, {moment(origin_ns)}"
        if inches < NARROW / 2:
            words = f"{unit.partition(',')[0]} since {moment(origin_ns)}"
        axes.set_xlabel(filled(words, inches), size=7.5, color=theme.soft, labelpad=2)


def filled(words: str, inches: float) -> str:
    """Return words below axes of so many inches, wrapped."""
    return textwrap.fill(words, round((inches + SIDE) * LETTERS))


def below(axis: TimeAxis, origin_ns: int) -> float:
    """Return the room below a panel for the time on an axis, inches."""
    return 0.28 + 0.14 * axis.label_lines(origin_ns)


def only_words(title: str, lines: Sequence[str]) -> Panel:
    """Return a panel that shows nothing but its title and lines: an empty chart is a riddle."""

    def blank(axes: Axes, theme: Theme) -> None:
        axes.set_axis_off()

    return Panel(blank, 0.15, title, lines, 0.05, 0.05)


def source(analysis: Analysis) -> str:
    """Return what the picture was drawn from: the file, its frames, its span, and kacap's version."""
    capture = analysis.capture
    files = capture.files
    name = clean(Path(files[0]).name) if len(files) == 1 else counted(len(files), "file")
    words = f"{name}: {counted(capture.frames, 'frame')}"
    if capture.first_ns is not None:
        words += f" in {span_words(capture)} from {moment(capture.first_ns)}"
    return f"{words}; kacap {kacap.__version__}"


def drop_note(analysis: Analysis) -> list[str]:
    """Return what dropped frames mean for the picture, nothing where none were."""
    if not analysis.capture.dropped:
        return []
    lost, timed = analysis.capture.dropped, sum(drop.frames for drop in analysis.capture.timed_drops)
    when = "when is not recorded"
    if timed:
        when = f"{'' if timed >= lost else f'{timed:,} of them '}at known times (cross-hatched)"
    return [f"! {counted(lost, 'frame')} dropped while capturing, {when}: a miss may be one that was not captured"]


def watched(analysis: Analysis) -> str:
    """Return for how long was watched: `` in 14.0 s``."""
    span = span_words(analysis.capture)
    return "" if span is None else f" in {span}"


def nothing(analysis: Analysis) -> Page:
    """Return a page that says that no probe was seen, and for how long was watched."""
    unprobed, verdict = analysis.unprobed, overall(analysis)
    lines = ["no TCP connection in the capture"]
    if unprobed.connections:
        silent = f"longest silence {duration(unprobed.longest_silence_ns)}"
        lines = [f"{counted(unprobed.connections, 'connection')}, {silent}: a longer idle would not have shown"]
    if verdict is not None:
        lines.insert(0, NOBODY + watched(analysis))
    title = NOBODY + watched(analysis) if verdict is None else verdict.sentence
    return Page([only_words(title, lines)])


def idle_deaths(analysis: Analysis) -> list[str]:
    """Return what the findings say of connections that died idle."""
    return [finding.sentence for finding in analysis.findings if finding.id == "idle-deaths"]
