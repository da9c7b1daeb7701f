rule classifiers:
    input:
        source=SOURCE,
        target=TARGET,
        checked=ancient(CHECKED),
        priors=lambda w: run_priors(w).values(),
        init=lambda w: init_files(w).values(),
        penalty=lambda w: run_penalty(w).values(),
    output:
        weights=f"{CELL}/batch{{batch}}.safetensors",
        metrics=f"{CELL}/batch{{batch}}.csv",
        history=f"{CELL}/batch{{batch}}-history.csv",
    log:
        f"{LOG}/classification/{{prior}}/{{init}}/{{variant}}/n{{n}}/batch{{batch}}.log",
    benchmark:
        f"{LOG}/classification/{{prior}}/{{init}}/{{variant}}/n{{n}}/batch{{batch}}.tsv"
    resources:
        gpu=GPU,
        runtime=lambda w, attempt: study.minutes("classifiers", w, attempt),
        operations=lambda w: study.operations("classifiers", w),
    params:
        priors=lambda w: pairs(run_priors(w)),
        init=lambda w: pairs(init_files(w)),
        penalty=lambda w: pairs(run_penalty(w)),
        columns=lambda w: as_json(
            {k: w[k] for k in ("domain", "prior", "init", "variant")} | {"n": int(w.n)}
        ),
        runs=lambda w: json.dumps(study.run_batches(w.domain)[int(w.batch)]),
        settings=lambda w: study.run_settings(w.domain, w.prior, w.variant).text(),
        tolerant=lambda w: "--tolerant" if study.listed(w.domain, "tune") else "",
        code=lambda w: study.code(
            "dwp.training.classification",
            *study.run_classes(w.domain, w.prior, w.init),
        ),
        # a change of the test alone tests kept nets again
        test_code=lambda w: study.code(
            "train_classifiers", *study.run_classes(w.domain, w.prior, w.init)
        ),
    shell:
        '"$DWP_RUN" train_classifiers --data {input.target} --source {input.source}'
        " --priors {params.priors} --init {params.init} --penalty {params.penalty}"
        " --settings {params.settings:q} --code {params.code}"
        " --columns {params.columns:q} --runs {params.runs:q} {params.tolerant}"
        " --weights {output.weights} --metrics {output.metrics} --history {output.history}"
        " $DWP_TRAINING 2>&1 | tee {log}"


rule classification_tables:
    input:
        metrics=run_files(".csv"),
        history=run_files("-history.csv"),
    output:
        metrics=f"{TABLES}/classification.csv",
        history=f"{TABLES}/classification_history.csv",
    log:
        f"{LOG}/tables/classification.log",
    params:
        variants=lambda w: as_json(study.rows(w.domain)),
        code=study.code("tabulate_runs"),
    shell:
        '"$DWP_RUN" tabulate_runs --metrics {input.metrics} --history {input.history}'
        " --variants {params.variants:q} --outputs {output} 2>&1 | tee {log}"


rule classification_summary:
    input:
        f"{TABLES}/classification.csv",
    output:
        summary=f"{TABLES}/classification_summary.csv",
        tests=f"{TABLES}/classification_tests.csv",
        paper=f"{TABLES}/classification_paper.csv",
        paper_text=table(
            "classification_paper", "paper", "Classification and the paper's"
        ),
        text=table("classification", "classification", "Classification"),
    log:
        f"{LOG}/tables/classification_summary.log",
    params:
        paper=[study.paper_digest(name) for name in ("classification", "shapes")],
        dataset=lambda w: study.paper_dataset(w.domain),
        reference=lambda w: study.domains[w.domain].classification.priors[0],
        vary=lambda w: as_json(study.listed(w.domain, "vary")),
        tune=lambda w: as_json(study.listed(w.domain, "tune")),
        tune_by=lambda w: study.domains[w.domain].classification.tune_by,
        code=study.code("summarise_runs"),
    shell:
        '"$DWP_RUN" summarise_runs --runs {input}'
        " --domain {wildcards.domain} --dataset {params.dataset}"
        " --vary {params.vary:q} --tune {params.tune:q} --tune-by {params.tune_by}"
        " --reference {params.reference} --summary {output.summary} --tests {output.tests}"
        " --comparison {output.paper} --table {output.text[0]}"
        ' --paper "$DWP_PAPER"_classification.csv "$DWP_PAPER"_shapes.csv'
        " 2>&1 | tee {log}"


rule factorial:
    input:
        f"{TABLES}/classification.csv",
    output:
        **figure(
            "factorial",
            "factorial",
            CLASSIFICATION,
            "Every initialisation with every prior",
        ),
        cells=f"{TABLES}/factorial.csv",
        cells_text=table(
            "factorial", "factorial_table", "Every initialisation with every prior"
        ),
        effects=f"{TABLES}/factorial_effects.csv",
        effects_text=table(
            "factorial_effects",
            "factorial_effects",
            "Effects of initialisation and prior",
        ),
    log:
        f"{LOG}/tables/factorial.log",
    params:
        full=lambda w: as_json(study.crossed(w.domain)[0]),
        reference=lambda w: as_json(study.crossed(w.domain)[1]),
        vary=lambda w: as_json(study.listed(w.domain, "vary")),
        tune=lambda w: as_json(study.listed(w.domain, "tune")),
        tune_by=lambda w: study.domains[w.domain].classification.tune_by,
        code=study.code("summarise_factorial"),
    shell:
        '"$DWP_RUN" summarise_factorial --runs {input}'
        " --vary {params.vary:q} --tune {params.tune:q} --tune-by {params.tune_by}"
        " --full {params.full:q} --reference {params.reference:q}"
        " --cells {output.cells} --parts {output.effects}"
        " --figures {output.svg} {output.png} {output.pdf} 2>&1 | tee {log}"


rule fewshot_figures:
    input:
        f"{TABLES}/classification_summary.csv",
    output:
        *figure("fewshot_accuracy", "fewshot", CLASSIFICATION, "Accuracy").values(),
        *figure("fewshot_nll", "fewshot", CLASSIFICATION, "NLL").values(),
    log:
        f"{LOG}/figures/fewshot.log",
    params:
        paper=[study.paper_digest(name) for name in ("classification", "shapes")],
        dataset=lambda w: study.paper_dataset(w.domain),
        vary=lambda w: as_json(study.listed(w.domain, "vary")),
        tune=lambda w: as_json(study.listed(w.domain, "tune")),
        code=study.code("plot_runs"),
    shell:
        '"$DWP_RUN" plot_runs --summary {input} --dataset {params.dataset}'
        " --vary {params.vary:q} --tune {params.tune:q} --outputs {output}"
        ' --paper "$DWP_PAPER"_classification.csv "$DWP_PAPER"_shapes.csv'
        " 2>&1 | tee {log}"


rule steps_figures:
    input:
        history=f"{TABLES}/classification_history.csv",
        summary=f"{TABLES}/classification_summary.csv",
    output:
        *figure(
            "steps_accuracy_n{n}", "steps", CLASSIFICATION, "Accuracy by steps", "n"
        ).values(),
        *figure("steps_nll_n{n}", "steps", CLASSIFICATION, "NLL by steps", "n").values(),
    log:
        f"{LOG}/figures/steps_n{{n}}.log",
    params:
        vary=lambda w: as_json(study.listed(w.domain, "vary")),
        tune=lambda w: as_json(study.listed(w.domain, "tune")),
        code=study.code("plot_runs"),
    shell:
        '"$DWP_RUN" plot_runs --summary {input.summary} --history {input.history}'
        " --vary {params.vary:q} --tune {params.tune:q} --outputs {output} 2>&1 | tee {log}"


rule shift:
    input:
        data=TARGET,
        weights=shift_files,
        priors=lambda w: shift_priors(w).values(),
    output:
        **figure("shift", "shift", CLASSIFICATION, "Rotated test images"),
        runs=f"{TABLES}/shift.csv",
        text=table("shift_means", "shift", "Rotated test images"),
    log:
        f"{LOG}/tables/shift.log",
    resources:
        gpu=GPU,
        runtime=lambda w, attempt: study.minutes("shift", w, attempt),
    params:
        priors=lambda w: pairs(shift_priors(w)),
        angles=lambda w: study.domains[w.domain].classification.rotations,
        code=lambda w: study.code(
            "evaluate_shift",
            study.network_class(w.domain),
            *study.prior_classes(w.domain, *study.kinds(w.domain)),
        ),
    shell:
        '"$DWP_RUN" evaluate_shift --data {input.data} --weights {input.weights}'
        " --priors {params.priors} --angles {params.angles}"
        " --output {output.runs} --table {output.text[0]}"
        " --figures {output.svg} {output.png} {output.pdf} $DWP_TRAINING 2>&1 | tee {log}"
