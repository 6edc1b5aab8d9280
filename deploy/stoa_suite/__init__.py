"""A private Stoa suite on one machine: Postgres, Redis, the services and nginx under one folder.

Starting has two halves. The first (stage.py) runs as whoever called, perhaps root: it makes the run
folder, copies the built programs into it, and then executes the copy of this very package, without
privileges. The second half (start.py) only ever runs that copy. So root starts nothing but itself,
and a rebuild never changes a suite that is running.
"""
