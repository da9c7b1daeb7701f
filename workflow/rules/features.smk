for domain, first, runs in feature_jobs():

    rule:
        name:
            f"features_{domain}_{first}"
        input:
            data=f"{RESULTS}/{{domain}}/data/target.safetensors",
            checked=ancient(f"{RESULTS}/{{domain}}/data/checked.json"),
            init=run_init,
        output:
            files_of(FEATURES, "weights.safetensors", runs),
            files_of(FEATURES, "metrics.json", runs),
        log:
            f"{LOGS}/{{domain}}/features/{{init}}/{first}.log",
        benchmark:
            f"{LOGS}/{{domain}}/features/{{init}}/{first}.tsv"
        wildcard_constraints:
            domain=domain,
        resources:
            gpu=GPU,
            mem_mb=lambda w, attempt: 8000 * attempt,
            runtime=lambda w, attempt, runs=runs: feature_minutes(
                w.domain, runs, attempt
            ),
        params:
            init=lambda w: layer_files(run_init(w)),
            folder=lambda w: fill(FEATURES, **w),
            # what depends on `output` is no part of what Snakemake compares with earlier jobs
            runs=lambda w, output, runs=runs: as_json(runs),
            settings=lambda w: as_json(feature_settings(w.domain)),
            code=lambda w: code(
                "train_features.py", net_place(w.domain), *init_places(w)
            ),
        shell:
            "python $SCRIPTS/train_features.py --data {input.data} --init {params.init}"
            " --settings {params.settings:q} --code {params.code} --folder {params.folder:q}"
            " --runs {params.runs:q} --device $DWP_DEVICE"
            " --checkpoint-minutes $DWP_CHECKPOINT_MINUTES 2>&1 | tee {log}"


rule feature_table:
    input:
        lambda w: expand(
            f"{FEATURES}/metrics.json", domain=w.domain, **feature_grid(w.domain)
        ),
    output:
        f"{TABLES}/features.csv",
    log:
        f"{LOGS}/{{domain}}/tables/features.log",
    params:
        runs=lambda w: FEATURES,
        grid=lambda w: as_json(feature_grid(w.domain)),
        code=code("tabulate_runs.py"),
    shell:
        "python $SCRIPTS/tabulate_runs.py --runs {params.runs:q} --grid {params.grid:q}"
        " --domain {wildcards.domain} --metrics {output} 2>&1 | tee {log}"


rule feature_summary:
    input:
        f"{TABLES}/features.csv",
    output:
        summary=f"{TABLES}/features_summary.csv",
        text=table("features", "features_table", "Random features"),
    log:
        f"{LOGS}/{{domain}}/tables/features_summary.log",
    params:
        paper=PAPER_DIGEST["PAPER_FEATURES"],
        dataset=lambda w: paper_dataset(w.domain),
        code=code("summarise_features.py"),
    shell:
        "python $SCRIPTS/summarise_features.py --runs {input} --paper $PAPER_FEATURES"
        " --dataset {params.dataset} --summary {output.summary} --table {output.text[0]}"
        " 2>&1 | tee {log}"


rule feature_figure:
    input:
        f"{TABLES}/features.csv",
    output:
        **figure(
            "features_{metric}", "features", RANDOM_FEATURES, "By number of filters"
        ),
    log:
        f"{LOGS}/{{domain}}/figures/features_{{metric}}.log",
    params:
        paper=PAPER_DIGEST["PAPER_FEATURES"],
        dataset=lambda w: paper_dataset(w.domain),
        code=code("plot_curves.py"),
    shell:
        "python $SCRIPTS/plot_curves.py --runs {input} --paper $PAPER_FEATURES"
        " --dataset {params.dataset} --metric test_{wildcards.metric} --against scale"
        " --outputs {output} 2>&1 | tee {log}"
