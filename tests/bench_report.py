"""What `make bench` says: medians, ratios, what a dump costs and saves, as text and as a figure. Numbers in, text out."""

import statistics
from typing import Any

from matplotlib.figure import Figure

from gendistill.results.figures.style import COLOURS, rendered
from tests.bench_students import DUMPED, ONLINE, PRECISIONS, REPLAYED, SPACE

SHIPPED, EVAL = "torchdistill shipped", "torchdistill eval"
CIFAR_IMAGES = 50_000
COLOUR_OF = {"torchdistill": "0.55", ONLINE: COLOURS[0], DUMPED: COLOURS[1]}
HOUR = 3600


def summary(rates: dict[str, list[float]], name: str, times: int) -> dict[str, Any]:
    """The rates of a way in all rounds, and how many times torchdistill's they are: medians of the rounds' ratios."""
    own = rates[name]
    found: dict[str, Any] = {
        "unit": "views/s" if name.startswith("dump ") else "images/s",
        "median": statistics.median(own),
        "min": min(own),
        "max": max(own),
        "rounds": own,
        "times_per_round": times,
    }
    if not name.startswith("dump "):
        for peer in (SHIPPED, EVAL):
            if peer in rates:
                found[f"of_{peer.replace(' ', '_')}"] = statistics.median(a / b for a, b in zip(own, rates[peer], strict=True))
    return found


def dump_costs(rates: dict[str, list[float]], epochs: int) -> dict[str, dict[str, float]]:
    """For each precision, what the rates come to for CIFAR-100: an extrapolation to 50,000 images and `epochs` epochs.

    Returns:
        `dump_seconds`; `online_seconds` and `dumped_seconds` of one student; `saved_seconds_a_student`; after how many students
        (`break_even_students`) and epochs (`break_even_epochs`) the dump has paid, -1 for never; and how many times as fast one
        student with its dump is as one with the teacher online (`one_student_with_dump`).
    """
    found = {}
    for precision in PRECISIONS:
        views, online, dumped = (statistics.median(rates[f"{kind} {precision}"]) for kind in ("dump", ONLINE, DUMPED))
        dump = CIFAR_IMAGES * len(SPACE) / views
        with_teacher, with_store = (CIFAR_IMAGES * epochs / rate for rate in (online, dumped))
        saved = with_teacher - with_store
        found[precision] = {
            "images": CIFAR_IMAGES,
            "epochs": epochs,
            "dump_seconds": dump,
            "online_seconds": with_teacher,
            "dumped_seconds": with_store,
            "saved_seconds_a_student": saved,
            "break_even_students": dump / saved if saved > 0 else -1,
            "break_even_epochs": dump / saved * epochs if saved > 0 else -1,
            "one_student_with_dump": with_teacher / (dump + with_store),
        }
    return found


def text(found: dict[str, Any]) -> str:
    """The tables, in Markdown."""
    return "\n\n".join(
        [
            "\n".join(heading(found)),
            table([WAYS_HEAD, *ways_rows(found)]),
            table([DUMP_HEAD, *dump_rows(found)]),
            explanation(found),
        ]
    )


def heading(found: dict[str, Any]) -> list[str]:
    """Where, when and with what it was measured."""
    work, peer, env = found["work"], found["torchdistill"], found["environment"]
    lines = [
        f"{found['date'][:10]}, {found['device_name']} ({found['device']}), {found['threads']} threads, PyTorch {env['torch']}, "
        f"Python {env['python']}. {work['teacher']} ({work['parameters']['teacher']:,} parameters) teaches {work['student']} "
        f"({work['parameters']['student']:,}), batch {work['batch_size']}, {work['images']:,} images 32x32 of {work['classes']} "
        f"classes; medians of {found['rounds']} rounds; load average before: {found['load_average_before']:.2f}."
    ]
    if peer is None:
        return [*lines, f"torchdistill was not run: {found['torchdistill_missing']}."]
    rates = ", ".join(f"{n}: {rate:,.0f}" for n, rate in peer["images_per_second_by_workers"].items())
    tf32 = ", TF32 in convolutions" if peer["tf32_in_convolutions"] else ""
    return [
        *lines,
        f"torchdistill {peer['versions']['torchdistill']} with PyTorch {peer['versions']['torch']}: {peer['workers']} workers, the "
        f"fastest (images/s by workers: {rates}); as shipped its teacher is in {peer['teacher_mode']['shipped']} mode{tf32}.",
    ]


WAYS_HEAD = ["", "numbers", "images/s", "min to max", "of torchdistill as shipped", "of torchdistill in eval mode"]


def ways_rows(found: dict[str, Any]) -> list[list[str]]:
    """One row for each way to train."""
    return [
        [
            label(name),
            number_format_of(found, name),
            f"{row['median']:,.0f}",
            f"{row['min']:,.0f} to {row['max']:,.0f}",
            *(f"{row[key]:.2f}" if key in row else "" for key in ("of_torchdistill_shipped", "of_torchdistill_eval")),
        ]
        for name, row in found["ways"].items()
        if not name.startswith("dump ")
    ]


DUMP_HEAD = [
    "the dump",
    "numbers",
    "views/s",
    "min to max",
    "50,000 images (extrapolated)",
    "a student, teacher online",
    "a student, dumped labels",
    "break-even students",
    "break-even epochs",
]


def dump_rows(found: dict[str, Any]) -> list[list[str]]:
    """One row for each precision of the dump."""
    rows = []
    for precision, costs in found["dump"].items():
        row = found["ways"][f"dump {precision}"]
        hours = (f"{costs[f'{what}_seconds'] / HOUR:.3g} h" for what in ("dump", "online", "dumped"))
        pays = (
            f"{costs[f'break_even_{what}']:.3g}" if costs["saved_seconds_a_student"] > 0 else "never"
            for what in ("students", "epochs")
        )
        numbers = number_format_of(found, f"dump {precision}")
        rows.append(
            [f"all {len(SPACE)} views", numbers, f"{row['median']:,.0f}", f"{row['min']:,.0f} to {row['max']:,.0f}", *hours, *pays]
        )
    return rows


def explanation(found: dict[str, Any]) -> str:
    """What the extrapolation is, and what it means for one student."""
    costs = found["dump"]["auto"]
    return (
        f"Hours are extrapolated from {found['dump_images']} images dumped and {found['work']['images']:,} trained on to "
        f"{costs['images']:,} images, and {costs['epochs']} epochs of a student. In the default precision one such student, its "
        f"own dump included, is {costs['one_student_with_dump']:.2f} times as fast as with the teacher online."
    )


def label(name: str) -> str:
    """A way in words."""
    words = {SHIPPED: "torchdistill, teacher as shipped", EVAL: "torchdistill, teacher in eval mode"}
    if name in words:
        return words[name]
    kind, _, rest = name.partition(" ")
    replayed = ", steps replayed" if REPLAYED in f" {rest}" else ""
    many = f", {rest.rpartition(' x ')[2]} students side by side, in sum" if " x " in rest else ""
    return {ONLINE: "ours, teacher online", DUMPED: "ours, dumped labels", "dump": "ours, the dump"}[kind] + replayed + many


def number_format_of(found: dict[str, Any], name: str) -> str:
    """The number format of a way; the default one is marked."""
    if name.startswith("torchdistill"):
        return found["torchdistill"]["number_format"]
    precision = name.split()[1]
    return found["number_formats"][precision] + (" (default)" if precision == "auto" else "")


def table(rows: list[list[str]]) -> str:
    """A Markdown table; the first row is its head."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]])


def figures(found: dict[str, Any]) -> dict[str, bytes]:
    """Images per second of each way as bars from the smallest to the largest round: `bench.svg` and `bench.png`."""
    ways = {name: row for name, row in found["ways"].items() if not name.startswith("dump ")}
    figure = Figure(figsize=(9, 1.2 + 0.5 * len(ways)), layout="constrained")
    axes = figure.subplots()
    for place, (name, row) in enumerate(ways.items()):
        spread = [[row["median"] - row["min"]], [row["max"] - row["median"]]]
        default = " auto" in name
        axes.barh(
            place,
            row["median"],
            color=COLOUR_OF[name.split()[0]],
            hatch="//" if default else None,
            edgecolor="white" if default else "none",
            xerr=spread,
            ecolor="0.2",
            capsize=3,
        )
        ratio = f"  ({row['of_torchdistill_shipped']:.1f}x)" if "of_torchdistill_shipped" in row else ""
        axes.annotate(f"{row['median']:,.0f}{ratio}", (row["max"], place), xytext=(5, 0), textcoords="offset points", va="center")
    axes.set_yticks(range(len(ways)), [f"{label(name)}\n{number_format_of(found, name)}" for name in ways])
    axes.invert_yaxis()
    axes.set_xlim(0, 1.25 * max(row["max"] for row in ways.values()))
    axes.set_xlabel(f"images per second, median of {found['rounds']} rounds (lines: range)")
    axes.set_title(f"{found['device_name']}, {found['threads']} threads", fontsize="medium")
    axes.spines[["top", "right"]].set_visible(False)
    return {f"bench.{kind}": rendered(figure, kind) for kind in ("svg", "png")}
