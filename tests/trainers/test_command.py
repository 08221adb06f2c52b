from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from specs.files import (
    AttemptFiles,
    complete_lines,
    make_manifest,
    parse_metric_line,
    verify_manifest,
    write_json,
)

PATIENT = 30.0


class Command:
    """A command run by the wrapper, as the shim would: log.txt is its output, opened to append."""

    def __init__(self, root: Path, cwd: Path, argv: list[str], options: Mapping[str, Any]) -> None:
        self.files = AttemptFiles(root=root)
        root.mkdir()
        trainer = {
            "kind": "command",
            "argv": argv,
            "cwd": options.get("cwd"),
            "env": options.get("env", {}),
            "metrics": {"declared": [], "pattern": options.get("pattern")},
        }
        start = options.get("start", {"kind": "scratch", "checkpoint": None})
        content = {
            "schema": 1,
            "campaign": "c",
            "run": "r",
            "attempt": 1,
            "spec": {"trainer": trainer},
        }
        write_json(self.files.spec, {**content, "spec_hash": "h", "start": start})
        log = os.open(self.files.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(log, b"loss 99 is of the shim\n")
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "trainers.command", str(root)],
            cwd=cwd,
            env={**os.environ, **options.get("inherited", {})},
            stdout=log,
            stderr=log,
            pass_fds=options.get("pass_fds", ()),
        )
        os.close(log)

    def wait(self) -> int:
        return self.process.wait(PATIENT)

    def log(self) -> str:
        return self.files.log.read_text()

    def until(self, true: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENT
        while not true():
            assert time.monotonic() < deadline, self.log()
            assert self.process.poll() is None, self.log()
            time.sleep(0.005)

    def points(self, *, system: bool = False) -> list[tuple[int, dict[str, float]]]:
        if not self.files.metrics.exists():
            return []
        lines = [
            parse_metric_line(line) for line in complete_lines(self.files.metrics.read_bytes())
        ]
        assert all(line is not None for line in lines), self.files.metrics.read_bytes()
        found = [(line.step, dict(line.metrics)) for line in lines if line is not None]
        return [p for p in found if system == any(name.startswith("system/") for name in p[1])]

    def events(self, kind: str) -> list[dict[str, Any]]:
        found = [json.loads(line) for line in self.files.events.read_text().splitlines()]
        return [event for event in found if event["event"] == kind]


@pytest.fixture
def decoys(tmp_path: Path) -> Path:
    """A working directory where everything that we import has a namesake that must not be taken."""
    root = tmp_path / "work"
    for name in ("specs", "trainers", "watchers", "campaign", "tests"):
        (root / name).mkdir(parents=True)
        for file in ("__init__.py", "files.py", "command.py"):
            (root / name / file).write_text(
                f"raise SystemExit('the decoy {name}/{file} was taken')"
            )
    for name in ("json", "re", "signal", "subprocess", "psutil", "threading", "queue", "typing"):
        (root / f"{name}.py").write_text(f"raise SystemExit('the decoy {name}.py was taken')")
    return root


@pytest.fixture
def run(tmp_path: Path, decoys: Path) -> Iterator[Callable[..., Command]]:
    """Runs a program, given as argv or as a Python script, from among the decoys."""
    started: list[Command] = []

    def start(program: str | list[str], **options: Any) -> Command:
        argv = [sys.executable, "-I", "-c", program] if isinstance(program, str) else program
        root = tmp_path / f"attempt-{len(started) + 1}"
        started.append(Command(root, options.pop("workdir", decoys), argv, options))
        return started[-1]

    yield start
    for command in started:
        if command.process.poll() is None:
            command.process.kill()
            command.process.wait(PATIENT)


# ---------------------------------------------------------------- metrics


ONLY_PRINTS = """
for step in range(1, 201):
    print(f"step {step}: loss {1 / step}, acc {step / 200}")
print("done; loss 0 comes without its end", end="")
"""

APPENDS = """
import os
with open(os.environ["CAMPAIGN_METRICS"], "a") as file:
    for step in range(1, 201):
        print('{"t": 1.5, "step": %d, "m": {"loss": %r}}' % (step, 1 / step), file=file, flush=True)
"""


def test_a_script_that_only_prints_is_read_by_its_pattern_each_line_once(run: Any) -> None:
    pattern = r"(step (?P<step>\d+): )?loss (?P<train__loss>\S+?),?( acc (?P<acc>\S+)|$| comes)"
    command = run(ONLY_PRINTS, pattern=pattern)
    assert command.wait() == 0
    expected = [(n, {"train/loss": 1 / n, "acc": n / 200}) for n in range(1, 201)]
    assert command.points() == [*expected, (200, {"train/loss": 0.0})]
    assert command.log().count("step 7:") == 1
    assert command.events("finished")


def test_a_script_that_appends_metric_lines_needs_nothing_else(run: Any) -> None:
    command = run(APPENDS)
    assert command.wait() == 0
    assert command.points() == [(n, {"loss": 1 / n}) for n in range(1, 201)]


def test_a_script_may_do_both(run: Any) -> None:
    command = run(APPENDS + "print('val 3')", pattern=r"val (?P<val>\S+)")
    assert command.wait() == 0
    points = command.points()
    assert [p for p in points if "loss" in p[1]] == [(n, {"loss": 1 / n}) for n in range(1, 201)]
    assert [p for p in points if "val" in p[1]] == [(1, {"val": 3.0})]


def test_a_script_that_writes_nonsense_into_its_metrics_breaks_nothing_else(run: Any) -> None:
    nonsense = """
import os
with open(os.environ["CAMPAIGN_METRICS"], "w") as file:
    file.write('hello\\n\\x00\\x00{"t": 1, "step"')
print("loss 5")
"""
    command = run(nonsense, pattern=r"loss (?P<loss>\S+)")
    assert command.wait() == 0
    lines = list(complete_lines(command.files.metrics.read_bytes()))
    read = [line for line in map(parse_metric_line, lines) if line is not None]
    assert [(line.step, line.metrics) for line in read] == [(1, {"loss": 5.0})]


def test_the_machine_is_measured_beside_the_program_under_its_step(run: Any) -> None:
    waits = """
import os, time
path = os.environ["CAMPAIGN_METRICS"]
with open(path, "a") as file:
    file.write('{"t": 1.5, "step": 42, "m": {"loss": 1.0}}\\n')
while "system/rss_mib" not in open(path).read():
    time.sleep(0.01)
"""
    command = run(waits)
    assert command.wait() == 0
    step, found = command.points(system=True)[0]
    assert step == 42
    assert found["system/rss_mib"] > 0


# ---------------------------------------------------------------- how it ends


@pytest.mark.parametrize("code", [0, 1, 7, 255])
def test_the_programs_exit_code_is_the_wrappers(run: Any, code: int) -> None:
    command = run(["sh", "-c", f"exit {code}"])
    assert command.wait() == code
    assert [e["exit_code"] for e in command.events("exited")] == ([code] if code else [])


@pytest.mark.parametrize("name", ["SIGTERM", "SIGKILL", "SIGSEGV", "SIGUSR2"])
def test_the_programs_signal_is_the_wrappers(run: Any, name: str) -> None:
    command = run(["sh", "-c", f"kill -{name[3:]} $$"])
    assert command.wait() == -signal.Signals[name]
    (exited,) = command.events("exited")
    assert exited["signal"] == signal.Signals[name]


@pytest.mark.parametrize(
    ("argv", "options", "said"),
    [
        (["no-such-program"], {}, "no-such-program is not in PATH"),
        (["./no-such-program"], {}, "./no-such-program is not there"),
        (["train.sh"], {}, "write ./train.sh"),
        (["./train.sh"], {}, "may not be executed"),
        (["./garbage"], {}, "Exec format error"),
        (["./lost"], {}, "the interpreter in its first line"),
        (["true"], {"cwd": "/no/such/place"}, "the working directory /no/such/place is not there"),
    ],
)
def test_a_program_that_cannot_be_started_says_why(
    run: Any, decoys: Path, argv: list[str], options: Any, said: str
) -> None:
    (decoys / "train.sh").write_text("#!/bin/sh\n")
    for name, content in (("garbage", "\x7fELFno"), ("lost", "#!/no/such/interpreter\n")):
        (decoys / name).write_text(content)
        (decoys / name).chmod(0o755)
    command = run(argv, **options)
    assert command.wait() == 127
    (failed,) = command.events("failed")
    assert failed["class"] == "could_not_start"
    assert said in failed["message"]
    assert said in command.log()
    assert "Traceback" not in command.log()


def test_a_spec_that_cannot_be_read_says_so(run: Any, tmp_path: Path) -> None:
    root = tmp_path / "empty"
    root.mkdir()
    found = subprocess.run(
        [sys.executable, "-P", "-m", "trainers.command", str(root)], capture_output=True, text=True
    )
    assert found.returncode == 127
    assert "spec.json is missing" in found.stderr


# ---------------------------------------------------------------- signals


HANDLES = """
import signal, sys
def heard(number, frame):
    print("heard", signal.Signals(number).name, flush=True)
    if number != signal.SIGUSR1:
        sys.exit(9)
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
    signal.signal(number, heard)
print("ready", flush=True)
while True:
    signal.pause()
"""


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_to_the_wrapper_reaches_the_program(run: Any, name: str) -> None:
    command = run(HANDLES)
    command.until(lambda: "ready" in command.log())
    command.process.send_signal(signal.Signals[name])
    assert command.wait() == 9
    assert command.log().count(f"heard {name}") == 1


def test_a_request_for_a_checkpoint_reaches_a_program_that_handles_it(run: Any) -> None:
    command = run(HANDLES)
    command.until(lambda: "ready" in command.log())
    command.process.send_signal(signal.SIGUSR1)
    command.until(lambda: "heard SIGUSR1" in command.log())
    command.process.terminate()
    assert command.wait() == 9


def test_a_request_for_a_checkpoint_kills_no_program_that_knows_nothing_of_it(
    run: Any, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "gate")
    command = run(["sh", "-c", 'echo ready; read line < "$GATE"; exit 4'], env={"GATE": str(tmp_path / "gate")})  # fmt: skip
    command.until(lambda: "ready" in command.log())
    command.process.send_signal(signal.SIGUSR1)
    command.until(lambda: "does not handle SIGUSR1" in command.log())
    (tmp_path / "gate").write_text("go\n")
    assert command.wait() == 4


# ---------------------------------------------------------------- what the program finds


def test_the_program_finds_where_its_files_go(run: Any, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    command = run(
        ["sh", "-c", 'pwd; echo "$CAMPAIGN_METRICS|$CAMPAIGN_CHECKPOINT_DIR|$X|$PYTHONUNBUFFERED"; '
         'echo "from ${CAMPAIGN_RESUME_FROM-nothing}"; cat'],
        cwd=str(tmp_path / "sub"),
        env={"X": "a b"},
        inherited={"CAMPAIGN_RESUME_FROM": "/stale"},
    )  # fmt: skip
    assert command.wait() == 0
    _, pwd, paths, start = command.log().splitlines()
    assert pwd == str(tmp_path / "sub")
    assert paths == f"{command.files.metrics}|{command.files.checkpoints}|a b|1"
    assert start == "from nothing"
    assert command.files.checkpoints.is_dir()


def test_the_users_own_buffering_stays(run: Any) -> None:
    command = run(["sh", "-c", "echo =$PYTHONUNBUFFERED="], env={"PYTHONUNBUFFERED": ""})
    assert command.wait() == 0
    assert "==\n" in command.log()


def test_the_program_inherits_the_locks_of_the_shim(run: Any, tmp_path: Path) -> None:
    fd = os.open(tmp_path / "lock", os.O_CREAT | os.O_RDWR)
    command = run(["sh", "-c", f"readlink /proc/self/fd/{fd}"], pass_fds=(fd,))
    os.close(fd)
    assert command.wait() == 0
    assert str(tmp_path / "lock") in command.log()


# ---------------------------------------------------------------- checkpoints


SAVES = """
import os
root = os.environ["CAMPAIGN_CHECKPOINT_DIR"]
for step in (10, 20):
    os.mkdir(f"{root}/writing")
    with open(f"{root}/writing/model.bin", "w") as file:
        file.write("weights of %d" % step)
    os.rename(f"{root}/writing", f"{root}/step-{step}")
"""


def test_what_the_program_renames_into_place_becomes_a_checkpoint(run: Any) -> None:
    command = run(SAVES)
    assert command.wait() == 0
    assert command.files.complete_checkpoints() == [10, 20]
    assert [e["step"] for e in command.events("checkpoint")] == [10, 20]
    manifest = verify_manifest(command.files.checkpoint(20))
    assert manifest["kind"] == "command"
    assert set(manifest["files"]) == {"model.bin"}


def checkpoint(tmp_path: Path) -> Path:
    directory = tmp_path / "step-30"
    directory.mkdir()
    (directory / "model.bin").write_text("weights of 30")
    write_json(directory / "manifest.json", make_manifest(directory, step=30, extra={}))
    return directory


def test_a_resumed_program_is_told_from_where(run: Any, tmp_path: Path) -> None:
    path = checkpoint(tmp_path)
    command = run(
        ["sh", "-c", 'cat "$CAMPAIGN_RESUME_FROM/model.bin"'],
        start={"kind": "resume", "checkpoint": str(path)},
    )
    assert command.wait() == 0
    assert "weights of 30" in command.log()


@pytest.mark.parametrize("damage", ["flip", "missing", "another"])
def test_a_program_is_not_started_from_a_bad_checkpoint(
    run: Any, tmp_path: Path, damage: str
) -> None:
    path = checkpoint(tmp_path)
    start = {"kind": "resume", "checkpoint": str(path), "manifest_sha256": None}
    if damage == "flip":
        (path / "model.bin").write_text("weights of 31")
    elif damage == "missing":
        (path / "manifest.json").unlink()
    else:
        start["manifest_sha256"] = "0" * 64
    command = run(["sh", "-c", "echo started"], start=start)
    assert command.wait() == 13
    (failed,) = command.events("failed")
    assert failed["class"] == "bad_checkpoint"
    assert "started\n" not in command.log()


# ---------------------------------------------------------------- how it is built


def test_the_wrapper_loads_nothing_that_starts_slowly() -> None:
    slow = ("torch", "numpy", "pydantic", "psutil", "pynvml", "ray", "mlflow", "asyncio")
    code = f"import sys, trainers.command; print([m for m in {slow!r} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True)
    assert found.stdout.strip() == "[]", found.stderr
