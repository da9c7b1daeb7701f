rule features:
    input:
        data=TARGET,
        checked=ancient(CHECKED),
        init=init_files,
    output:
        weights=f"{FEATURES}/batch{{batch}}.safetensors",
        metrics=f"{FEATURES}/batch{{batch}}.csv",
    log:
        f"{LOG}/features/{{init}}/scale{{scale}}/batch{{batch}}.log",
    benchmark:
        f"{LOG}/features/{{init}}/scale{{scale}}/batch{{batch}}.tsv"
    resources:
        **trains("features"),
        mem_mb=lambda w, attempt: 8000 * attempt,
    params:
        batch=lambda w: batch(w, study.feature_training(w.domain), study.feature_batches(w.domain)),
        code=lambda w: study.net_code("train_features", w.domain, w.init),
    shell:
        '"$DWP_RUN" train_features --data {input.data} --init {input.init} {params.batch}'
        " --code {params.code} --weights {output.weights} --metrics {output.metrics}"
        " $DWP_TRAINING 2>&1 | tee {log}"


rule feature_tables:
    input:
        feature_files,
    output:
        figure=figure("features_accuracy", "features", RANDOM_FEATURES, "By number of filters"),
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
        " --output {output.runs} --summary {output.summary}"
        " --figure {output.figure} 2>&1 | tee {log}"
