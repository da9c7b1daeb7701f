rule features:
    input:
        data=TARGET,
        checked=ancient(CHECKED),
        init=lambda w: init_files(w).values(),
    output:
        weights=f"{FEATURES}/batch{{batch}}.safetensors",
        metrics=f"{FEATURES}/batch{{batch}}.csv",
    log:
        f"{LOG}/features/{{init}}/scale{{scale}}/batch{{batch}}.log",
    benchmark:
        f"{LOG}/features/{{init}}/scale{{scale}}/batch{{batch}}.tsv"
    resources:
        gpu=GPU,
        mem_mb=lambda w, attempt: 8000 * attempt,
        runtime=lambda w, attempt: study.minutes("features", w, attempt),
        operations=lambda w: study.operations("features", w),
    params:
        init=lambda w: pairs(init_files(w)),
        columns=lambda w: as_json(
            {"domain": w.domain, "init": w.init, "scale": float(w.scale)}
        ),
        runs=lambda w: json.dumps(study.feature_batches(w.domain)[int(w.batch)]),
        settings=lambda w: study.feature_training(w.domain).text(),
        code=lambda w: study.code(
            "train_features",
            study.network_class(w.domain),
            *study.prior_classes(w.domain, w.init),
        ),
    shell:
        '"$DWP_RUN" train_features --data {input.data} --init {params.init}'
        " --settings {params.settings:q} --code {params.code}"
        " --columns {params.columns:q} --runs {params.runs:q}"
        " --weights {output.weights} --metrics {output.metrics} $DWP_TRAINING 2>&1 | tee {log}"


rule feature_tables:
    input:
        feature_files,
    output:
        **figure(
            "features_accuracy", "features", RANDOM_FEATURES, "By number of filters"
        ),
        runs=f"{TABLES}/features.csv",
        summary=f"{TABLES}/features_summary.csv",
        text=table("features", "features_table", "Random features"),
    log:
        f"{LOG}/tables/features.log",
    params:
        paper=study.paper_digest("features"),
        dataset=lambda w: study.paper_dataset(w.domain),
        code=study.code("summarise_features"),
    shell:
        '"$DWP_RUN" summarise_features --runs {input} --dataset {params.dataset}'
        " --output {output.runs} --summary {output.summary} --table {output.text[0]}"
        " --figures {output.svg} {output.png} {output.pdf}"
        ' --paper "$DWP_PAPER"_features.csv'
        " 2>&1 | tee {log}"
