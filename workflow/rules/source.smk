rule source_nets:
    input:
        data=SOURCE,
        checked=ancient(CHECKED),
    output:
        weights=f"{SOURCE_NETS}/batch{{batch}}.safetensors",
        metrics=f"{SOURCE_NETS}/batch{{batch}}.csv",
    log:
        f"{LOG}/source/batch{{batch}}.log",
    benchmark:
        f"{LOG}/source/batch{{batch}}.tsv"
    resources:
        **trains("source_nets"),
    params:
        batch=lambda w: batch(w, study.source_training(w.domain), study.source_batches(w.domain)),
        code=lambda w: study.code("train_source", study.network_class(w.domain)),
    shell:
        '"$DWP_RUN" train_source --data {input.data} {params.batch} --code {params.code}'
        " --weights {output.weights} --metrics {output.metrics}"
        " $DWP_TRAINING 2>&1 | tee {log}"


rule source_table:
    input:
        lambda w: source_net_files(w, ".csv"),
    output:
        f"{TABLES}/source_nets.csv",
    log:
        f"{LOG}/tables/source_nets.log",
    params:
        code=study.code("tabulate_runs"),
    shell:
        '"$DWP_RUN" tabulate_runs --runs {input} --output {output} 2>&1 | tee {log}'
