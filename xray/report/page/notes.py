"""Sentences under the tables: what a number rests on and what it does not say."""

from xray.records.record import RunRecord
from xray.records.scores import is_pathology
from xray.records.wording import number, plural
from xray.report.group import Comparison, Group
from xray.report.scaling import AmdahlFit

ASSUMED = "*"
OTHER_CPU = "†"
OTHER_BASELINE = "‡"
INTERRUPTED = "§"
COMPARED_PACKAGES = (
    *("tensorflow", "tensorflow-cpu", "jax"),
    *("keras", "elephas", "pyspark"),
)

FAIRNESS = (
    "Runs share a table only when their data, split, model and training settings are "
    "the same (one work id). Speedups are against the sequential runs, one CPU "
    "thread of the same code.",
    "Equal epochs with another number of workers is not the same algorithm: "
    "synchronous Elephas trains on each worker's share and averages the weights once "
    "an epoch. A shorter time with a lower AUC is not a win; read both.",
    "Total is from program start to record. Fit is the training alone. A cluster's own "
    "start is in neither.",
    "The intervals resample the patients of the test set. They do not show how the AUC "
    "moves with another seed, split or hospital.",
    "The labels were text-mined from radiology reports and hold errors.",
    "This compares ways of running one training job. Nothing here is for clinical use.",
)


def baseline(group: Group) -> str:
    """What the speedups stand on, or why there are none."""
    if group.baseline is None:
        return (
            "No speedup: this work has no successful sequential run. Run the "
            "sequential runner with the same configuration."
        )
    cpu = group.baseline.key.cpu_model or "CPU model not recorded"
    return (
        "Speedup is the median seconds of the sequential runs over the median seconds "
        f"of the configuration; below 1 is slower. Baseline: {group.baseline.label}, "
        f"{plural(len(group.baseline.records), 'run')} on {cpu}."
    )


def other_cpu(group: Group) -> str:
    """Explains the mark on a speedup across CPU models; empty where none has it."""
    others = [part for part in group.configurations if not part.same_cpu]
    if not group.baseline or not others:
        return ""
    return (
        f"{OTHER_CPU} Against a sequential run on another CPU model, or one of the two "
        "models was not recorded: part of the speedup is the machine."
    )


def other_baseline(group: Group) -> str:
    """Explains the mark on a speedup over runs that are otherwise unlike."""
    said = dict.fromkeys(
        words for part in group.configurations for words in part.other_baseline
    )
    if not said:
        return ""
    return (
        f"{OTHER_BASELINE} Against a sequential run that {' or '.join(said)}: part of "
        "the speedup may be that."
    )


def interrupted(group: Group) -> str:
    """Explains the mark on a run that did not go in one go; empty without."""
    if not any(part.key.course for part in group.configurations):
        return ""
    return (
        f"{INTERRUPTED} Resumed, started again after a lost worker, or with fewer "
        "workers for a while: its seconds are no measure of the configuration, and "
        "enter no law and no forecast."
    )


def amdahl_fits(group: Group, measure: str) -> str:
    """The fitted serial fraction of each curve, or why there is none."""
    fits = [(curve.label, curve.amdahl(measure)) for curve in group.curves()]
    said = [_fit(label, fit) for label, fit in fits if fit]
    if not said:
        return (
            f"Amdahl's law, {measure}: too few points for a fit. It needs synchronous "
            "runs of one Elephas engine at two or more sizes p ≥ 2 on the baseline's "
            "CPU model, with a core for each thread."
        )
    return (
        f"Amdahl's law S(p) = 1 / (f + (1 − f)/p), {measure}, least squares: "
        f"{'; '.join(said)}. The error is the root mean square of the baseline's time. "
        "The law starts at S(1) = 1; one Elephas worker that is slower than one thread "
        "shows the overhead of Spark. Source: Amdahl, AFIPS 1967."
    )


def _fit(label: str, fit: AmdahlFit) -> str:
    beyond = ", above 1: more workers were slower than one thread"
    return (
        f"{label} f = {fit.serial_fraction:.3f} from {fit.points} points, error "
        f"{fit.rms_error:.3f}{beyond if fit.serial_fraction > 1 else ''}"
    )


def labels_of(group: Group) -> list[str]:
    """The labels that its runs are scored on."""
    return next((list(r.scores.findings) for r in group.records if r.scores), [])


def macro_note(group: Group) -> str:
    """Over which labels the macro AUC is a mean."""
    scored = [run.scores for run in group.records if run.scores]
    if not scored:
        return ""
    names, first = list(scored[0].findings), scored[0].findings
    missing = [name for name in names if first[name].auc.value is None]
    pathologies = sum(map(is_pathology, names))
    healthy = " and No Finding" if pathologies < len(names) else ""
    left_out = f"; undefined, so left out: {', '.join(missing)}" if missing else ""
    return (
        f"Macro AUC is the mean over {scored[0].findings_scored} of {len(names)} "
        f"labels, {pathologies} pathologies{healthy}{left_out}. Published AUROCs are "
        "means over pathologies alone: the column beside it."
    )


UNJUDGED = (
    "No differences: records of earlier versions kept no test probabilities, and "
    "intervals that overlap decide nothing, since both models are scored on the same "
    "patients."
)


def judged_note(margin: float) -> str:
    """What the verdicts mean."""
    return (
        "Difference: macro AUC less the baseline's on the same images, with its 95% "
        "interval from one bootstrap over patients, between the runs with the median "
        f"AUC. Verdict with a margin of {margin:g} that was set in advance: better, "
        f"the interval is above 0; no worse, above −{margin:g}; worse, below it; else "
        "not decided. It knows nothing of another seed or hospital."
    )


def target_note(group: Group) -> str:
    """Where the target is from, and what a time to it rests on."""
    if group.target is None:
        return ""
    validation = any(run.images.validation for run in group.records)
    which = "validation" if validation else "test"
    return (
        f"To a macro AUC of {number(group.target, 3)} on the {which} set, from the "
        "program's start: on the line between two scored epochs, the first one's end "
        "where that is above it already, and nothing where it is never reached. "
        "--target-auc sets it; else it is what every run of this work ends with. "
        "Below it again: the curve fell under the target at a later scored epoch, so "
        "that the time to it is that of a lucky epoch."
    )


def assumed_cost(group: Group) -> str:
    """Explains the mark on a cost outside EC2; empty where none has it."""
    if not any(cost.assumed for part in group.configurations for cost in part.costs):
        return ""
    return (
        f"{ASSUMED} An assumption: the run was not on EC2; its measured seconds are "
        "priced as if each machine were the instance type in the cost table, which may "
        "be slower or faster. A machine with more cores than it is priced too low."
    )


def warnings(group: Group) -> list[str]:
    """What else differs between the runs of one group and could move a number."""
    found = []
    weights = {run.initial_weights for run in group.records if run.initial_weights}
    if len(weights) > 1:
        found.append(
            f"The runs started from {len(weights)} different sets of initial weights."
        )
    for name in COMPARED_PACKAGES:
        versions = {run.packages[name] for run in group.records if name in run.packages}
        if len(versions) > 1:
            found.append(f"The runs used {name} {' and '.join(sorted(versions))}.")
    return [
        *found,
        *_best_epochs(group.records),
        *_interruptions(group.records),
        *_code_warnings(group.records),
    ]


def _best_epochs(records: list[RunRecord]) -> list[str]:
    best = sorted({run.best_epoch for run in records if run.best_epoch})
    if not best:
        return []
    return [
        "The AUC is that of the epoch with the best validation AUC, not of the last: "
        f"epoch {', '.join(map(str, best))}. Seconds are those of all epochs."
    ]


def _interruptions(records: list[RunRecord]) -> list[str]:
    resumed = sum(bool(run.resumed) for run in records)
    restarted = sum(bool(run.retries) for run in records)
    found = []
    if resumed:
        found.append(
            f"{plural(resumed, 'run')} died and went on with --resume: seconds are the "
            "sum of the tries, without the unfinished epochs that were lost."
        )
    varied = sum(run.workers_varied for run in records)
    if varied:
        found.append(
            f"{plural(varied, 'run')} had fewer workers for some epochs "
            "(runner.min_workers); a machine is priced for the time in which it had "
            "workers, or for the whole run where the record does not tell."
        )
    if restarted:
        found.append(
            f"{plural(restarted, 'run')} lost a worker and started all of them again: "
            "the seconds hold that as well."
        )
    return found


def _code_warnings(records: list[RunRecord]) -> list[str]:
    commits = {str(run.git["commit"])[:7] for run in records if run.git.get("commit")}
    changed = sum(bool(run.git.get("dirty")) for run in records)
    found = []
    if len(commits) > 1:
        found.append(f"The runs used {len(commits)} commits of this project.")
    if changed:
        found.append(f"{plural(changed, 'run')} had uncommitted changes in the code.")
    return found


def missing(comparison: Comparison) -> list[str]:
    """Runs that enter no table, with the reason, and files that are not records."""
    found = []
    for run in comparison.apart:
        reason = run.error or "no error recorded"
        if run.status == "success":
            reason = "no work_id, so it cannot be compared"
        found.append(f"{run.run_id}: {run.status}: {reason}")
    return found + comparison.left_out
