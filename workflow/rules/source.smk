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
            folder=lambda w: fill(SOURCE_NET, domain=w.domain),
            # what depends on `output` is no part of what Snakemake compares with earlier jobs
            runs=lambda w, output, seeds=seeds: as_json([{"seed": s} for s in seeds]),
            settings=lambda w: as_json(source_settings(w.domain)),
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
