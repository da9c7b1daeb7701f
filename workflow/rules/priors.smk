def fitted_kernels(w):
    fitted = study.fitted_to_kernels(w.domain, w.prior, w.layer)
    return [kernel_file(w.domain, w.layer)] if fitted else []


def reconstructing_prior(w):
    name = study.prior(w.domain, w.prior).reconstructed_by
    return [prior_file(w.domain, name, w.layer)] if name else []


def scored_files(w, *layers):
    return [
        prior_file(w.domain, prior, layer)
        for prior, layer in study.scored_priors(w.domain, *layers)
    ]


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
        RUN + "/fit_prior.py --kernels {input.kernels}"
        " --reconstructed-by {input.reconstructed_by}"
        " --settings {params.settings:q} --code {params.code}"
        " --prior {output.prior} --history {output.history} "
        + TRAINING
        + " 2>&1 | tee {log}"


rule prior_score:
    input:
        prior=f"{PRIOR}.safetensors",
        kernels=f"{KERNELS}.safetensors",
    output:
        f"{PRIOR}-score.json",
    log:
        f"{LOG}/priors/score_{{prior}}_{{layer}}.log",
    benchmark:
        f"{LOG}/priors/score_{{prior}}_{{layer}}.tsv"
    resources:
        runtime=lambda w, attempt: study.minutes("prior_score", w, attempt),
        operations=lambda w: study.operations("prior_score", w),
    params:
        samples=lambda w: study.importance_samples(w.domain, w.prior),
        code=lambda w: study.code(
            "score_prior", *study.prior_classes(w.domain, w.prior)
        ),
    shell:
        RUN + "/score_prior.py --prior {input.prior} --kernels {input.kernels}"
        " --importance-samples {params.samples} --output {output} 2>&1 | tee {log}"


rule prior_table:
    input:
        lambda w: [
            f"{PRIOR}-score.json".format(domain=w.domain, prior=prior, layer=layer)
            for prior, layer in study.scored_priors(w.domain)
        ],
    output:
        csv=f"{TABLES}/priors.csv",
        text=table("priors", "priors", "Priors"),
    log:
        f"{LOG}/tables/priors.log",
    params:
        code=study.code("tabulate_priors"),
    shell:
        RUN + "/tabulate_priors.py --scores {input} --domain {wildcards.domain}"
        " --output {output.csv} 2>&1 | tee {log}"


rule kl_table:
    input:
        priors=lambda w: scored_files(w, w.layer),
        kernels=f"{KERNELS}.safetensors",
    output:
        f"{TABLES}/kl_{{layer}}.csv",
    log:
        f"{LOG}/tables/kl_{{layer}}.log",
    params:
        code=lambda w: study.code(
            "tabulate_kl",
            *study.prior_classes(
                w.domain, *(p for p, _ in study.scored_priors(w.domain, w.layer))
            ),
        ),
    shell:
        RUN + "/tabulate_kl.py --kernels {input.kernels} --priors {input.priors}"
        " --output {output} 2>&1 | tee {log}"


rule kl_figure:
    input:
        f"{TABLES}/kl_{{layer}}.csv",
    output:
        **figure("kl_{layer}", "kl", OF_PRIORS, "KL by width", "layer"),
    log:
        f"{LOG}/figures/kl_{{layer}}.log",
    params:
        code=study.code("plot_kl"),
    shell:
        RUN + "/plot_kl.py --table {input} --outputs {output} 2>&1 | tee {log}"


rule kernels_figure:
    input:
        kernels=known_kernels,
        priors=lambda w: [
            prior_file(w.domain, p, w.layer) for p in study.sampled_priors(w.domain)
        ],
    output:
        **figure(
            "kernels_{layer}", "kernels", OF_PRIORS, "Samples", "layer", lines=False
        ),
    log:
        f"{LOG}/figures/kernels_{{layer}}.log",
    params:
        code=lambda w: study.code(
            "plot_kernels",
            *study.prior_classes(w.domain, *study.sampled_priors(w.domain)),
        ),
    shell:
        RUN + "/plot_kernels.py --kernels {input.kernels} --priors {input.priors}"
        " --outputs {output} 2>&1 | tee {log}"


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
        code=lambda w: study.code(
            "plot_latent", *study.prior_classes(w.domain, w.prior)
        ),
    shell:
        RUN + "/plot_latent.py --kernels {input.kernels} --prior {input.prior}"
        " --outputs {output} 2>&1 | tee {log}"


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
        code=lambda w: study.code(
            "plot_reconstructions", *study.prior_classes(w.domain, w.prior)
        ),
    shell:
        RUN
        + "/plot_reconstructions.py --kernels {input.kernels} --prior {input.prior}"
        " --outputs {output} 2>&1 | tee {log}"


rule norms_figure:
    input:
        f"{KERNELS}.safetensors",
    output:
        **figure("norms_{layer}", "norms", OF_PRIORS, "Norms of kernels", "layer"),
    log:
        f"{LOG}/figures/norms_{{layer}}.log",
    params:
        code=study.code("plot_norms"),
    shell:
        RUN + "/plot_norms.py --kernels {input} --outputs {output} 2>&1 | tee {log}"
