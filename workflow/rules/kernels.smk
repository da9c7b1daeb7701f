rule kernels:
    input:
        lambda w: expand(
            f"{SOURCE_NET}/weights.safetensors", domain=w.domain, **source_grid(w)
        ),
    output:
        kernels=f"{RESULTS}/{{domain}}/kernels/collected/{{layer}}.safetensors",
        description=f"{RESULTS}/{{domain}}/kernels/collected/{{layer}}.json",
    log:
        f"{LOGS}/{{domain}}/kernels/{{layer}}.log",
    resources:
        mem_mb=lambda w, attempt: 8000 * attempt,
        runtime=lambda w, attempt: minutes(0, attempt),
    params:
        settings=lambda w: as_json(
            kernel_settings(config["domains"][w.domain], w.layer)
        ),
        code=code("build_kernels.py"),
    shell:
        "python $SCRIPTS/build_kernels.py --nets {input} --layer {wildcards.layer}"
        " --settings {params.settings:q} --kernels {output.kernels}"
        " --description {output.description} 2>&1 | tee {log}"


rule released_kernels:
    output:
        kernels=f"{RESULTS}/{{domain}}/kernels/released/{{layer}}.safetensors",
        description=f"{RESULTS}/{{domain}}/kernels/released/{{layer}}.json",
    log:
        f"{LOGS}/{{domain}}/kernels/released_{{layer}}.log",
    params:
        folder=lambda w: kernel_layers(w.domain)[w.layer]["released"],
        code=code("import_kernels.py"),
    shell:
        "python $SCRIPTS/import_kernels.py --folder {params.folder:q}"
        " --kernels {output.kernels} --description {output.description} 2>&1 | tee {log}"
