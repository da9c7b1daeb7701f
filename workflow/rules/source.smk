for domain, first, runs in source_jobs():

    rule:
        name:
            f"source_nets_{domain}_{first}"
        input:
            data=f"{RESULTS}/{{domain}}/data/source.safetensors",
            checked=ancient(f"{RESULTS}/{{domain}}/data/checked.json"),
        output:
            files_of(SOURCE_NET, "weights.safetensors", runs),
            files_of(SOURCE_NET, "history.csv", runs),
            files_of(SOURCE_NET, "metrics.json", runs),
        log:
            f"{LOGS}/{{domain}}/source/{first}.log",
        benchmark:
            f"{LOGS}/{{domain}}/source/{first}.tsv"
        wildcard_constraints:
            domain=domain,
        resources:
            gpu=GPU,
            runtime=lambda w, attempt, runs=runs: source_minutes(
                w.domain, runs, attempt
            ),
        params:
            folder=lambda w: fill(SOURCE_NET, **w),
            # what depends on `output` is no part of what Snakemake compares with earlier jobs
            runs=lambda w, output, runs=runs: as_json(runs),
            settings=lambda w: as_json(source_settings(config["domains"][w.domain])),
            code=lambda w: code("train_source.py", net_place(w.domain)),
        shell:
            "python $SCRIPTS/train_source.py --data {input.data} --settings {params.settings:q}"
            " --code {params.code} --folder {params.folder:q} --runs {params.runs:q}"
            " --device $DWP_DEVICE --checkpoint-minutes $DWP_CHECKPOINT_MINUTES 2>&1 | tee {log}"


rule source_table:
    input:
        lambda w: expand(
            f"{SOURCE_NET}/metrics.json", domain=w.domain, **source_grid(w)
        ),
    output:
        f"{TABLES}/source_nets.csv",
    log:
        f"{LOGS}/{{domain}}/tables/source_nets.log",
    params:
        runs=lambda w: SOURCE_NET,
        grid=lambda w: as_json(source_grid(w)),
        code=code("tabulate_runs.py"),
    shell:
        "python $SCRIPTS/tabulate_runs.py --runs {params.runs:q} --grid {params.grid:q}"
        " --domain {wildcards.domain} --metrics {output} 2>&1 | tee {log}"
