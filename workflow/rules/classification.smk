# Training and testing are one job: inputs of a testing job of its own would differ with the number
# of runs in it, and Snakemake tests again what was made from other inputs.
for domain, first, runs in run_jobs():

    rule:
        name:
            f"classifiers_{domain}_{first}"
        input:
            source=f"{RESULTS}/{{domain}}/data/source.safetensors",
            target=f"{RESULTS}/{{domain}}/data/target.safetensors",
            checked=ancient(f"{RESULTS}/{{domain}}/data/checked.json"),
            priors=run_priors,
            init=run_init,
            penalty=run_penalty,
        output:
            files_of(RUN, "weights.safetensors", runs),
            files_of(RUN, "history.csv", runs),
            files_of(RUN, "metrics.json", runs),
        log:
            f"{RUN_LOG}/{first}.log",
        benchmark:
            f"{RUN_LOG}/{first}.tsv"
        wildcard_constraints:
            domain=domain,
        resources:
            gpu=GPU,
            runtime=lambda w, attempt, runs=runs: run_minutes(w, runs, attempt),
        params:
            priors=lambda w: layer_files(run_priors(w)),
            init=lambda w: layer_files(run_init(w)),
            penalty=lambda w: layer_files(run_penalty(w)),
            folder=lambda w: fill(RUN, **w),
            # what depends on `output` is no part of what Snakemake compares with earlier jobs
            runs=lambda w, output, runs=runs: as_json(runs),
            # nor is what a run that has ended well does not depend on
            tolerant=lambda w, output: (
                "--tolerant" if listed_values(w.domain, "tune") else ""
            ),
            settings=lambda w: as_json(run_settings(w.domain, w.prior, w.variant)),
            code=lambda w: code("train_classifier.py", *run_places(w)),
            test_settings=lambda w: as_json(test_settings(w.domain, w.prior, w.variant)),
            test_code=lambda w: code("evaluate_classifier.py", *run_places(w)),
        shell:
            "(python $SCRIPTS/train_classifier.py --data {input.target}"
            " --priors {params.priors} --init {params.init} --penalty {params.penalty}"
            " --settings {params.settings:q}"
            " --code {params.code} --folder {params.folder:q} --runs {params.runs:q}"
            " --device $DWP_DEVICE --checkpoint-minutes $DWP_CHECKPOINT_MINUTES"
            " {params.tolerant} &&"
            " python $SCRIPTS/evaluate_classifier.py --data {input.target}"
            " --out-of-domain {input.source} --priors {params.priors}"
            " --settings {params.test_settings:q} --folder {params.folder:q}"
            " --runs {params.runs:q} --device $DWP_DEVICE) 2>&1 | tee {log}"
