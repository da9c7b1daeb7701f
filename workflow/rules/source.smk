rule source_nets:
    input:
        data=SOURCE,
        checked=ancient(CHECKED),
    output:
        weights=f"{SOURCE_NETS}/batch{{batch}}.safetensors",
        metrics=f"{SOURCE_NETS}/batch{{batch}}.csv",
        history=f"{SOURCE_NETS}/batch{{batch}}-history.csv",
    log:
        f"{LOG}/source/batch{{batch}}.log",
    benchmark:
        f"{LOG}/source/batch{{batch}}.tsv"
    resources:
        gpu=GPU,
        runtime=lambda w, attempt: study.minutes("source_nets", w, attempt),
        operations=lambda w: study.operations("source_nets", w),
    params:
        columns=lambda w: as_json({"domain": w.domain}),
        runs=lambda w: json.dumps(study.source_batches(w.domain)[int(w.batch)]),
        settings=lambda w: study.source_training(w.domain).text(),
        code=lambda w: study.code("train_source", study.network_class(w.domain)),
    shell:
        '"$DWP_RUN" train_source --data {input.data} --settings {params.settings:q}'
        " --code {params.code} --columns {params.columns:q} --runs {params.runs:q}"
        " --weights {output.weights} --metrics {output.metrics} --history {output.history}"
        " $DWP_TRAINING 2>&1 | tee {log}"


rule source_table:
    input:
        lambda w: batch_files(
            SOURCE_NETS, ".csv", study.source_batches(w.domain), domain=w.domain
        ),
    output:
        f"{TABLES}/source_nets.csv",
    log:
        f"{LOG}/tables/source_nets.log",
    params:
        code=study.code("tabulate_runs"),
    shell:
        '"$DWP_RUN" tabulate_runs --metrics {input} --outputs {output} 2>&1 | tee {log}'
