"""The file engine: one door to the disk, a writer with group commit, atomic rewrites, quarantine."""
