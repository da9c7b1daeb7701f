rule run_tables:
    input:
        metrics=lambda w: all_runs(w.domain, "metrics.json"),
        history=lambda w: all_runs(w.domain, "history.csv"),
    output:
        metrics=f"{TABLES}/classification.csv",
        history=f"{TABLES}/classification_history.csv",
    log:
        f"{LOGS}/{{domain}}/tables/runs.log",
    params:
        runs=lambda w: RUN,
        grid=lambda w: as_json(run_grid(w.domain)),
        variants=lambda w: as_json(run_variants(w.domain)),
        code=code("tabulate_runs.py"),
    shell:
        "python $SCRIPTS/tabulate_runs.py --runs {params.runs:q} --grid {params.grid:q}"
        " --variants {params.variants:q} --domain {wildcards.domain} --metrics {output.metrics} --history {output.history}"
        " 2>&1 | tee {log}"


rule summary_tables:
    input:
        f"{TABLES}/classification.csv",
    output:
        summary=f"{TABLES}/classification_summary.csv",
        tests=f"{TABLES}/classification_tests.csv",
        paper=f"{TABLES}/classification_paper.csv",
        paper_text=table(
            "classification_paper", "paper", "Classification beside the paper"
        ),
        text=table("classification", "classification", "Classification"),
    log:
        f"{LOGS}/{{domain}}/tables/summary.log",
    params:
        paper=[PAPER_DIGEST[p] for p in ("PAPER", "PAPER_SHAPES")],
        dataset=lambda w: paper_dataset(w.domain),
        reference=lambda w: reference_prior(w.domain),
        vary=lambda w: as_json(listed_values(w.domain, "vary")),
        tune=lambda w: as_json(listed_values(w.domain, "tune")),
        tune_by=lambda w: tune_by(w.domain),
        code=code("summarise_runs.py"),
    shell:
        "python $SCRIPTS/summarise_runs.py --runs {input} --paper $PAPER $PAPER_SHAPES"
        " --domain {wildcards.domain} --dataset {params.dataset}"
        " --vary {params.vary:q} --tune {params.tune:q} --tune-by {params.tune_by}"
        " --reference {params.reference} --summary {output.summary} --tests {output.tests}"
        " --comparison {output.paper} --table {output.text[0]} 2>&1 | tee {log}"


rule factorial_tables:
    input:
        f"{TABLES}/classification.csv",
    output:
        cells=f"{TABLES}/factorial.csv",
        cells_text=table(
            "factorial", "factorial_table", "Every init with every inference"
        ),
        effects=f"{TABLES}/factorial_effects.csv",
        effects_text=table(
            "factorial_effects", "factorial_effects", "What the lead comes from"
        ),
    log:
        f"{LOGS}/{{domain}}/tables/factorial.log",
    params:
        full=lambda w: as_json(crossed(w.domain)[0]),
        reference=lambda w: as_json(crossed(w.domain)[1]),
        vary=lambda w: as_json(listed_values(w.domain, "vary")),
        tune=lambda w: as_json(listed_values(w.domain, "tune")),
        tune_by=lambda w: tune_by(w.domain),
        code=code("tabulate_factorial.py"),
    shell:
        "python $SCRIPTS/tabulate_factorial.py --runs {input}"
        " --vary {params.vary:q} --tune {params.tune:q} --tune-by {params.tune_by}"
        " --full {params.full:q} --reference {params.reference:q}"
        " --cells {output.cells} --effects {output.effects} 2>&1 | tee {log}"


rule factorial_figure:
    input:
        f"{TABLES}/factorial.csv",
    output:
        **figure(
            "factorial",
            "factorial",
            CLASSIFICATION,
            "Every init with every inference",
        ),
    log:
        f"{LOGS}/{{domain}}/figures/factorial.log",
    params:
        vary=lambda w: as_json(listed_values(w.domain, "vary")),
        code=code("plot_factorial.py"),
    shell:
        "python $SCRIPTS/plot_factorial.py --cells {input} --vary {params.vary:q}"
        " --outputs {output} 2>&1 | tee {log}"


rule prior_table:
    input:
        lambda w: [
            f"{RESULTS}/{w.domain}/priors/scores/{prior}/{layer}.json"
            for prior, layer in scored_priors(w.domain)
        ],
    output:
        csv=f"{TABLES}/priors.csv",
        text=table("priors", "priors", "Priors"),
    log:
        f"{LOGS}/{{domain}}/tables/priors.log",
    params:
        code=code("tabulate_priors.py"),
    shell:
        "python $SCRIPTS/tabulate_priors.py --scores {input} --domain {wildcards.domain}"
        " --output {output.csv} 2>&1 | tee {log}"


rule fewshot_figure:
    input:
        f"{TABLES}/classification_summary.csv",
    output:
        **figure("fewshot_{metric}", "fewshot", CLASSIFICATION, "By number of examples"),
    log:
        f"{LOGS}/{{domain}}/figures/fewshot_{{metric}}.log",
    params:
        paper=[PAPER_DIGEST[p] for p in ("PAPER", "PAPER_SHAPES")],
        dataset=lambda w: paper_dataset(w.domain),
        vary=lambda w: as_json(listed_values(w.domain, "vary")),
        code=code("plot_runs.py"),
    shell:
        "python $SCRIPTS/plot_runs.py --summary {input} --paper $PAPER $PAPER_SHAPES"
        " --domain {wildcards.domain} --dataset {params.dataset} --vary {params.vary:q}"
        " --metric ensemble_{wildcards.metric} --outputs {output} 2>&1 | tee {log}"


rule steps_figure:
    input:
        history=f"{TABLES}/classification_history.csv",
        summary=f"{TABLES}/classification_summary.csv",
    output:
        **figure("steps_{metric}_n{n}", "steps", CLASSIFICATION, "By number of steps"),
    log:
        f"{LOGS}/{{domain}}/figures/steps_{{metric}}_n{{n}}.log",
    params:
        vary=lambda w: as_json(listed_values(w.domain, "vary")),
        tune=lambda w: as_json(listed_values(w.domain, "tune")),
        code=code("plot_runs.py"),
    shell:
        "python $SCRIPTS/plot_runs.py --summary {input.summary} --history {input.history}"
        " --n {wildcards.n} --vary {params.vary:q} --tune {params.tune:q}"
        " --metric validation_{wildcards.metric} --outputs {output} 2>&1 | tee {log}"


rule kernels_figure:
    input:
        kernels=known_kernels,
        priors=lambda w: [
            prior_file(w.domain, prior, w.layer) for prior in sampled_priors(w.domain)
        ],
    output:
        **figure("kernels_{layer}", "kernels", OF_PRIORS, "Samples", lines=False),
    log:
        f"{LOGS}/{{domain}}/figures/kernels_{{layer}}.log",
    params:
        kernels=lambda w: (
            f"--kernels {' '.join(known_kernels(w))}" if known_kernels(w) else ""
        ),
        code=lambda w: code(
            "plot_kernels.py",
            *(kind_place(w.domain, p) for p in sampled_priors(w.domain)),
        ),
    shell:
        "python $SCRIPTS/plot_kernels.py {params.kernels} --priors {input.priors}"
        " --outputs {output} 2>&1 | tee {log}"


rule latent_figure:
    input:
        kernels=known_kernels,
        prior=lambda w: prior_file(w.domain, w.prior, w.layer),
    output:
        **figure(
            "latent_{prior}_{layer}", "latent", OF_PRIORS, "Latent space", lines=False
        ),
    log:
        f"{LOGS}/{{domain}}/figures/latent_{{prior}}_{{layer}}.log",
    params:
        kernels=lambda w: (
            f"--kernels {' '.join(known_kernels(w))}" if known_kernels(w) else ""
        ),
        code=lambda w: code("plot_latent.py", kind_place(w.domain, w.prior)),
    shell:
        "python $SCRIPTS/plot_latent.py {params.kernels} --prior {input.prior}"
        " --outputs {output} 2>&1 | tee {log}"


rule norms_figure:
    input:
        lambda w: kernel_file(w.domain, w.layer),
    output:
        **figure("norms_{layer}", "norms", OF_PRIORS, "Norms of kernels"),
    log:
        f"{LOGS}/{{domain}}/figures/norms_{{layer}}.log",
    params:
        code=code("plot_norms.py"),
    shell:
        "python $SCRIPTS/plot_norms.py --kernels {input} --outputs {output} 2>&1 | tee {log}"
