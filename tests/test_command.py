"""How commands end: one line for what a user can cause, for a system that fails, and for signals."""

import errno
import gc
import logging
import os
import signal
import subprocess
import sys
import time
from typing import Annotated

import pytest
import typer

from oasis import __version__
from oasis.cli import run
from oasis.command import SAME, going_on, run_command, run_script, verb
from oasis.errors import DataError


def ended(capsys, error):
    app = typer.Typer()

    @app.command()
    def fails():
        raise error

    code = run_command(app, [])
    return code, capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (DataError("a\nb"), "oasis: a b\n"),
        (OSError(36, "File name too long", "x" * 3), "oasis: xxx: File name too long\n"),
        (OSError("odd"), "oasis: odd\n"),
        (
            FileNotFoundError(2, "No such file or directory", b"caf\xe9"),
            "oasis: caf\\udce9: No such file or directory\n",
        ),
        (
            UnicodeEncodeError("ascii", "läufe/a", 1, 2, "ordinal not in range(128)"),
            "oasis: 'läufe/a': cannot be a path under this locale (ascii): set PYTHONUTF8=1\n",
        ),
        (MemoryError(), "oasis: there is not enough memory"),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
            "not enough memory",
        ),
        (DataError("\x1b[31mred\u200b"), "oasis: \\x1b[31mred\\u200b\n"),
    ],
)
def test_what_is_no_fault_of_the_program_is_one_line(capsys, error, line):
    code, err = ended(capsys, error)
    assert code == 2
    assert line in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("error", [RuntimeError("a fault"), KeyError("a"), AssertionError()])
def test_a_fault_of_the_program_is_a_traceback(capsys, error):
    with pytest.raises(type(error)):
        ended(capsys, error)


def test_a_file_that_ends_early_is_no_interrupt():
    app = typer.Typer()

    @app.command()
    @verb
    def fails():
        raise EOFError

    with pytest.raises(RuntimeError, match="a file ends early"):
        run_command(app, [])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_one_line_and_its_exit_code(capsys, number):
    app = typer.Typer()

    @app.command()
    @verb
    def waits():
        os.kill(os.getpid(), number)
        signal.pause()

    before = signal.getsignal(signal.SIGTERM)
    assert run_command(app, []) == 128 + number
    assert signal.getsignal(signal.SIGTERM) is before
    assert capsys.readouterr().err.strip().startswith("interrupted; all files are intact")


def test_a_command_that_is_ended_says_how_to_go_on(capsys):
    app = typer.Typer()

    @app.command()
    @verb
    def waits():
        with going_on(lambda: "wait on"):
            raise KeyboardInterrupt

    assert run_command(app, []) == 128 + signal.SIGINT
    assert capsys.readouterr().err == "interrupted; all files are intact: wait on\n"


@pytest.mark.parametrize("how", [None, f"what is done is kept: continue with {SAME}"])
def test_an_interrupted_command_is_named_with_what_it_was_given(capsys, how):
    app = typer.Typer()

    @app.command()
    @verb
    def evaluate(run: str, split: str = "test"):
        with going_on(lambda: how or ""):
            raise KeyboardInterrupt

    assert run_command(app, ["runs/my cells", "--split", "val"]) == 128 + signal.SIGINT
    hint = (how or f"begin again with {SAME}").removesuffix(SAME)
    line = f"interrupted; all files are intact: {hint} oasis 'runs/my cells' --split val\n"
    assert capsys.readouterr().err == line


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_before_a_verb_begins_is_one_line(capsys, number):
    app = typer.Typer()

    @app.command()
    def waits(value: Annotated[str, typer.Option(callback=lambda value: os.kill(os.getpid(), number))] = ""):
        pass

    assert run_command(app, []) == 128 + number
    assert capsys.readouterr().err.strip().startswith("interrupted; all files are intact")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_modules_are_imported_is_one_line(tmp_path, number):
    (tmp_path / "typer.py").write_text(f"import os, signal, time\nos.kill(os.getpid(), {number})\ntime.sleep(9)\n")
    path = os.pathsep.join([str(tmp_path), *sys.path])
    found = subprocess.run(
        [sys.executable, "-m", "oasis", "adapters"],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    line = "interrupted; all files are intact: begin again with  oasis adapters\n"
    assert (found.returncode, found.stdout, found.stderr) == (128 + number, "", line)


def test_code_of_the_user_that_ends_the_program_is_said(capsys):
    code, line = ended(capsys, SystemExit(0))
    assert code == 2
    assert "ended the program (exit 0)" in line


def test_a_reader_that_closes_the_pipe_is_no_error(capsys):
    def prints(*_, **__):
        try:
            raise BrokenPipeError(errno.EPIPE, "Broken pipe")
        except OSError:
            sys.exit(1)

    assert run_command(prints, []) == 1
    assert capsys.readouterr().err == ""


def test_output_that_cannot_be_written_is_said(tmp_path):
    with open("/dev/full", "w") as full:
        found = subprocess.run(
            [sys.executable, "-m", "oasis", "adapters"], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert found.returncode == 2
    assert "oasis: No space left on device" in found.stderr


def test_what_torch_notes_at_its_end_is_no_message_of_a_command():
    run_command(lambda arguments, **_: 0, [])
    assert not logging.getLogger("torch._subclasses.fake_tensor").isEnabledFor(logging.INFO)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_whose_exception_python_must_ignore_ends_the_command_all_the_same(capsys, number):
    class Forgotten:
        def __del__(self):
            os.kill(os.getpid(), number)
            time.sleep(0.01)  # the handler runs here, and what it raises is ignored

    app = typer.Typer()

    @app.command()
    @verb
    def forgets():
        Forgotten()
        end = time.monotonic() + 60
        while time.monotonic() < end:
            time.sleep(0.01)

    before = sys.unraisablehook
    assert run_command(app, []) == 128 + number
    assert sys.unraisablehook is before
    assert capsys.readouterr().err.startswith("interrupted; all files are intact")


def test_help_and_version(capsys):
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"oasis-seg {__version__}\n"
    for arguments in (["-h"], ["--help"], ["train", "-h"], ["evaluate", "--help"]):
        assert run(arguments) == 0
        found = capsys.readouterr()
        assert "Usage: " in found.out
        assert not found.err
    assert run([]) == 2
    assert "oasis: " not in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["train", "ablate"])
def test_a_folder_without_a_name_is_refused(capsys, verb):
    assert run([verb, "x.yaml", "--run", ""]) == 2
    assert capsys.readouterr().err == "oasis: --run: expected the path of a folder, found an empty text\n"


@pytest.mark.parametrize(("arguments", "code"), [(["--help"], 0), (["--nope"], 2), (["--out", "x"], 2)])
def test_scripts_end_like_commands(tmp_path, arguments, code):
    script = tmp_path / "script.py"
    script.write_text(
        "import argparse, sys\n"
        "from oasis.command import run_script\n"
        "from oasis.errors import DataError\n"
        "def main():\n"
        "    parser = argparse.ArgumentParser()\n"
        "    parser.add_argument('--out')\n"
        "    raise DataError(f'{parser.parse_args().out}: is not there')\n"
        "sys.exit(run_script(main))\n"
    )
    found = subprocess.run([sys.executable, script, *arguments], capture_output=True, text=True)
    assert found.returncode == code
    last = (found.stderr or found.stdout).splitlines()[-1]
    assert {"--help": "--out OUT", "--nope": "unrecognized arguments", "--out": "oasis: x: is not there"}[
        arguments[0]
    ] in last
    assert "ended the program" not in found.stderr


@pytest.mark.parametrize(("result", "code"), [(None, 0), (0, 0), (1, 1), (True, 1)])
def test_the_result_of_a_script_is_its_exit_code(capsys, result, code):
    assert run_script(lambda: result) == code
    assert not capsys.readouterr().err


def test_a_script_whose_code_ends_the_program_is_said(capsys):
    def main():
        raise SystemExit(0)

    assert run_script(main) == 2
    assert "ended the program (exit 0)" in capsys.readouterr().err


class HalfMade:
    """An object that a signal interrupts while it is made, and that complains when it goes, like torch's."""

    def __init__(self):
        raise KeyboardInterrupt

    def __del__(self):
        raise AttributeError("no attribute '_shutdown'")


def _half_made():
    HalfMade()


def test_an_interrupted_command_says_one_line_only(capsys, monkeypatch):
    monkeypatch.setattr(sys, "unraisablehook", sys.__unraisablehook__)  # which prints
    app = typer.Typer()
    app.command()(verb(_half_made))
    assert run_command(app, []) == 128 + signal.SIGINT
    gc.collect()
    assert capsys.readouterr().err == "interrupted; all files are intact: begin again with the same command\n"
    assert sys.unraisablehook is sys.__unraisablehook__
