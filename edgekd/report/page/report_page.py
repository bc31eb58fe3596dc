"""The report as one HTML page; a section that has no data is left out."""

from edgekd.ondevice.latency import REPEATABILITY, SAME_FILE
from edgekd.report import wording as w
from edgekd.report.alarms import alarms
from edgekd.report.devices import device_facts, device_table, device_warnings
from edgekd.report.files import files_table
from edgekd.report.fitting import KEEPS_UP
from edgekd.report.page import plots
from edgekd.report.page.budget import budget_lines
from edgekd.report.page.cards import cards
from edgekd.report.page.jinja import filled
from edgekd.report.page.kernels import kernels
from edgekd.report.page.quantization import bits_in_words, bits_table, layers_table
from edgekd.report.page.rivals import rivals_table
from edgekd.report.page.training import search_table, training_words
from edgekd.report.roles import checked_of, recommended_of, role_of
from edgekd.report.schema import Report
from edgekd.training.significance import SIGNIFICANT


def render_html(report: Report) -> str:
    """The whole page."""
    model, checked, quantization = recommended_of(report), checked_of(report), report.quantization
    return filled(
        "report.html.jinja",
        title=f"{report.pipeline}: {report.verdict.outcome.upper()}",
        report=report,
        role=role_of(report),
        chosen=f"{model.id} ({model.file})" if model else report.recommended,
        alarms=alarms(report),
        cards=cards(report),
        budget=budget_lines(report.verdict),
        checked=f"{checked.id} on test" if checked else "",
        files=files_table(report),
        rivals=rivals_table(report),
        devices=[
            (device, device_facts(device), device_warnings(device), device_table(report, device))
            for device in report.devices
        ],
        quantization=quantization,
        bits=bits_table(quantization) if quantization else None,
        layer_bits=layers_table(quantization) if quantization and quantization.layers else None,
        bits_in_words=bits_in_words(quantization, report.target) if quantization else (),
        kernels=kernels(report),
        plots=plots,
        training_words=training_words,
        search_table=search_table,
        keeps_up=KEEPS_UP,
        significant=SIGNIFICANT,
        repeatability=REPEATABILITY,
        same_file=SAME_FILE,
        no_difference=w.NO_DIFFERENCE,
    )
