"""Points of a plot are told apart, however near to one another they are."""

from matplotlib.figure import Figure

from edgekd.report.page.points import Point, draw_legend, draw_points


def point(number: int, accuracy: float = 0.99, *, stressed: bool = False) -> Point:
    return Point(number, f"run-{number}", 1.0, accuracy, (accuracy - 0.01, accuracy + 0.01), 100, stressed)


def test_the_legend_names_every_point_by_a_colour_and_marker_of_its_own_and_the_stressed_ones_in_bold() -> None:
    points = [point(number, stressed=number == 3) for number in range(30)]
    axes = Figure().add_subplot()

    draw_points(axes, points, "ms")
    draw_legend(axes, points, loc="upper left")

    legend = axes.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == [point.label for point in points]
    assert [text.get_text() for text in legend.get_texts() if text.get_fontweight() == "bold"] == ["run-3"]
    dots = [drawn for drawn in axes.collections if str(drawn.get_label()).startswith("run-")]
    looks = {f"{drawn.get_facecolor()} {drawn.get_paths()[0].vertices}" for drawn in dots}
    assert len(looks) == len(points)


def test_a_broken_point_stands_at_the_foot_of_the_plot_and_says_where_it_belongs() -> None:
    points = [point(0), point(1, 0.1)]
    axes = Figure().add_subplot()

    draw_points(axes, points, "ms")
    draw_legend(axes, points)

    legend = axes.get_legend()
    assert legend is not None
    assert legend.get_texts()[1].get_text() == "run-1, off the scale at 10.0 %"
    assert axes.get_ylim()[0] > 0.9
