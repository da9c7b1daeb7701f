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
        **trains("prior"),
    params:
        settings=lambda w: study.prior_fit(w.domain, w.prior, w.layer).text,
        pretrained=lambda w: study.pretrained_digest(w.domain, w.prior, w.layer),
        code=lambda w: study.prior_code(
            "fit_prior", w.domain, w.prior, study.prior(w.domain, w.prior).reconstructed_by
        ),
    shell:
        '"$DWP_RUN" fit_prior --kernels {input.kernels}'
        " --reconstructed-by {input.reconstructed_by}"
        " --settings {params.settings:q} --code {params.code}"
        " --prior {output.prior} --history {output.history} $DWP_TRAINING 2>&1 | tee {log}"


rule prior_score:
    input:
        priors=lambda w: prior_files(w, w.prior, study.known_layers(w.domain)),
        kernels=lambda w: kernel_files(w, study.known_layers(w.domain)),
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
        samples=lambda w: study.importance_samples(w.domain, w.prior),
        steps=lambda w: study.domains[w.domain].bound_steps,
        code=lambda w: study.prior_code("score_prior", w.domain, w.prior),
    shell:
        '"$DWP_RUN" score_prior --priors {input.priors} --kernels {input.kernels}'
        " --importance-samples {params.samples} --bound-steps {params.steps}"
        " --output {output} 2>&1 | tee {log}"


rule prior_table:
    input:
        scores_files,
    output:
        csv=f"{TABLES}/priors.csv",
        text=table("priors", "priors", "Priors"),
    log:
        f"{LOG}/tables/priors.log",
    params:
        code=study.code("tabulate_priors"),
    shell:
        '"$DWP_RUN" tabulate_priors --scores {input} --domain {wildcards.domain}'
        " --output {output.csv} 2>&1 | tee {log}"


rule samples_figure:
    input:
        kernels=known_kernels,
        priors=lambda w: prior_files(w, study.sampled_priors(w.domain), w.layer),
    output:
        figure("kernels_{layer}", "kernels", OF_PRIORS, "Samples", lines=False),
    log:
        f"{LOG}/figures/kernels_{{layer}}.log",
    params:
        code=lambda w: study.prior_code("study_layer", w.domain, *study.sampled_priors(w.domain)),
    shell:
        '"$DWP_RUN" study_layer --kernels {input.kernels} --priors {input.priors}'
        " --samples {output} 2>&1 | tee {log}"


rule norms_and_kl:
    input:
        kernels=f"{KERNELS}.safetensors",
        priors=lambda w: prior_files(w, study.dense_priors(w.domain), w.layer),
    output:
        norms=figure("norms_{layer}", "norms", OF_PRIORS, "Norms of kernels"),
        kl=figure("kl_{layer}", "kl", OF_PRIORS, "KL by width"),
        table=f"{TABLES}/kl_{{layer}}.csv",
    log:
        f"{LOG}/tables/kl_{{layer}}.log",
    params:
        code=lambda w: study.prior_code("study_layer", w.domain, *study.dense_priors(w.domain)),
    shell:
        '"$DWP_RUN" study_layer --kernels {input.kernels} --priors {input.priors}'
        " --norms {output.norms} --table {output.table} --kl {output.kl} 2>&1 | tee {log}"


rule latent_figure:
    input:
        kernels=known_kernels,
        prior=f"{PRIOR}.safetensors",
    output:
        figure("latent_{prior}_{layer}", "latent", OF_PRIORS, "Latent space", lines=False),
    log:
        f"{LOG}/figures/latent_{{prior}}_{{layer}}.log",
    params:
        code=lambda w: study.prior_code("plot_vae", w.domain, w.prior),
    shell:
        '"$DWP_RUN" plot_vae --prior {input.prior} --kernels {input.kernels}'
        " --latent {output} 2>&1 | tee {log}"


rule reconstruction_figure:
    input:
        kernels=f"{KERNELS}.safetensors",
        prior=f"{PRIOR}.safetensors",
    output:
        figure(
            "reconstructions_{prior}_{layer}",
            "reconstructions",
            OF_PRIORS,
            "Reconstructions",
            lines=False,
        ),
    log:
        f"{LOG}/figures/reconstructions_{{prior}}_{{layer}}.log",
    params:
        code=lambda w: study.prior_code("plot_vae", w.domain, w.prior),
    shell:
        '"$DWP_RUN" plot_vae --prior {input.prior} --kernels {input.kernels}'
        " --reconstructions {output} 2>&1 | tee {log}"
