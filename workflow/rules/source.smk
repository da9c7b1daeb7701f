for domain, seeds in source_jobs():

    rule:
        name:
            f"source_nets_{domain}_{seeds[0]}"
        input:
            data=f"{RESULTS}/{{domain}}/data/source.safetensors",
            checked=ancient(f"{RESULTS}/{{domain}}/data/checked.json"),
        output:
            source_files("weights.safetensors", seeds),
            source_files("history.csv", seeds),
            source_files("metrics.json", seeds),
        log:
            f"{LOGS}/{{domain}}/source/{seeds[0]}.log",
        benchmark:
            f"{LOGS}/{{domain}}/source/{seeds[0]}.tsv"
        wildcard_constraints:
            domain=domain,
        resources:
            gpu=GPU,
            runtime=lambda w, attempt, seeds=seeds: source_minutes(
                w.domain, seeds, attempt
            ),
        params:
            folder=lambda w: f"{RESULTS}/{w.domain}/source/{{seed}}",
            # what depends on `output` is no part of what Snakemake compares with earlier jobs
            runs=lambda w, output, seeds=seeds: as_json([{"seed": s} for s in seeds]),
            settings=lambda w: as_json(source_settings(w.domain)),
            code=code("train_source.py"),
        shell:
            "python $SCRIPTS/train_source.py --data {input.data} --settings {params.settings:q}"
            " --code {params.code} --folder {params.folder:q} --runs {params.runs:q}"
            " --device $DWP_DEVICE --checkpoint-minutes $DWP_CHECKPOINT_MINUTES 2>&1 | tee {log}"
