# Data may have to be fetched, and a cluster's nodes often cannot.
localrules:
    data,
    check_data,


rule data:
    output:
        f"{RESULTS}/{{domain}}/data/{{role}}.safetensors",
    log:
        f"{LOGS}/{{domain}}/data/{{role}}.log",
    params:
        choice=lambda w: as_json(config["domains"][w.domain]["data"][w.role]),
        code=lambda w: data_code(w.domain, w.role),
    shell:
        "python $SCRIPTS/prepare_data.py --choice {params.choice:q}"
        ' --location "$DATA_LOCATION" --output {output} 2>&1 | tee {log}'


rule check_data:
    input:
        source=f"{RESULTS}/{{domain}}/data/source.safetensors",
        target=f"{RESULTS}/{{domain}}/data/target.safetensors",
    output:
        f"{RESULTS}/{{domain}}/data/checked.json",
    log:
        f"{LOGS}/{{domain}}/data/check.log",
    params:
        code=code("check_data.py"),
    shell:
        "python $SCRIPTS/check_data.py --source {input.source} --target {input.target}"
        " --output {output} 2>&1 | tee {log}"
