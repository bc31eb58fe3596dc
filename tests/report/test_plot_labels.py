"""Labels stand where one sees whose they are."""

import math

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Annotation

from edgekd.report.plot_labels import place_labels


def test_a_label_that_stands_nearer_to_another_point_has_a_line_to_its_own() -> None:
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
