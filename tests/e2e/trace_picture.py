"""Draws a trace as SVG, as the pages show one: a line a span, longer the longer it took."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from xml.sax.saxutils import escape

from tests.fixtures.otlp import ReceivedSpan

SHORTEST_SHARE = 0.005
"""Of the whole trace: spans that are shorter are left out, unless a longer one is below them."""
COLOURS = {
    "control-plane-api": "#2f6fdb",
    "workflow-engine": "#7a4fd0",
    "execution-workers": "#d9822b",
    "local-forge": "#2e9e6b",
    "local-gitops-agent": "#b8478f",
}
LINE, NAMES, BARS, NUMBERS, TOP, MARGIN = 17, 430, 700, 70, 58, 14
WIDTH = 2 * MARGIN + NAMES + BARS + NUMBERS


def picture(spans: Sequence[ReceivedSpan]) -> str:
    """The tree from left to right, time from left to right beside it, in milliseconds."""
    ids = long_enough(spans)
    kept = [each for each in spans if each.span_id in ids]
    first, last = min(each.start for each in kept), max(each.end for each in kept)
    shown = list(_in_order(kept, parent_id="", depth=0))
    height = TOP + LINE * len(shown) + MARGIN
    box = f'viewBox="0 0 {WIDTH} {height}" font-family="ui-monospace, monospace" font-size="11"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {box}>',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        *_legend(),
        *_scale((last - first) / 1e6, height),
    ]
    for number, (depth, span) in enumerate(shown):
        y = TOP + LINE * number
        lines += _line(span, depth, y, first, (last - first) or 1)
    return "\n".join([*lines, "</svg>\n"])


def long_enough(spans: Sequence[ReceivedSpan]) -> set[str]:
    """The ids of the spans that are shown."""
    first, last = min(each.start for each in spans), max(each.end for each in spans)
    by_id = {each.span_id: each for each in spans}
    shown: set[str] = set()
    for each in spans:
        span: ReceivedSpan | None = each
        if each.end - each.start < SHORTEST_SHARE * (last - first):
            continue
        while span is not None and span.span_id not in shown:
            shown.add(span.span_id)
            span = by_id.get(span.parent_id)
    return shown


def _in_order(
    spans: Sequence[ReceivedSpan], *, parent_id: str, depth: int
) -> Iterator[tuple[int, ReceivedSpan]]:
    for each in sorted(spans, key=lambda span: span.start):
        if each.parent_id == parent_id:
            yield depth, each
            yield from _in_order(spans, parent_id=each.span_id, depth=depth + 1)


def _legend() -> Iterator[str]:
    for number, (service, colour) in enumerate(COLOURS.items()):
        x = MARGIN + 190 * number
        yield f'<rect x="{x}" y="12" width="11" height="11" rx="2" fill="{colour}"/>'
        yield f'<text x="{x + 17}" y="22" fill="#333333">{service}</text>'


def _scale(milliseconds: float, height: int) -> Iterator[str]:
    for quarter in range(5):
        x = MARGIN + NAMES + BARS * quarter / 4
        told = f"{milliseconds * quarter / 4000:.1f} s"
        yield (
            f'<line x1="{x:.0f}" y1="{TOP - 8}" x2="{x:.0f}" y2="{height - MARGIN}"'
            ' stroke="#dddddd"/>'
        )
        yield f'<text x="{x:.0f}" y="{TOP - 14}" fill="#777777" text-anchor="middle">{told}</text>'


def _line(span: ReceivedSpan, depth: int, y: int, first: int, length: int) -> Iterator[str]:
    begin, took = (span.start - first) / length * BARS, (span.end - span.start) / length * BARS
    x, colour = MARGIN + NAMES + begin, COLOURS.get(span.service, "#888888")
    name = escape(span.name)
    yield f'<text x="{MARGIN + 12 * depth}" y="{y + 11}" fill="#222222">{name}</text>'
    yield (
        f'<rect x="{x:.1f}" y="{y + 2}" width="{max(took, 1.5):.1f}" height="{LINE - 6}" rx="2"'
        f' fill="{colour}"/>'
    )
    yield (
        f'<text x="{WIDTH - MARGIN}" y="{y + 11}" fill="#777777" text-anchor="end">'
        f"{(span.end - span.start) / 1e6:.0f} ms</text>"
    )
