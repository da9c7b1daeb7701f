# After a kill the same command goes on.
import contextlib
import fcntl
import os
import shutil

from dwp.files import TEMPORARY


def clear_after_the_dead(alive):
    """Remove what a killed workflow leaves: Snakemake's locks and half-written files.

    Every workflow of the folder holds the file `alive`; the operating system lets go of it with
    the process. Only where no other holds it are all of them dead.
    """
    with contextlib.suppress(OSError):
        fcntl.flock(alive, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if any(Path(".snakemake/locks").glob("*.lock")):
            print("going on where a workflow was killed", file=sys.stderr)
            shutil.rmtree(".snakemake/locks")
            for path in Path("results").rglob(f"{TEMPORARY}*"):
                path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # of a file system without locks
        fcntl.flock(alive, fcntl.LOCK_SH)


def check_writable(folder):
    place = folder = Path(folder).absolute()
    while not place.exists():
        place = place.parent
    if not os.access(place, os.W_OK | os.X_OK):
        sys.exit(f"error: {place}: cannot be written to; make it writable, start again")


if workflow.is_main_process:
    check_writable(".snakemake")
    Path(".snakemake").mkdir(exist_ok=True)
    alive = open(".snakemake/alive", "w")
    clear_after_the_dead(alive)


onstart:
    for folder in (RESULTS, LOGS):
        check_writable(folder)
