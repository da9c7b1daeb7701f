rule kl_table:
    input:
        priors=lambda w: [
            prior_file(w.domain, prior, layer)
            for prior, layer in scored_priors(w.domain)
            if layer == w.layer
        ],
        kernels=lambda w: kernel_file(w.domain, w.layer),
    output:
        f"{TABLES}/kl_{{layer}}.csv",
    log:
        f"{LOGS}/{{domain}}/tables/kl_{{layer}}.log",
    params:
        code=lambda w: code(
            "tabulate_kl.py",
            *(
                kind_place(w.domain, prior)
                for prior, layer in scored_priors(w.domain)
                if layer == w.layer
            ),
        ),
    shell:
        "python $SCRIPTS/tabulate_kl.py --kernels {input.kernels} --priors {input.priors}"
        " --output {output} 2>&1 | tee {log}"


rule kl_figure:
    input:
        f"{TABLES}/kl_{{layer}}.csv",
    output:
        **figure("kl_{layer}", "kl", OF_PRIORS, "KL by width"),
    log:
        f"{LOGS}/{{domain}}/figures/kl_{{layer}}.log",
    params:
        code=code("plot_kl.py"),
    shell:
        "python $SCRIPTS/plot_kl.py --table {input} --outputs {output} 2>&1 | tee {log}"


rule reconstruction_figure:
    input:
        kernels=lambda w: kernel_file(w.domain, w.layer),
        prior=lambda w: prior_file(w.domain, w.prior, w.layer),
    output:
        **figure(
            "reconstructions_{prior}_{layer}",
            "reconstructions",
            OF_PRIORS,
            "Reconstructions",
            lines=False,
        ),
    log:
        f"{LOGS}/{{domain}}/figures/reconstructions_{{prior}}_{{layer}}.log",
    params:
        code=lambda w: code("plot_reconstructions.py", kind_place(w.domain, w.prior)),
    shell:
        "python $SCRIPTS/plot_reconstructions.py --kernels {input.kernels} --prior {input.prior}"
        " --outputs {output} 2>&1 | tee {log}"
