"""Labels stand where one sees whose they are."""

import math

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Annotation

from edgekd.report.page.plot_labels import place_labels

PARTS = [part / 200 for part in range(201)]
"""Of the way from a label to its point."""


def test_no_point_stands_between_a_label_and_its_own_nor_is_nearer_unless_a_line_leads_there() -> None:
    figure = Figure(figsize=(10, 3.5), dpi=100)
    axes = figure.add_subplot()
    axes.set(xlim=(0, 1.55), ylim=(97.8, 100.1))
    places = [(1.36, 99.44), (0.37, 99.44), (0.35, 99.44), (0.333, 99.44)]
    texts = ["teacher, 8,895 kB", "distill, 2,339 kB", "qat, 726 kB", "qat-ptq, 726 kB"]

    place_labels(axes, places, [400, 100, 40, 40], [(98.0, 99.8)] * 4, texts, [False, False, True, False])

    FigureCanvasAgg(figure).draw()
    points = axes.transData.transform(places)
    assert len(axes.texts) == 4
    for label in axes.texts:
        own = texts.index(label.get_text())
        box = label.get_window_extent()
        away = [math.hypot(max(box.x0 - x, x - box.x1, 0), max(box.y0 - y, y - box.y1, 0)) for x, y in points]
        assert isinstance(label, Annotation)
        assert label.arrow_patch is not None or away[own] == min(away)
        middle, end = ((box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2), points[own]
        way = [(middle[0] + (end[0] - middle[0]) * part, middle[1] + (end[1] - middle[1]) * part) for part in PARTS]
        assert all(math.dist(step, point) > 3 for step in way for point in points if tuple(point) != tuple(end))
