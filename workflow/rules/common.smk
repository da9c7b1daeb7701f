import json
import os
from pathlib import Path

from dwp.data import DATASETS
from dwp.fingerprint import fingerprint

ROOT = Path(workflow.basedir)
SCRIPTS = ROOT / "workflow" / "scripts"
RESULTS = f"results/{config['name']}"


# glibc otherwise gives large blocks back to the system at every training step.
shell.prefix(
    "export MALLOC_MMAP_THRESHOLD_=8589934592 MALLOC_TRIM_THRESHOLD_=8589934592"
    " MALLOC_TOP_PAD_=268435456 MALLOC_ARENA_MAX=2 OMP_NUM_THREADS=1; "
)


def code(*entries):
    """The fingerprint of the code a rule runs: its script, and modules it names by a string."""
    return fingerprint(
        *(f"workflow/scripts/{e}" if e.endswith(".py") else e for e in entries),
        root=ROOT,
    )


def as_json(settings):
    return json.dumps(settings, sort_keys=True)


def source_settings(domain):
    """What a source net depends on: all of its settings but how many there are."""
    section = config["domains"][domain]
    settings = {k: v for k, v in section["source_nets"].items() if k != "count"}
    return {"network": section["network"], **settings}


def dataset_module(name):
    return DATASETS[name].split(":")[0]
