"""Laws of `campaign probe`: one table or one JSON answer, errors with their codes, nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch

from campaign import probe_table, probing
from campaign.cli.probe import PROBES
from campaign.errors import ExitCode
from campaign.probing import Ask, Probed
from tests.campaign.cli.conftest import Cli
from trainers.ep.probes import MODULES, plots, run
from trainers.hope.probes import plots as hope_plots
from trainers.probe import PROBES as KINDS
from trainers.probe_pictures import FORMATS

ROW = {
    "model": "average", "fate": "root", "g_end": 1.23456e-16, "is_root": True, "period": None,
    "sequence": 0, "finding": "it settles",
}  # fmt: skip


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What was to be measured; the answer is one row."""
    seen: list[tuple[Any, ...]] = []

    def measure(name: str, path: Path, ask: Ask, at: Any, *, threads: int) -> Probed:
        seen.append((name, path, ask, at))
        return Probed(columns=("model", "fate", "g_end", "is_root", "period"), data=(ROW,))

    monkeypatch.setattr(probing, "measure", measure)
    return seen


def test_a_probe_prints_a_table_with_its_finding(cli: Cli, tmp_path: Path, asked) -> None:
    done = cli("probe", "relax", tmp_path, "--device", "cpu")
    head, row = done.out.splitlines()
    assert head.split() == ["MODEL", "FATE", "G_END", "IS_ROOT", "FINDING"]
    assert row.split()[:4] == ["average", "root", "1.235e-16", "yes"]
    assert row.endswith("it settles")


def test_json_has_every_field_in_the_envelope(cli: Cli, tmp_path: Path, asked) -> None:
    done = cli("probe", "relax", tmp_path, "--device", "cpu", "--json")
    assert json.loads(done.out) == {"schema": 1, "data": [ROW]}


def test_options_are_sent_as_numbers_and_only_those_that_were_given(
    cli: Cli, tmp_path: Path, asked
) -> None:
    cli("probe", "gradient", tmp_path, "--device", "cpu", "--t2", "10,40", "--hr", ".02,.2")
    ((_, path, ask, _),) = asked
    assert path == tmp_path
    assert ask.options == {"t2": [10, 40], "hr": [0.02, 0.2]}


@pytest.mark.parametrize("words", [["--t2", "ten"], ["--t2", "1.5"], ["--hr", "x"], ["--hr", ""]])
def test_a_list_that_is_none_is_a_usage_error(cli: Cli, tmp_path: Path, asked, words) -> None:
    done = cli("probe", "gradient", tmp_path, *words)
    assert done.code == ExitCode.USAGE
    assert not asked


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["spectrom"], ExitCode.USAGE, "did you mean `spectrum`?"),
        (["relax", "--t2", "3"], ExitCode.USAGE, "has no option t2; it is one of gradient"),
        (["relax", "--of", "mean"], ExitCode.USAGE, "parameters, average, both"),
        (["spectrum", "--method", "qr"], ExitCode.USAGE, "blocks, rightmost, arnoldi"),
        (["relax", "--sequences", "0"], ExitCode.USAGE, "--sequences"),
        (["jump", "--of", "average"], ExitCode.USAGE, "has no average"),
        (["memory", "--steps", "3"], ExitCode.USAGE, "memory has: none of its own"),
        (["relax", "--plot", "a.gif"], ExitCode.USAGE, ".png, .svg, .pdf"),
        (["relax", "--plot", "nowhere/a.png"], ExitCode.WRONG_STATE, "is no directory"),
        (["relax", "--plot", "there.png"], ExitCode.WRONG_STATE, "--force replaces it"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_wrong_with_the_command_is_said_before_torch_is_loaded(
    words: list[str], code: ExitCode, says: str, cli: Cli, tmp_path: Path, monkeypatch
) -> None:
    (tmp_path / "there.png").touch()
    started: list[object] = []
    monkeypatch.setattr("campaign.children.run", lambda *a, **_: started.append(a))
    done = cli("probe", words[0], tmp_path, *words[1:], "--device", "cpu")
    assert (done.code, says in done.err) == (code, True)
    assert not started


def test_the_table_of_probes_is_that_of_the_trainers() -> None:
    modules = {name: module for kind in KINDS.values() for name, module in kind.items()}
    options = {n: import_module(module).Options for n, module in modules.items()}
    known = {name: tuple(f.name for f in fields(kind)) for name, kind in options.items()}
    assert known == probe_table.OPTIONS == {name: known[name] for name in PROBES}
    assert {*plots.PICTURES, *hope_plots.PICTURES} == set(probe_table.OPTIONS)
    assert tuple(KINDS["hope"]) == probe_table.HOPE
    assert set(FORMATS) == set(probe_table.FORMATS)
    assert set(run.NAMES) == set(probe_table.MODELS)
    assert tuple(import_module(MODULES["spectrum"]).Method) == probe_table.METHODS


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("which", ["c/a@10", "a@certified"])
def test_a_checkpoint_of_a_run_is_found_in_the_store(cli: Cli, asked, which) -> None:
    """The world's checkpoints are rows without files: so it says where they would be."""
    done = cli("probe", "relax", which, "--device", "cpu")
    assert done.code == ExitCode.NOT_FOUND
    assert "/ckpt/a/10 is not on this machine" in done.err


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    ("given", "code", "says"),
    [
        ("nowhere/step-3", ExitCode.NOT_FOUND, "nowhere/step-3 is no directory"),
        ("c/a@77", ExitCode.NOT_FOUND, "no checkpoint 77"),
        ("c/a@soon", ExitCode.USAGE, "a step, certified or latest"),
    ],
)
def test_a_checkpoint_that_is_not_there_is_said_to_be_none(
    cli: Cli, asked, given, code, says
) -> None:
    done = cli("probe", "relax", given, "--device", "cpu")
    assert done.code == code
    assert says in done.err
    assert not asked


def test_ctrl_c_writes_nothing_and_has_its_exit_code(cli: Cli, tmp_path: Path, monkeypatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(probing, "measure", interrupted)
    done = cli("probe", "relax", tmp_path, "--device", "cpu")
    assert done.code == ExitCode.INTERRUPTED
    assert done.out == ""


# ---------------------------------------------------------------- with a real child


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of a small model that has taken one step."""
    from specs.trainer_ep import EpTrainer
    from trainers import checkpoint
    from trainers.data import load
    from trainers.ep.trainer import build

    directory = tmp_path_factory.mktemp("probed")
    settings = EpTrainer.model_validate(
        {
            "kind": "ep", "width": 8, "heads": 2, "context": 5, "batch": 2, "ffn_factor": 2,
            "device": "cpu", "relaxation": {"T1": 20, "t1max": 20},
        }
    )  # fmt: skip
    data = load.load(settings.data, settings.seed, directory / "cache")
    trainer = build(settings, data, threads=1)
    trainer.advance()
    return checkpoint.save(
        directory / "checkpoints",
        step=1,
        snapshot=trainer.snapshot(),
        evidence=trainer.evidence(),
        facts={"kind": "ep"},
    ).path


def test_a_real_probe_answers_through_the_command_line(cli: Cli, kept: Path) -> None:
    done = cli("probe", "relax", kept, "--device", "cpu", "--threads", "1", "--steps", "40", "--json")  # fmt: skip
    rows = json.loads(done.out)["data"]
    assert done.code == 0
    assert [row["model"] for row in rows] == ["parameters", "average"]
    assert {row["steps"] for row in rows} == {40}


@pytest.fixture(scope="module")
def of_hope(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of the documents' start of HOPE, in small: conditioning tokens of zeros."""
    from specs.trainer_hope import HopeTrainer
    from trainers import checkpoint
    from trainers.data import clips
    from trainers.hope.trainer import build

    directory = tmp_path_factory.mktemp("probed_hope")
    settings = HopeTrainer.model_validate(
        {
            "kind": "hope", "batch": 2, "steps": 1, "validation": {"clips": 2},
            "model": {"pattern": "HHHHHH", "width": 24},
            "data": {"clips": 8, "grid": (2, 2), "feature_width": 12},
        }
    )  # fmt: skip
    source = clips.load(settings.data, settings.seed, directory / "cache", tasks=("base",))
    trainer = build(settings, source, device=torch.device("cpu"))
    return checkpoint.save(
        directory / "checkpoints",
        step=0,
        snapshot=trainer.snapshot(),
        evidence=trainer.evidence(),
        facts={"kind": "hope"},
    ).path


def test_the_lost_numbers_of_hope_are_traced_through_the_command_line(
    cli: Cli, of_hope: Path, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    words = ["--device", "cpu", "--threads", "1", "--json"]
    *blocks, whole = json.loads(cli("probe", "nan", of_hope, *words).out)["data"]
    assert (len(blocks), whole["bad"]) == (6, 0)
    drawn = tmp_path / "nan.png"
    done = cli("probe", "nan", of_hope, "--interval", "2", "--plot", drawn, *words)
    whole = json.loads(done.out)["data"][-1]
    assert whole["bad"] > 0
    assert "tokens are exactly zero" in whole["finding"]
    assert drawn.read_bytes().startswith(b"\x89PNG")


def test_a_probe_of_the_other_trainer_is_refused_with_those_there_are(
    cli: Cli, kept: Path, of_hope: Path
) -> None:
    for name, path, there in (("relax", of_hope, "nan, memory, jump"), ("jump", kept, "spectrum")):
        done = cli("probe", name, path, "--device", "cpu", "--threads", "1")
        assert done.code == ExitCode.WRONG_STATE
        assert there in done.err


def test_a_user_s_own_trainers_package_cannot_stand_in_for_ours(
    cli: Cli, kept: Path, tmp_path: Path
) -> None:
    decoy = tmp_path / "trainers"
    decoy.mkdir()
    (decoy / "__init__.py").write_text("raise SystemExit('the decoy was imported')")
    done = cli("probe", "relax", kept, "--device", "cpu", "--threads", "1", "--steps", "8", "--json")  # fmt: skip
    assert done.code == 0


def test_a_broken_checkpoint_keeps_its_words_through_the_child(
    cli: Cli, kept: Path, tmp_path: Path
) -> None:
    done = cli("probe", "spectrum", tmp_path, "--device", "cpu", "--threads", "1")
    assert done.code == ExitCode.WRONG_STATE
    assert "has no manifest.json: it was never completed" in done.err
    assert done.out == ""


@pytest.mark.heavy
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_the_child_ends_with_the_command_line(kept: Path, how: signal.Signals) -> None:
    """Ctrl-C by the ladder, SIGKILL because the child's stdin ends."""
    argv = [sys.executable, "-c", "from campaign.cli.main import main; main()", "probe", "relax"]
    more = [str(kept), "--device", "cpu", "--threads", "1", "--steps", str(10**6)]
    with subprocess.Popen(
        [*argv, *more], stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3]
    ) as line:
        assert line.stderr is not None
        for said in line.stderr:
            if "steps of eps" in said:
                break
        (child,) = children(line.pid)
        watch = os.pidfd_open(child)
        line.send_signal(how)
        code = line.wait(30)
        assert code == (ExitCode.INTERRUPTED if how is signal.SIGINT else -signal.SIGKILL)
        assert ended(watch, within=30)


def children(pid: int) -> list[int]:
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def ended(pidfd: int, *, within: float) -> bool:
    import select

    readable, _, _ = select.select([pidfd], [], [], within)
    return bool(readable)
