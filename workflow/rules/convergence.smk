def experiment_kind(w):
    return study.domains[w.domain].convergence[w.experiment].kind


def convergence_files(w, end):
    batches = study.convergence_batches(w.domain, w.experiment)
    return [
        file
        for init in study.domains[w.domain].convergence[w.experiment].inits
        for file in batch_files(
            CONVERGENCE,
            end,
            batches,
            domain=w.domain,
            experiment=w.experiment,
            init=init,
        )
    ]


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
        runs=lambda w: as_json(
            study.convergence_batches(w.domain, w.experiment)[int(w.batch)]
        ),
        settings=lambda w: study.convergence_training(w.domain, w.experiment).text(),
        code=lambda w: study.code(
            "train_convergence",
            study.network_class(w.domain),
            *study.prior_classes(w.domain, w.init),
        ),
    shell:
        RUN + "/train_convergence.py --data {input.data} --init {params.init}"
        " --settings {params.settings:q} --code {params.code}"
        " --columns {params.columns:q} --runs {params.runs:q}"
        " --weights {output.weights} --history {output.history} "
        + TRAINING
        + " 2>&1 | tee {log}"


rule convergence_table:
    input:
        lambda w: convergence_files(w, ".csv"),
    output:
        f"{TABLES}/convergence_{{experiment}}.csv",
    log:
        f"{LOG}/tables/convergence_{{experiment}}.log",
    params:
        code=study.code("tabulate_runs"),
    shell:
        RUN + "/tabulate_runs.py --runs {input} --table {output} 2>&1 | tee {log}"


rule convergence_steps:
    input:
        f"{TABLES}/convergence_{{experiment}}.csv",
    output:
        csv=f"{TABLES}/convergence_{{experiment}}_steps.csv",
        text=table(
            "convergence_{experiment}_steps",
            "convergence_steps",
            "Convergence",
            "experiment",
        ),
    log:
        f"{LOG}/tables/convergence_{{experiment}}_steps.log",
    params:
        paper=study.paper_digest("convergence"),
        dataset=lambda w: study.paper_dataset(w.domain),
        kind=experiment_kind,
        levels=lambda w: study.domains[w.domain].convergence[w.experiment].levels,
        code=study.code("summarise_convergence"),
    shell:
        RUN
        + "/summarise_convergence.py --history {input} --paper "
        + PAPER["convergence"]
        + " --dataset {params.dataset} --experiment {params.kind} --levels {params.levels}"
        " --output {output.csv} 2>&1 | tee {log}"


rule convergence_figure:
    input:
        f"{TABLES}/convergence_{{experiment}}.csv",
    output:
        **figure(
            "convergence_{experiment}",
            "convergence",
            OF_CONVERGENCE,
            "By number of steps",
            "experiment",
        ),
    log:
        f"{LOG}/figures/convergence_{{experiment}}.log",
    params:
        paper=study.paper_digest("convergence"),
        dataset=lambda w: study.paper_dataset(w.domain),
        kind=experiment_kind,
        metric=lambda w: METRIC[experiment_kind(w)],
        code=study.code("plot_curves"),
    shell:
        RUN
        + "/plot_curves.py --runs {input} --paper "
        + PAPER["convergence"]
        + " --dataset {params.dataset} --experiment {params.kind} --metric {params.metric}"
        " --against step --outputs {output} 2>&1 | tee {log}"


rule images_figure:
    input:
        lambda w: [
            file
            for file in convergence_files(w, ".safetensors")
            if file.endswith("/batch0.safetensors")
        ],
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
        code=study.code("plot_images"),
    shell:
        RUN + "/plot_images.py --weights {input} --outputs {output} 2>&1 | tee {log}"
