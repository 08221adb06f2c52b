"""Judges the files of an attempt from the start, writing nothing: for people who ask why."""

from __future__ import annotations

from pathlib import Path

from specs.files import AttemptFiles
from watchers.evidence import CheckpointReader
from watchers.journal import Journal
from watchers.judgement import Judgement, begin, standings, take_checkpoints, take_line
from watchers.settings import read_settings
from watchers.tail import Tail


def review(directory: Path) -> Judgement:
    """What is thought of the attempt now; its ``explain(step)`` speaks of a checkpoint.

    Raises OSError and ValueError where the files cannot be read.
    """
    files = AttemptFiles(root=directory)
    settings = read_settings(files.spec)
    judgement = begin(
        settings.rules, settings.certify, recorded=standings(Journal(files.watch).lines)
    )
    judgement, _ = take_checkpoints(judgement, CheckpointReader(files).new(now=True))
    tail, more = Tail(files.metrics), True
    while more:
        batch = tail.read()
        for line in batch.lines:
            judgement, _ = take_line(judgement, line)
        more = batch.more
    return judgement
