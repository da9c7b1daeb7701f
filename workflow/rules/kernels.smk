rule kernels:
    input:
        collected_nets,
    output:
        kernels=f"{KERNELS}.safetensors",
        description=f"{KERNELS}.json",
    log:
        f"{LOG}/kernels/{{layer}}.log",
    resources:
        mem_mb=lambda w, attempt: 8000 * attempt,
        runtime=lambda w, attempt: study.minutes("kernels", w, attempt),
    params:
        settings=lambda w: study.collected_kernels(w.domain, w.layer).text,
        code=study.code("collect_kernels"),
    shell:
        '"$DWP_RUN" collect_kernels --nets {input} --layer {wildcards.layer}'
        " --settings {params.settings:q} --kernels {output.kernels}"
        " --description {output.description} 2>&1 | tee {log}"
