rule convergence_nets:
    input:
        data=TARGET,
        checked=ancient(CHECKED),
        init=lambda w: sorted(set(init_files(w).values())),
    output:
        weights=f"{CONVERGENCE}/batch{{batch}}.safetensors",
        history=f"{CONVERGENCE}/batch{{batch}}.csv",
    log:
        f"{LOG}/convergence/{{experiment}}/{{init}}/batch{{batch}}.log",
    benchmark:
        f"{LOG}/convergence/{{experiment}}/{{init}}/batch{{batch}}.tsv"
    resources:
        gpu=GPU,
        runtime=lambda w, attempt: study.minutes("convergence_nets", w, attempt),
        operations=lambda w: study.operations("convergence_nets", w),
    params:
        init=lambda w: pairs(init_files(w)),
        columns=lambda w: as_json({"domain": w.domain, "init": w.init}),
        runs=lambda w: json.dumps(
            study.convergence_batches(w.domain, w.experiment)[int(w.batch)]
        ),
        settings=lambda w: study.convergence_training(w.domain, w.experiment).text(),
        code=lambda w: study.code(
            "train_convergence",
            study.network_class(w.domain),
            *study.prior_classes(w.domain, w.init),
        ),
    shell:
        '"$DWP_RUN" train_convergence --data {input.data} --init {params.init}'
        " --settings {params.settings:q} --code {params.code}"
        " --columns {params.columns:q} --runs {params.runs:q}"
        " --weights {output.weights} --history {output.history} $DWP_TRAINING 2>&1 | tee {log}"


rule convergence_tables:
    input:
        lambda w: convergence_files(w, ".csv"),
    output:
        **figure(
            "convergence_{experiment}",
            "convergence",
            OF_CONVERGENCE,
            "By number of steps",
            "experiment",
        ),
        runs=f"{TABLES}/convergence_{{experiment}}.csv",
        steps=f"{TABLES}/convergence_{{experiment}}_steps.csv",
        text=table(
            "convergence_{experiment}_steps",
            "convergence_steps",
            "Convergence",
            "experiment",
        ),
    log:
        f"{LOG}/tables/convergence_{{experiment}}.log",
    params:
        paper=study.paper_digest("convergence"),
        dataset=lambda w: study.paper_dataset(w.domain),
        kind=experiment_kind,
        metric=lambda w: METRIC[experiment_kind(w)],
        levels=lambda w: study.domains[w.domain].convergence[w.experiment].levels,
        code=study.code("summarise_convergence"),
    shell:
        '"$DWP_RUN" summarise_convergence --runs {input} --dataset {params.dataset}'
        " --experiment {params.kind} --metric {params.metric} --levels {params.levels}"
        " --output {output.runs} --steps {output.steps}"
        " --figures {output.svg} {output.png} {output.pdf}"
        ' --paper "$DWP_PAPER"_convergence.csv'
        " 2>&1 | tee {log}"


rule images_figure:
    input:
        lambda w: first_batches(w).values(),
    output:
        **figure(
            "images_{experiment}",
            "images",
            OF_CONVERGENCE,
            "Decoded images",
            "experiment",
            lines=False,
        ),
    log:
        f"{LOG}/figures/images_{{experiment}}.log",
    params:
        weights=lambda w: pairs(first_batches(w)),
        code=study.code("plot_images"),
    shell:
        '"$DWP_RUN" plot_images --weights {params.weights} --outputs {output} 2>&1 | tee {log}'
