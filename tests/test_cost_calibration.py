"""The calibration of a device: its fit, its file, and which one is used."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from gendistill.cost import calibration, measure
from gendistill.cost.calibration import GENERIC_OF, find_calibration, fit_coefficients, read_calibration, save_calibration, slug_of
from gendistill.cost.predict import expected_seconds
from gendistill.cost.work import Work
from gendistill.errors import SettingError, UserError


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(calibration, "FOLDER", tmp_path / "device")
    return tmp_path / "device"


def test_a_fit_finds_the_coefficients_that_made_the_times():
    true = np.array([2e-6, 5e-12, 3e-10])
    generator = np.random.default_rng(0)
    counts = generator.uniform(0.1, 1, (9, 3)) * [1e3, 1e11, 1e9]
    np.testing.assert_allclose(fit_coefficients(counts, counts @ true), true, rtol=1e-6)
    # Each time off by up to 5 %.
    found = fit_coefficients(counts, counts @ true * generator.uniform(0.95, 1.05, 9))
    assert np.abs(counts @ found / (counts @ true) - 1).max() < 0.06


def test_a_fit_is_of_relative_errors_and_never_negative():
    # A step a thousand times as long, ten times off, must not decide.
    counts = [[1, 0, 0], [2, 0, 0], [3, 0, 0], [1000, 0, 0]]
    assert 1 < fit_coefficients(counts, [1, 2, 3, 10000])[0] < 2
    # The more operations the less time: the best coefficient would be negative.
    assert fit_coefficients([[1, 1, 0], [1, 2, 0], [1, 3, 0]], [3, 2, 1])[1] == 0


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A calibration of this machine, of two small networks for a moment."""
    lines: list[str] = []
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measure, "SECONDS", 0)
        patch.setattr(measure, "TIMES", 1)
        patch.setitem(measure.POINTS, "cpu", [("resnet8", 2), ("resnet14", 3)])
        path = measure.calibrate("cpu", 1, lines.append, tmp_path_factory.mktemp("device"))
    torch.set_num_threads(threads)
    return path, lines


def test_a_calibration_shows_how_well_it_fits(measured):
    path, lines = measured
    found = read_calibration(path)
    assert (found.type, found.threads, found.torch) == ("cpu", 1, torch.__version__)
    assert path.stem == found.slug == slug_of(found.device)
    kinds = {(p["network"], p["batch"], p["precision"], p["kind"]) for p in found.points}
    assert {("resnet8", 2, "auto", "training"), ("resnet14", 3, "auto", "forward")} <= kinds
    for point in found.points:
        coefficients = found.coefficients[point["precision"]][point["kind"]]
        assert point["fitted_seconds"] == pytest.approx(float(np.dot(coefficients, point["counts"])))
        assert point["seconds"] > 0
    worst = max(abs(p["fitted_seconds"] / p["seconds"] - 1) for p in found.points)
    assert f"met within {100 * worst:.0f} %" in lines[-1]
    assert sum(line.startswith("training resnet8") for line in lines) == len({p["precision"] for p in found.points})
    # An interpreter with torch takes this much at least.
    assert found.base_memory_mb > 100
    assert found.start_seconds > 0.3
    assert found.gpu_context_mb == 0


def test_the_precision_of_a_point_is_that_which_training_chooses(measured):
    found = read_calibration(measured[0])
    expected = "bfloat16" if torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported() else "float32"
    assert found.number_formats == {"auto": expected, "float32": "float32"}


def test_which_calibration_is_used(folder):
    assert find_calibration() is GENERIC_OF["cuda"]
    assert "a cautious guess" in find_calibration().told
    one = calibration_of("some-gpu")
    assert save_calibration(one) == folder / "some-gpu.json"
    assert find_calibration() == one
    assert "some-gpu, measured 2026-11-21 on Some GPU" in find_calibration().told
    assert find_calibration(type="cpu") is GENERIC_OF["cpu"]
    save_calibration(calibration_of("other-gpu"))
    # Which of the two is meant, nobody said.
    assert find_calibration() is GENERIC_OF["cuda"]
    assert find_calibration("other-gpu").slug == "other-gpu"
    assert find_calibration("generic-cpu") is GENERIC_OF["cpu"]
    with pytest.raises(SettingError, match=r"device = a100: .*Allowed: other-gpu, some-gpu, generic-gpu, generic-cpu"):
        find_calibration("a100")


def calibration_of(slug):
    each = {"training": [1e-6, 1e-13, 1e-12], "forward": [1e-6, 1e-13, 1e-12]}
    points = [{"seconds": 1.0, "fitted_seconds": 1.1}]
    generic = {name: getattr(GENERIC_OF["cuda"], name) for name in GENERIC_OF["cuda"].__dataclass_fields__}
    own = {"slug": slug, "device": "Some GPU", "coefficients": {"auto": each, "float32": each}, "points": points}
    return calibration.Calibration(**generic | own | {"date": "2026-11-21"})


@pytest.mark.parametrize(
    "change",
    [
        {"type": "tpu"},
        {"unknown": 1},
        {"coefficients": {"auto": {"training": [1, 1, 1], "forward": [1, 1, 1]}}},
        {"coefficients": {name: {"training": [1, 1, -1], "forward": [1, 1, 1]} for name in ("auto", "float32")}},
        {"coefficients": {name: {"training": [1, 1], "forward": [1, 1, 1]} for name in ("auto", "float32")}},
    ],
)
def test_a_damaged_calibration_is_told_in_one_message(change, folder):
    path = save_calibration(calibration_of("some-gpu"))
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UserError, match=r"some-gpu.json is damaged .*gendistill calibrate"):
        find_calibration("some-gpu")
    path.write_text("{")
    with pytest.raises(UserError, match="is damaged"):
        find_calibration()


def test_the_guess_for_any_device_is_slower_than_what_is_measured_here(measured):
    """It is said to be cautious. Of a CPU; the machines that test this have no GPU."""
    found = read_calibration(measured[0])
    for point in found.points:
        guess = GENERIC_OF["cpu"].coefficients["float32"][point["kind"]]
        assert float(np.dot(guess, point["counts"])) > 0.5 * point["seconds"]


def test_the_start_of_a_process_counts_even_where_nothing_is_to_do():
    assert expected_seconds(Work("tables"), calibration_of("some-gpu")) == 60


USED = "import json; from gendistill.cost.used import used; {}; print(json.dumps(used()))"


def test_used_memory_is_the_most_that_the_process_itself_held():
    # What the process holds that starts it must not count.
    ours = np.ones(2**25)
    light, heavy = (json.loads(run(USED.format(code))) for code in ("held = 1", "held = bytearray(b'x') * 2**28; del held"))
    assert light["memory_mb"] < 150 < ours.nbytes / 2**20
    assert 250 < heavy["memory_mb"] - light["memory_mb"] < 300
    assert (light["gpu_memory_mb"], light["gpu_reserved_mb"]) == (None, None)


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_slugs():
    assert slug_of("NVIDIA A100-SXM4-40GB") == "nvidia-a100-sxm4-40gb"
    assert slug_of("  ") == "device"
