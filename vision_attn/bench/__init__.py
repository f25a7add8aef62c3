"""Bench: what training costs on this machine. `gains`: eager and compiled steps; `throughput`: whole updates."""
