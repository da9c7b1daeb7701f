# Names that all rules share: the study, its files and wildcards, how programs are started, and how
# files are shown in the HTML report.
import json
import os
import re
import shlex
import sys
from pathlib import Path

from dwp.errors import UserError
from dwp.study.recovery import check_writable, clear_after_a_kill, note_locks
from dwp.study.settings import XAVIER, as_json
from dwp.study.study import JOB_ENVIRONMENT, Study

ROOT = Path(str(workflow.current_basedir)).parents[1]
try:
    study = Study(config, *workflow.configfiles, root=ROOT)
except UserError as error:
    sys.exit(f"error in the config: {error}")
settings = study.settings

RESULTS = study.results
LOGS = study.logs
SOURCE = f"{RESULTS}/{{domain}}/data/source.safetensors"
TARGET = f"{RESULTS}/{{domain}}/data/target.safetensors"
CHECKED = f"{RESULTS}/{{domain}}/data/checked.json"
SOURCE_NETS = f"{RESULTS}/{{domain}}/source"
KERNELS = f"{RESULTS}/{{domain}}/kernels/{{layer}}"
PRIOR = f"{RESULTS}/{{domain}}/priors/{{prior}}/{{layer}}"
CELL = f"{RESULTS}/{{domain}}/classification/{{prior}}/{{init}}/{{variant}}/n{{n}}"
FEATURES = f"{RESULTS}/{{domain}}/features/{{init}}/scale{{scale}}"
CONVERGENCE = f"{RESULTS}/{{domain}}/convergence/{{experiment}}/{{init}}"
TABLES = f"{RESULTS}/{{domain}}/tables"
FIGURES = f"{RESULTS}/{{domain}}/figures"
LOG = f"{LOGS}/{{domain}}"


def names(*known):
    return "|".join(sorted(name.replace(".", r"\.") for name in known))


wildcard_constraints:
    domain=names(*study.domains),
    role="source|target",
    layer=names(*study.names("layers")),
    prior=names(*study.names("priors")),
    init=names(XAVIER, *study.names("priors")),
    experiment=names("none", *study.names("convergence")),
    variant="[^/]+",
    n="[0-9]+",
    scale="[0-9.]+",
    batch="[0-9]+",


# What belongs to this machine goes to the programs through the environment, not through commands and
# parameters, which Snakemake records: moving the folder or the data runs nothing again.
SCRIPTS = ROOT / "workflow" / "scripts"
os.environ |= {
    "DWP_RUN": str(SCRIPTS / "run"),
    "DWP_PYTHON": sys.executable,
    "DWP_ENVIRONMENT": " ".join(f"{k}={v}" for k, v in JOB_ENVIRONMENT.items()),
    # on a GPU nets are compiled
    "DWP_START": str(ROOT / "dwp" / "fast" / "start.py") * (settings.device == "cpu"),
    "DWP_DATA_LOCATION": as_json(settings.data.model_dump()),
    "DWP_DEVICE": settings.device,
    "DWP_TRAINING": f"--device {settings.device}"
    f" --checkpoint-minutes {settings.checkpoint_minutes}",
    **({"DWP_TENSORBOARD": f"{LOGS}/tensorboard"} if settings.tensorboard else {}),
    **({"DWP_RELEASE": settings.release} if settings.release else {}),
}
GPU = 0 if settings.device == "cpu" else 1


# After a kill the same command goes on.
if workflow.is_main_process and not workflow.dryrun:
    try:
        check_writable(".snakemake", RESULTS, LOGS)
    except UserError as error:
        sys.exit(f"error: {error}")
    alive = clear_after_a_kill(RESULTS)


onstart:
    note_locks()


# What the HTML report shows. It sorts the parts of a domain by name: the tables stand first.
ALL_TABLES = "All tables"
CLASSIFICATION = "Classification"
OF_CONVERGENCE = "Convergence"
OF_PRIORS = "Kernels and priors"
RANDOM_FEATURES = "Random features"


def reported(path, caption, part, **labels):
    """A file for the HTML report, labelled by the wildcards of its name as well."""

    def all_labels(w):
        # sorted as text: figure spaces, which come before digits, put 50 before 100
        own = {k: w[k] for k in re.findall(r"{(\w+)}", path) if k != "domain"}
        padded = {k: v.rjust(6, "\u2007") if v.isdigit() else v for k, v in own.items()}
        return labels | padded

    return report(
        path,
        caption=f"../report/{caption}.rst",
        category="{domain}",
        subcategory=part,
        labels=all_labels,
    )


def figure(name, caption, part, title, lines=True):
    """The files of a figure; the report shows the SVG of lines, the PNG of pictures."""
    shown, *others = ["svg", "png", "pdf"] if lines else ["png", "pdf"]
    page = reported(f"{FIGURES}/{name}.{shown}", caption, part, figure=title)
    return [page, *(f"{FIGURES}/{name}.{end}" for end in others)]


def table(name, caption, title):
    """A table to be read, as Markdown and as HTML, which the report shows."""
    page = reported(f"{TABLES}/{name}.html", caption, ALL_TABLES, table=title)
    return [f"{TABLES}/{name}.md", page]


# What rules of one kind share.
def trains(rule):
    """The resources of a job that trains."""
    return {
        "gpu": GPU,
        "runtime": lambda w, attempt: study.minutes(rule, w, attempt),
        "operations": lambda w: study.operations(rule, w),
    }


def batch(w, settings, batches):
    """The options of a program that trains a batch: settings, grid columns and runs."""
    columns = {k: v for k, v in w.items() if k not in ("experiment", "batch")}
    columns |= {k: kind(w[k]) for k, kind in (("n", int), ("scale", float)) if k in columns}
    texts = settings.text, as_json(columns), json.dumps(batches[int(w.batch)])
    return "--settings {} --columns {} --runs {}".format(*map(shlex.quote, texts))
