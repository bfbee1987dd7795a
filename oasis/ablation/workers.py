"""Workers: processes that do the trials of an ablation, on this machine or others that share its folder."""

import logging
import multiprocessing
import pickle
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from oasis import progress
from oasis.ablation.ablation import ABLATION, in_words
from oasis.ablation.jobs import Jobs, write_rows
from oasis.ablation.trial import Trial
from oasis.errors import OasisError
from oasis.io.files import one_line
from oasis.io.texts import write_text
from oasis.io.yaml_text import yaml_text
from oasis.processes import call_in_worker, children_end_too, sheltered

POLL_SECONDS = 2.0

logger = logging.getLogger(__name__)


def do_all(jobs: Jobs, workers: int) -> None:
    """Do all trials in this process, or in several that share its threads."""
    write_text(jobs.ablation.folder / ABLATION, yaml_text(jobs.ablation.options.model_dump(mode="json")))
    if workers == 1:
        work(jobs)
        return
    spawn = multiprocessing.get_context("spawn")
    level = logger.getEffectiveLevel()
    processes = [
        spawn.Process(target=call_in_worker, args=(pickle.dumps((_worker, (jobs, number, workers, level))),))
        for number in range(1, workers + 1)
    ]
    with children_end_too():
        with sheltered():
            for process in processes:
                process.start()
        for number, process in enumerate(processes, start=1):
            process.join()
            if process.exitcode:
                logger.warning("worker %d ended with code %d", number, process.exitcode)


def _worker(jobs: Jobs, number: int, workers: int, level: int) -> None:
    logging.basicConfig(level=level, format=f"worker {number}: %(message)s", force=True)
    torch.set_num_threads(max(1, torch.get_num_threads() // workers))
    sys.stderr.isatty = lambda: False  # type: ignore[method-assign]  # bars of several trainings overwrite each other
    try:
        work(jobs, workers)
    except KeyboardInterrupt:
        sys.exit(130)
    except (OasisError, OSError) as error:
        logger.error("%s", one_line(error))
        sys.exit(2)


def work(jobs: Jobs, workers: int = 1) -> None:
    """Do trials until all are done, including those of workers that died.

    Args:
        jobs: the trials.
        workers: number of processes on this machine, for the estimate of the time left.
    """
    trials, failed = jobs.trials(), set[Path]()
    while True:
        pending = [trial for trial in trials if trial.folder not in failed and trial.metrics(jobs.split) is None]
        if _one_of(jobs, trials, pending, failed, workers):
            continue
        if jobs.extend(len(trials)):
            trials = jobs.trials()
        elif not pending:
            return
        else:
            time.sleep(POLL_SECONDS)


def _one_of(
    jobs: Jobs, trials: Sequence[Trial], pending: Sequence[Trial], failed: set[Path], workers: int
) -> bool:
    """Do one of the pending trials, and return False if other processes are working on all of them."""
    for trial in pending:
        try:
            ours = trial.attempt(jobs.split)
        except Exception as error:  # a point that fails must not stop the others
            logger.warning("%s failed: %s", trial.folder, error, exc_info=not isinstance(error, OasisError))
            failed.add(trial.folder)
            return True
        if ours:
            tell(jobs, trials, trial, workers)
            return True
    return False


def tell(jobs: Jobs, trials: Sequence[Trial], trial: Trial, workers: int) -> None:
    """Log that a trial is done, and how long the others will take."""
    rows = write_rows(jobs, trials)
    left = (jobs.count - len(rows)) * rows["seconds"].mean() / workers
    what = f"{in_words(trial.point) or 'base'}, seed {trial.run.config.seed} ({trial.folder.name})"
    by = f"{workers} worker{'s' if workers > 1 else ''}"
    progress.tell(f"{what}: done; {len(rows)} of {jobs.count}, about {progress.duration(left)} left with {by}")
