rule classifiers:
    input:
        source=SOURCE,
        target=TARGET,
        checked=ancient(CHECKED),
        priors=run_priors,
        init=init_files,
        penalty=run_penalty,
    output:
        weights=f"{CELL}/batch{{batch}}.safetensors",
        metrics=f"{CELL}/batch{{batch}}.csv",
    log:
        f"{LOG}/classification/{{prior}}/{{init}}/{{variant}}/n{{n}}/batch{{batch}}.log",
    benchmark:
        f"{LOG}/classification/{{prior}}/{{init}}/{{variant}}/n{{n}}/batch{{batch}}.tsv"
    resources:
        **trains("classifiers"),
    params:
        batch=lambda w: batch(
            w,
            study.run_settings(w.domain, w.prior, w.variant),
            study.run_batches(w.domain),
        ),
        tolerant=lambda w: ("--tolerant" if study.domains[w.domain].classification.tune else ""),
        code=lambda w: study.net_code("dwp.training.classification", w.domain, w.prior, w.init),
        # a change of the test alone tests kept nets again
        test_code=lambda w: study.net_code("train_classifiers", w.domain, w.prior, w.init),
    shell:
        '"$DWP_RUN" train_classifiers --data {input.target} --source {input.source}'
        " --priors {input.priors} --init {input.init} --penalty {input.penalty}"
        " {params.batch} --code {params.code} {params.tolerant}"
        " --weights {output.weights} --metrics {output.metrics}"
        " $DWP_TRAINING 2>&1 | tee {log}"


rule classification_tables:
    input:
        lambda w: run_files(w, ".csv", study.cells),
    output:
        runs=f"{TABLES}/classification.csv",
        more=expand(
            f"{TABLES}/classification_{{part}}.csv",
            part=["history", "summary", "tests", "paper"],
            allow_missing=True,
        ),
        text=table("classification", "classification", "Classification"),
        paper=table("classification_paper", "paper", "Classification: ours and the paper's"),
        accuracy=figure("fewshot_accuracy", "fewshot", CLASSIFICATION, "Accuracy"),
        nll=figure("fewshot_nll", "fewshot", CLASSIFICATION, "NLL"),
    log:
        f"{LOG}/tables/classification.log",
    params:
        paper=[study.paper_digest(name) for name in ("classification", "shapes")],
        comparison=lambda w: study.comparison(w.domain).text,
        code=study.code("summarise_runs"),
    shell:
        '"$DWP_RUN" summarise_runs --runs {input}'
        " --comparison {params.comparison:q} --output {output.runs}"
        " --accuracy {output.accuracy} --nll {output.nll} 2>&1 | tee {log}"


rule factorial:
    input:
        f"{TABLES}/classification.csv",
    output:
        figure=figure(
            "factorial", "factorial", CLASSIFICATION, "Every initialisation with every prior"
        ),
        cells=f"{TABLES}/factorial.csv",
        cells_text=table("factorial", "factorial_table", "Every initialisation with every prior"),
        effects=f"{TABLES}/factorial_effects.csv",
        effects_text=table(
            "factorial_effects", "factorial_effects", "Effects of initialisation and prior"
        ),
    log:
        f"{LOG}/tables/factorial.log",
    params:
        comparison=lambda w: study.comparison(w.domain).text,
        code=study.code("summarise_factorial"),
    shell:
        '"$DWP_RUN" summarise_factorial --runs {input}'
        " --comparison {params.comparison:q} --cells {output.cells}"
        " --parts {output.effects} --figure {output.figure} 2>&1 | tee {log}"


rule steps_figures:
    input:
        history=f"{TABLES}/classification_history.csv",
        summary=f"{TABLES}/classification_summary.csv",
    output:
        accuracy=figure("steps_accuracy_n{n}", "steps", CLASSIFICATION, "Accuracy by steps"),
        nll=figure("steps_nll_n{n}", "steps", CLASSIFICATION, "NLL by steps"),
        variety=figure("steps_variety_n{n}", "variety", CLASSIFICATION, "Variety of kernels"),
        bound=figure("steps_elbo_n{n}", "steps", CLASSIFICATION, "Negative ELBO by steps"),
    log:
        f"{LOG}/figures/steps_n{{n}}.log",
    params:
        comparison=lambda w: study.comparison(w.domain).text,
        code=study.code("plot_steps"),
    shell:
        '"$DWP_RUN" plot_steps --summary {input.summary} --history {input.history}'
        " --comparison {params.comparison:q} --n {wildcards.n}"
        " --accuracy {output.accuracy} --nll {output.nll} --variety {output.variety}"
        " --bound {output.bound}"
        " 2>&1 | tee {log}"


rule shift:
    input:
        data=TARGET,
        weights=lambda w: run_files(w, ".safetensors", study.shift_cells),
        priors=shift_priors,
    output:
        figure=figure("shift", "shift", CLASSIFICATION, "Rotated test images"),
        runs=f"{TABLES}/shift.csv",
        text=table("shift_means", "shift", "Rotated test images"),
    log:
        f"{LOG}/tables/shift.log",
    resources:
        gpu=GPU,
        runtime=lambda w, attempt: study.minutes("shift", w, attempt),
    params:
        angles=lambda w: study.domains[w.domain].classification.rotations,
        code=lambda w: study.net_code("evaluate_shift", w.domain, *study.kinds(w.domain)),
    shell:
        '"$DWP_RUN" evaluate_shift --data {input.data} --weights {input.weights}'
        " --priors {input.priors} --angles {params.angles} --output {output.runs}"
        ' --table {output.text[0]} --figure {output.figure} --device "$DWP_DEVICE"'
        " 2>&1 | tee {log}"
