"""A few SVG elements. Figures name colours as classes; the page's style sheet, or `standalone`, gives them values.

Everything that is text is escaped here, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from importlib import resources

from safekeel.report.labels import visible

Place = Callable[[float, float], tuple[float, float]]
"""From the values of a plot to pixels."""
MARGIN = 16  # pixels around a figure that stands alone


def number(value: float) -> str:
    """A coordinate, without needless digits."""
    return f"{value:.1f}".removesuffix(".0")


def _attributes(names: dict[str, object]) -> str:
    shown = ((key.rstrip("_").replace("_", "-"), value) for key, value in names.items() if value is not None)
    return "".join(
        f' {key}="{number(value) if isinstance(value, float) else escape(visible(str(value)), quote=True)}"'
        for key, value in shown
    )


def element(tag: str, *children: str, **attributes: object) -> str:
    """An element; `class_` and `text_anchor` are written `class` and `text-anchor`. Children are markup already."""
    inner = "".join(children)
    return f"<{tag}{_attributes(attributes)}>{inner}</{tag}>" if inner else f"<{tag}{_attributes(attributes)}/>"


def text(x: float, y: float, content: str, style: str = "t", anchor: str = "start", **more: object) -> str:
    """A line of text; `y` is its baseline."""
    shown = escape(visible(content), quote=False)
    return element("text", shown, x=float(x), y=float(y), class_=style, text_anchor=anchor, **more)


def labelled(x: float, y: float, content: str, aside: str, style: str = "t", anchor: str = "start") -> str:
    """A line of text that ends in something muted, whatever the width of its beginning."""
    first = escape(visible(content), quote=False)
    second = element("tspan", escape(visible(aside), quote=False), class_="m", dx="0.4em")
    return element("text", first, second, x=float(x), y=float(y), class_=style, text_anchor=anchor)


def line(x1: float, y1: float, x2: float, y2: float, style: str) -> str:
    return element("line", x1=float(x1), y1=float(y1), x2=float(x2), y2=float(y2), class_=style)


def rect(x: float, y: float, width: float, height: float, style: str, *children: str, radius: float = 2) -> str:
    return element(
        "rect", *children, x=float(x), y=float(y), width=float(max(0.0, width)), height=float(height), rx=float(radius),
        class_=style,
    )  # fmt: skip


def circle(x: float, y: float, radius: float, style: str, *children: str) -> str:
    return element("circle", *children, cx=float(x), cy=float(y), r=float(radius), class_=style)


def diamond(x: float, y: float, radius: float, style: str, *children: str) -> str:
    corners = ((x, y - radius), (x + radius, y), (x, y + radius), (x - radius, y))
    return element("polygon", *children, points=" ".join(f"{number(a)},{number(b)}" for a, b in corners), class_=style)


def path(points: Sequence[tuple[float, float]], style: str) -> str:
    """An open line through the points."""
    moves = " ".join(f"{'L' if index else 'M'}{number(x)} {number(y)}" for index, (x, y) in enumerate(points))
    return element("path", d=moves, class_=style, fill="none")


def area(upper: Sequence[tuple[float, float]], lower: Sequence[tuple[float, float]], style: str) -> str:
    """The surface between two lines over the same places."""
    moves = " ".join(f"{'L' if i else 'M'}{number(x)} {number(y)}" for i, (x, y) in enumerate([*upper, *lower[::-1]]))
    return element("path", d=f"{moves} Z", class_=style)


def title(content: str) -> str:
    """What a pointer over the parent element shows."""
    return element("title", escape(visible(content), quote=False))


def figure(width: float, height: float, description: str, *children: str) -> str:
    """The whole figure; scales with its place on the page."""
    return element(
        "svg",
        *children,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {number(width)} {number(height)}",
        class_="figure",
        role="img",
        aria_label=description,
    )


def standalone(svg: str) -> str:
    """The figure as a file of its own: with colours for light and dark surroundings, and a background."""
    style = resources.files("safekeel.report").joinpath("templates/figure.css").read_text("utf-8")
    head, _, body = svg.partition(">")
    before, _, after = head.partition('viewBox="0 0 ')
    size, _, rest = after.partition('"')
    width, height = (number(float(part) + 2 * MARGIN) for part in size.split())
    box = f'x="-{MARGIN}" y="-{MARGIN}" width="{width}" height="{height}"'
    sized = f'{before}viewBox="-{MARGIN} -{MARGIN} {width} {height}" width="{width}" height="{height}"{rest}>'
    return f'{sized}<style>{style}</style><rect {box} rx="8" class="paper"/>{body}\n'


def ticks(low: float, high: float, most: int) -> list[float]:
    """Round numbers within [low, high], at most `most` of them."""
    span = max(high - low, 1e-9)
    for step in (s * 10**e for e in range(-4, 4) for s in (1, 2, 5)):
        first = -(-low // step) * step
        found: list[float] = []
        while first + len(found) * step <= high + 1e-9 * span:
            found.append(first + len(found) * step)
            if len(found) > most:
                break
        if len(found) <= most:
            return found
    return [low, high]
