"""The figures of published tables: those of `OF_TABLES` that `figures` names, drawn from the steps of the table's cells."""

from collections.abc import Callable
from typing import Any

from gendistill.errors import SettingError
from gendistill.plan.evaluations import Cell
from gendistill.plan.figures import AXES, INTERVAL, Drawing, add_drawing, by_generation, labelled, names_of, wanted_figures
from gendistill.plan.plan import Study


def add_published_figures(study: Study, rows: list[dict[str, str]], cells: list[Cell]) -> None:
    """Add the figures that a published table names, from its rows and the cells that give them their numbers.

    Raises:
        SettingError: `figures` names one that there is not, or that cannot be drawn from these rows.
    """
    full = [{**rows[cell["row"]], **cell, "row": rows[cell["row"]]["row"]} for cell in cells if len(cell["steps"]) == 1]
    full = [{**cell, "step": cell["steps"][0]} for cell in full if cell["key"] in AXES]
    for name in wanted_figures(study, OF_TABLES):
        drawing = OF_TABLES[name](study, full)
        if not drawing:
            raise SettingError(f"figures = {name}: the table has no rows that it could be drawn from. Set in {study.where}.")
        add_drawing(study, name, drawing)


def published_error_by_generation(study: Study, cells: list[Cell]) -> Drawing | None:
    """Of a published table: a panel for each printed network, a line for each row."""
    several = len({cell["dataset"] for cell in cells}) > 1
    own = [
        {
            **cell,
            "lineage": " ".join(filter(None, [cell["row"], cell["method"]])),
            "generation": int(cell["generation"]),
            "panel": f"{cell['network']}, {cell['dataset']}" if several else cell["network"],
        }
        for cell in cells
        if cell["generation"].isdecimal()
    ]
    return by_generation(study, own) if own else None


def teacher_size(study: Study, cells: list[Cell]) -> Drawing | None:
    """Of a published table whose rows are pairs: each student, its teachers in two series, as deep as the student and not."""
    return _of_pairs(
        study,
        cells,
        "Teacher size",
        "by the number of the teacher's parameters (logarithmic), for teachers of the student's depth and of others",
        lambda student, teacher, row: _depths(student.settings["network"], teacher.settings["network"]),
    )


def early_stopped_teachers(study: Study, cells: list[Cell]) -> Drawing | None:
    """Of a published table whose rows are pairs: each student, a series for each teacher, by its epochs."""
    return _of_pairs(
        study,
        cells,
        "Early-stopped teachers",
        "by the number of epochs after which the teacher was stopped",
        lambda student, teacher, row: {"series": row["network"], "epochs": teacher.settings["recipe"]["epochs"]},
    )


def _depths(student: dict[str, Any], teacher: dict[str, Any]) -> dict[str, Any]:
    if "depth" not in student or "depth" not in teacher:
        return {"series": ""}
    return {"series": "same depth" if student["depth"] == teacher["depth"] else "other depth"}


def _of_pairs(study: Study, cells: list[Cell], title: str, by: str, describe: Callable[..., dict[str, Any]]) -> Drawing | None:
    """Rows of one name are a student (method `kd`) and its teacher; those of method `scratch` are students without one."""
    plan = study.plan
    students, teachers = ([cell for cell in cells if cell["method"] == method] for method in ("kd", "teacher"))
    found: list[Cell] = []
    for student in students:
        for teacher in teachers:
            if (teacher["row"], teacher["seed"]) == (student["row"], student["seed"]):
                more = describe(plan.steps[student["step"]], plan.steps[teacher["step"]], teacher) | {"panel": student["network"]}
                for of, cell in (("student", student), ("teacher", teacher)):
                    found += labelled([cell], "row", of=of, **more)
    if not found:
        return None
    panels = {cell["panel"] for cell in found}
    scratch = [cell for cell in cells if cell["method"] == "scratch" and cell["network"] in panels]
    baseline = " Horizontal line and band: students from scratch, mean and 95 % t-interval." if scratch else ""
    for cell in scratch:
        found += labelled([cell], "row", of="scratch", series="", panel=cell["network"])
    return Drawing(
        title,
        f"Test error of students (filled) and of their teachers (hollow) after the last epoch, {by}. Lines: mean. "
        f"{INTERVAL}{baseline}",
        f"Lines of test error of {names_of(found, 'panel')} {by}. The numbers are in results/tables/{study.name}.csv.",
        found,
    )


def temperature_alpha(study: Study, cells: list[Cell]) -> Drawing | None:
    """Of a published table: students by two settings of their objective; the name of a row ends with its teacher, after ` | `."""
    found: list[Cell] = []
    for cell in cells:
        objective = study.plan.steps[cell["step"]].settings.get("objective", {})
        if {"temperature", "alpha"} <= objective.keys():
            more = {name: objective[name] for name in ("temperature", "alpha")}
            found += labelled([cell], series=cell["row"].rpartition(" | ")[2], **more)
    if not found:
        return None
    return Drawing(
        "Temperature and alpha",
        f"Test error of students after the last epoch by temperature and by alpha, the other one fixed. Lines: mean. {INTERVAL}",
        f"Lines of test error by temperature and by alpha for the teachers {names_of(found, 'series')}. The numbers are in "
        f"results/tables/{study.name}.csv.",
        found,
    )


OF_TABLES = {
    "error_by_generation": published_error_by_generation,
    "teacher_size": teacher_size,
    "early_stopped_teachers": early_stopped_teachers,
    "temperature_alpha": temperature_alpha,
}
