rule prior:
    input:
        kernels=fitted_kernels,
        reconstructed_by=reconstructing_prior,
    output:
        prior=f"{PRIOR}.safetensors",
        history=f"{PRIOR}.csv",
    log:
        f"{LOG}/priors/{{prior}}_{{layer}}.log",
    benchmark:
        f"{LOG}/priors/{{prior}}_{{layer}}.tsv"
    resources:
        gpu=GPU,
        runtime=lambda w, attempt: study.minutes("prior", w, attempt),
        operations=lambda w: study.operations("prior", w),
    params:
        settings=lambda w: study.prior_fit(w.domain, w.prior, w.layer).text(),
        pretrained=lambda w: study.pretrained_digest(w.domain, w.prior, w.layer),
        code=lambda w: study.code(
            "fit_prior",
            *study.prior_classes(
                w.domain, w.prior, study.prior(w.domain, w.prior).reconstructed_by
            ),
        ),
    shell:
        '"$DWP_RUN" fit_prior --kernels {input.kernels}'
        " --reconstructed-by {input.reconstructed_by}"
        " --settings {params.settings:q} --code {params.code}"
        " --prior {output.prior} --history {output.history} $DWP_TRAINING 2>&1 | tee {log}"


rule prior_score:
    input:
        priors=lambda w: scored_layers(w, prior_file).values(),
        kernels=lambda w: scored_layers(w, kernel_file).values(),
    output:
        f"{RESULTS}/{{domain}}/priors/{{prior}}/scores.json",
    log:
        f"{LOG}/priors/score_{{prior}}.log",
    benchmark:
        f"{LOG}/priors/score_{{prior}}.tsv"
    resources:
        runtime=lambda w, attempt: study.minutes("prior_score", w, attempt),
        operations=lambda w: study.operations("prior_score", w),
    params:
        priors=lambda w: pairs(scored_layers(w, prior_file)),
        kernels=lambda w: pairs(scored_layers(w, kernel_file)),
        samples=lambda w: study.importance_samples(w.domain, w.prior),
        code=lambda w: study.code(
            "score_prior", *study.prior_classes(w.domain, w.prior)
        ),
    shell:
        '"$DWP_RUN" score_prior --priors {params.priors} --kernels {params.kernels}'
        " --importance-samples {params.samples} --output {output} 2>&1 | tee {log}"


rule prior_table:
    input:
        lambda w: scores_files(w).values(),
    output:
        csv=f"{TABLES}/priors.csv",
        text=table("priors", "priors", "Priors"),
    log:
        f"{LOG}/tables/priors.log",
    params:
        scores=lambda w: pairs(scores_files(w)),
        code=study.code("tabulate_priors"),
    shell:
        '"$DWP_RUN" tabulate_priors --scores {params.scores} --domain {wildcards.domain}'
        " --output {output.csv} 2>&1 | tee {log}"


rule samples_figure:
    input:
        kernels=known_kernels,
        priors=lambda w: sampled_files(w).values(),
    output:
        **figure(
            "kernels_{layer}", "kernels", OF_PRIORS, "Samples", "layer", lines=False
        ),
    log:
        f"{LOG}/figures/kernels_{{layer}}.log",
    params:
        kernels=lambda w, input: f"--kernels {input.kernels}" if input.kernels else "",
        priors=lambda w: pairs(sampled_files(w)),
        code=lambda w: study.code(
            "study_layer", *study.prior_classes(w.domain, *sampled_files(w))
        ),
    shell:
        '"$DWP_RUN" study_layer {params.kernels} --priors {params.priors}'
        " --samples {output} 2>&1 | tee {log}"


rule norms_figure:
    input:
        f"{KERNELS}.safetensors",
    output:
        **figure("norms_{layer}", "norms", OF_PRIORS, "Norms of kernels", "layer"),
    log:
        f"{LOG}/figures/norms_{{layer}}.log",
    params:
        code=study.code("study_layer"),
    shell:
        '"$DWP_RUN" study_layer --kernels {input} --norms {output} 2>&1 | tee {log}'


rule kl_by_width:
    input:
        kernels=f"{KERNELS}.safetensors",
        priors=lambda w: dense_files(w).values(),
    output:
        **figure("kl_{layer}", "kl", OF_PRIORS, "KL by width", "layer"),
        table=f"{TABLES}/kl_{{layer}}.csv",
    log:
        f"{LOG}/tables/kl_{{layer}}.log",
    params:
        priors=lambda w: pairs(dense_files(w)),
        code=lambda w: study.code(
            "study_layer", *study.prior_classes(w.domain, *dense_files(w))
        ),
    shell:
        '"$DWP_RUN" study_layer --kernels {input.kernels} --priors {params.priors}'
        " --table {output.table} --kl {output.svg} {output.png} {output.pdf} 2>&1 | tee {log}"


rule latent_figure:
    input:
        kernels=known_kernels,
        prior=f"{PRIOR}.safetensors",
    output:
        **figure(
            "latent_{prior}_{layer}",
            "latent",
            OF_PRIORS,
            "Latent space",
            "prior",
            "layer",
            lines=False,
        ),
    log:
        f"{LOG}/figures/latent_{{prior}}_{{layer}}.log",
    params:
        kernels=lambda w, input: f"--kernels {input.kernels}" if input.kernels else "",
        code=lambda w: study.code("plot_vae", *study.prior_classes(w.domain, w.prior)),
    shell:
        '"$DWP_RUN" plot_vae --prior {input.prior} {params.kernels}'
        " --latent {output} 2>&1 | tee {log}"


rule reconstruction_figure:
    input:
        kernels=f"{KERNELS}.safetensors",
        prior=f"{PRIOR}.safetensors",
    output:
        **figure(
            "reconstructions_{prior}_{layer}",
            "reconstructions",
            OF_PRIORS,
            "Reconstructions",
            "prior",
            "layer",
            lines=False,
        ),
    log:
        f"{LOG}/figures/reconstructions_{{prior}}_{{layer}}.log",
    params:
        code=lambda w: study.code("plot_vae", *study.prior_classes(w.domain, w.prior)),
    shell:
        '"$DWP_RUN" plot_vae --prior {input.prior} --kernels {input.kernels}'
        " --reconstructions {output} 2>&1 | tee {log}"
