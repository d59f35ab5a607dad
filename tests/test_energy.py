"""Energy by the devices' counters, of a made-up machine."""

import math
import sys
from types import SimpleNamespace

import pytest

from gendistill.cost import energy


def write_zone(folder, name, what, joules, most=1000):
    zone = folder / name
    zone.mkdir(parents=True, exist_ok=True)
    (zone / "name").write_text(f"{what}\n")
    (zone / "energy_uj").write_text(f"{int(joules * 1e6)}\n")
    (zone / "max_energy_range_uj").write_text(f"{int(most * 1e6)}\n")


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Two processor packages, and two GPUs of which the second has no counter; a function that sets what they have used."""
    monkeypatch.setattr(energy, "POWERCAP", tmp_path)
    gpu = [0]

    class NVMLError(Exception):
        pass

    def total(index):
        if index == 1:
            raise NVMLError
        return gpu[0]

    fake = SimpleNamespace(
        NVMLError=NVMLError,
        nvmlInit=lambda: None,
        nvmlShutdown=lambda: None,
        nvmlDeviceGetCount=lambda: 2,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetTotalEnergyConsumption=total,
        nvmlDeviceGetUUID=lambda index: f"GPU-{index}",
    )
    monkeypatch.setitem(sys.modules, "pynvml", fake)

    def set_to(first, second, gpu_joules):
        write_zone(tmp_path, "intel-rapl:0", "package-0", first)
        write_zone(tmp_path, "intel-rapl:0:0", "core", 7 * first)
        write_zone(tmp_path, "intel-rapl:1", "package-1", second)
        write_zone(tmp_path, "intel-rapl:2", "psys", 9 * first)
        gpu[0] = round(1000 * gpu_joules)

    return set_to


def test_all_packages_count_and_nothing_twice(machine):
    machine(100, 50, 0)
    before = energy.read_counters()
    machine(130, 55.5, 0)
    assert energy.used_energy(before, energy.read_counters()) == {"processor_joules": 35.5, "gpu_joules": None}


def test_a_counter_that_begins_anew(machine):
    machine(990, 10, 0)
    before = energy.read_counters()
    machine(20, 11, 0)
    assert energy.used_energy(before, energy.read_counters())["processor_joules"] == pytest.approx(30 + 1)


def test_only_gpus_in_use_count(machine, monkeypatch):
    machine(0, 0, 100)
    before = energy.read_counters()
    assert before["GPU-0"] == (100, math.inf)
    assert "GPU-1" not in before
    machine(0, 0, 350)
    after = energy.read_counters()
    monkeypatch.setattr(energy, "_gpus_in_use", lambda processes: ["GPU-0"][:processes])
    assert energy.used_energy(before, after)["gpu_joules"] == 250
    monkeypatch.setattr(energy, "_gpus_in_use", lambda processes: ["GPU-0", "GPU-1"][:processes])
    assert energy.used_energy(before, after, 2)["gpu_joules"] is None


def test_a_machine_without_counters(tmp_path, monkeypatch):
    monkeypatch.setattr(energy, "POWERCAP", tmp_path / "nothing")
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert energy.read_counters() == {}
    assert energy.used_energy({}, {}) == {"processor_joules": None, "gpu_joules": None}
