"""HOPE: self-modifying memories and a continuum memory system, beside attention baselines. docs/hope.md."""
