# Data may have to be fetched, and the nodes of a cluster often cannot.
localrules:
    data,
    check_data,


rule data:
    output:
        f"{RESULTS}/{{domain}}/data/{{role}}.safetensors",
    log:
        f"{LOG}/data/{{role}}.log",
    params:
        choice=lambda w: getattr(study.domains[w.domain].data, w.role).text,
        code=lambda w: study.code("prepare_data", study.dataset_class(w.domain, w.role)),
    shell:
        '"$DWP_RUN" prepare_data --choice {params.choice:q}'
        " --output {output}"
        ' --location "$DWP_DATA_LOCATION"'
        " 2>&1 | tee {log}"


rule check_data:
    input:
        source=SOURCE,
        target=TARGET,
    output:
        CHECKED,
    log:
        f"{LOG}/data/check.log",
    params:
        code=study.code("check_data"),
    shell:
        '"$DWP_RUN" check_data --source {input.source} --target {input.target}'
        " --output {output} 2>&1 | tee {log}"
