rule convergence_nets:
    input:
        data=TARGET,
        checked=ancient(CHECKED),
        init=init_files,
    output:
        weights=f"{CONVERGENCE}/batch{{batch}}.safetensors",
        metrics=f"{CONVERGENCE}/batch{{batch}}.csv",
    log:
        f"{LOG}/convergence/{{experiment}}/{{init}}/batch{{batch}}.log",
    benchmark:
        f"{LOG}/convergence/{{experiment}}/{{init}}/batch{{batch}}.tsv"
    resources:
        **trains("convergence_nets"),
    params:
        batch=lambda w: batch(
            w,
            study.convergence_training(w.domain, w.experiment),
            study.convergence_batches(w.domain, w.experiment),
        ),
        code=lambda w: study.net_code("train_convergence", w.domain, w.init),
    shell:
        '"$DWP_RUN" train_convergence --data {input.data} --init {input.init}'
        " {params.batch} --code {params.code} --weights {output.weights}"
        " --metrics {output.metrics} $DWP_TRAINING 2>&1 | tee {log}"


rule convergence_tables:
    input:
        lambda w: convergence_files(w, ".csv", study.convergence_batches(w.domain, w.experiment)),
    output:
        figure=figure(
            "convergence_{experiment}", "convergence", OF_CONVERGENCE, "By number of steps"
        ),
        runs=f"{TABLES}/convergence_{{experiment}}.csv",
        steps=f"{TABLES}/convergence_{{experiment}}_steps.csv",
        text=table("convergence_{experiment}_steps", "convergence_steps", "Convergence"),
    log:
        f"{LOG}/tables/convergence_{{experiment}}.log",
    params:
        paper=study.paper_digest("convergence"),
        dataset=lambda w: study.paper_dataset(w.domain),
        kind=lambda w: experiment(w).kind,
        levels=lambda w: experiment(w).levels,
        code=study.code("summarise_convergence"),
    shell:
        '"$DWP_RUN" summarise_convergence --runs {input} --dataset {params.dataset}'
        " --kind {params.kind} --levels {params.levels} --output {output.runs}"
        " --steps {output.steps} --figure {output.figure} 2>&1 | tee {log}"


rule images_figure:
    input:
        lambda w: convergence_files(w, ".safetensors", ["the first"]),
    output:
        figure("images_{experiment}", "images", OF_CONVERGENCE, "Decoded images", lines=False),
    log:
        f"{LOG}/figures/images_{{experiment}}.log",
    params:
        code=study.code("plot_images"),
    shell:
        '"$DWP_RUN" plot_images --weights {input} --outputs {output} 2>&1 | tee {log}'
