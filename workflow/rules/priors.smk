rule prior:
    input:
        kernels=fitted_kernels,
        reconstructed_by=reconstructing_prior,
    output:
        prior=f"{RESULTS}/{{domain}}/priors/fitted/{{prior}}/{{layer}}.safetensors",
        history=f"{RESULTS}/{{domain}}/priors/fitted/{{prior}}/{{layer}}.csv",
    log:
        f"{LOGS}/{{domain}}/priors/{{prior}}_{{layer}}.log",
    benchmark:
        f"{LOGS}/{{domain}}/priors/{{prior}}_{{layer}}.tsv"
    resources:
        gpu=GPU,
        runtime=prior_minutes,
    params:
        kernels=lambda w, input: f"--kernels {input.kernels}" if input.kernels else "",
        reconstructed_by=lambda w, input: (
            f"--reconstructed-by {input.reconstructed_by}"
            if input.reconstructed_by
            else ""
        ),
        kernel_size=lambda w: kernel_size(w.domain, w.layer),
        settings=lambda w: as_json(
            prior_settings(config["domains"][w.domain], w.prior, w.layer)
        ),
        code=lambda w: code("fit_prior.py", *fitting_places(w)),
    shell:
        "python $SCRIPTS/fit_prior.py {params.kernels} {params.reconstructed_by}"
        " --kernel-size {params.kernel_size}"
        " --settings {params.settings:q} --code {params.code} --device $DWP_DEVICE"
        " --checkpoint-minutes $DWP_CHECKPOINT_MINUTES"
        " --prior {output.prior} --history {output.history} 2>&1 | tee {log}"


rule released_prior:
    output:
        f"{RESULTS}/{{domain}}/priors/released/{{prior}}/{{layer}}.safetensors",
    log:
        f"{LOGS}/{{domain}}/priors/released_{{prior}}_{{layer}}.log",
    params:
        folder=lambda w: prior_section(w.domain, w.prior)["released"][w.layer],
        code=code("import_prior.py"),
    shell:
        "python $SCRIPTS/import_prior.py --folder {params.folder:q}"
        " --prior {output} 2>&1 | tee {log}"


rule pretrained_prior:
    output:
        f"{RESULTS}/{{domain}}/priors/pretrained/{{prior}}/{{layer}}.safetensors",
    log:
        f"{LOGS}/{{domain}}/priors/pretrained_{{prior}}_{{layer}}.log",
    params:
        name=pretrained_name,
        content=lambda w: digest([pretrained_file(pretrained_name(w))]),
        code=lambda w: code("import_prior.py", kind_place(w.domain, w.prior)),
    shell:
        "python $SCRIPTS/import_prior.py --pretrained {params.name}"
        " --prior {output} 2>&1 | tee {log}"


rule prior_score:
    input:
        prior=lambda w: prior_file(w.domain, w.prior, w.layer),
        kernels=lambda w: kernel_file(w.domain, w.layer),
    output:
        f"{RESULTS}/{{domain}}/priors/scores/{{prior}}/{{layer}}.json",
    log:
        f"{LOGS}/{{domain}}/priors/score_{{prior}}_{{layer}}.log",
    benchmark:
        f"{LOGS}/{{domain}}/priors/score_{{prior}}_{{layer}}.tsv"
    resources:
        runtime=lambda w, attempt: min(60 * attempt, LONGEST),
    params:
        samples=lambda w: (
            config["domains"][w.domain]["importance_samples"]
            if kinds(w.domain)[w.prior].density == "bound"
            else 1  # of an exact density none is drawn
        ),
        code=lambda w: code("score_prior.py", kind_place(w.domain, w.prior)),
    shell:
        "python $SCRIPTS/score_prior.py --prior {input.prior} --kernels {input.kernels}"
        " --importance-samples {params.samples} --output {output} 2>&1 | tee {log}"
