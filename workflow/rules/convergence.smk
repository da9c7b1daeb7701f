for domain, experiment, kind, first, runs in convergence_jobs():

    rule:
        name:
            f"convergence_{domain}_{experiment}_{first}"
        input:
            data=f"{RESULTS}/{{domain}}/data/target.safetensors",
            checked=ancient(f"{RESULTS}/{{domain}}/data/checked.json"),
            init=lambda w: sorted(set(convergence_init(w).values())),
        output:
            [
                files_of(CONVERGENCE, name, runs)
                for name in (
                    "weights.safetensors",
                    "history.csv",
                    *["samples.safetensors"] * (kind == "image-vae"),
                )
            ],
        log:
            f"{LOGS}/{{domain}}/convergence/{{experiment}}/{{init}}/{first}.log",
        benchmark:
            f"{LOGS}/{{domain}}/convergence/{{experiment}}/{{init}}/{first}.tsv"
        wildcard_constraints:
            domain=domain,
            experiment=experiment,
        resources:
            gpu=GPU,
            runtime=lambda w, attempt, runs=runs: convergence_minutes(w, runs, attempt),
        params:
            init=lambda w: " ".join(f"{k}={v}" for k, v in convergence_init(w).items()),
            folder=lambda w: fill(CONVERGENCE, **w),
            # what depends on `output` is no part of what Snakemake compares with earlier jobs
            runs=lambda w, output, runs=runs: as_json(runs),
            settings=lambda w: as_json(convergence_settings(w)),
            code=lambda w: code(
                "train_convergence.py", *trained_places(w), *init_places(w)
            ),
        shell:
            "python $SCRIPTS/train_convergence.py --data {input.data} --init {params.init}"
            " --settings {params.settings:q} --code {params.code} --folder {params.folder:q}"
            " --runs {params.runs:q} --device $DWP_DEVICE"
            " --checkpoint-minutes $DWP_CHECKPOINT_MINUTES 2>&1 | tee {log}"


rule curve_table:
    input:
        lambda w: expand(
            f"{CONVERGENCE}/history.csv",
            domain=w.domain,
            experiment=w.experiment,
            **convergence_grid(w),
        ),
    output:
        f"{TABLES}/convergence_{{experiment}}.csv",
    log:
        f"{LOGS}/{{domain}}/tables/convergence_{{experiment}}.log",
    params:
        runs=lambda w: fill(CONVERGENCE, experiment=w.experiment),
        grid=lambda w: as_json(convergence_grid(w)),
        code=code("tabulate_runs.py"),
    shell:
        "python $SCRIPTS/tabulate_runs.py --runs {params.runs:q} --grid {params.grid:q}"
        " --domain {wildcards.domain} --history {output} 2>&1 | tee {log}"


rule curve_steps:
    input:
        f"{TABLES}/convergence_{{experiment}}.csv",
    output:
        csv=f"{TABLES}/convergence_{{experiment}}_steps.csv",
        text=table("convergence_{experiment}_steps", "convergence_steps", "Convergence"),
    log:
        f"{LOGS}/{{domain}}/tables/convergence_{{experiment}}_steps.log",
    params:
        paper=PAPER_DIGEST["PAPER_CONVERGENCE"],
        dataset=lambda w: paper_dataset(w.domain),
        kind=lambda w: experiments(w.domain)[w.experiment]["kind"],
        levels=lambda w: experiments(w.domain)[w.experiment]["levels"],
        code=code("summarise_convergence.py"),
    shell:
        "python $SCRIPTS/summarise_convergence.py --history {input} --paper $PAPER_CONVERGENCE"
        " --dataset {params.dataset} --experiment {params.kind} --levels {params.levels}"
        " --output {output.csv} 2>&1 | tee {log}"


rule curve_figure:
    input:
        f"{TABLES}/convergence_{{experiment}}.csv",
    output:
        **figure(
            "convergence_{experiment}",
            "convergence",
            OF_CONVERGENCE,
            "By number of steps",
        ),
    log:
        f"{LOGS}/{{domain}}/figures/convergence_{{experiment}}.log",
    params:
        paper=PAPER_DIGEST["PAPER_CONVERGENCE"],
        dataset=lambda w: paper_dataset(w.domain),
        kind=lambda w: experiments(w.domain)[w.experiment]["kind"],
        metric=lambda w: METRIC[experiments(w.domain)[w.experiment]["kind"]],
        code=code("plot_curves.py"),
    shell:
        "python $SCRIPTS/plot_curves.py --runs {input} --paper $PAPER_CONVERGENCE"
        " --dataset {params.dataset} --experiment {params.kind} --metric {params.metric}"
        " --against step --outputs {output} 2>&1 | tee {log}"


rule images_figure:
    input:
        lambda w: [
            fill(
                f"{CONVERGENCE}/samples.safetensors",
                domain=w.domain,
                experiment=w.experiment,
                init=init,
                seed=experiments(w.domain)[w.experiment]["seeds"][0],
            )
            for init in experiments(w.domain)[w.experiment]["inits"]
        ],
    output:
        **figure(
            "images_{experiment}",
            "images",
            OF_CONVERGENCE,
            "Decoded images",
            lines=False,
        ),
    log:
        f"{LOGS}/{{domain}}/figures/images_{{experiment}}.log",
    params:
        code=code("plot_images.py"),
    shell:
        "python $SCRIPTS/plot_images.py --samples {input} --outputs {output} 2>&1 | tee {log}"
