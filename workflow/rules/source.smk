rule source_net:
    input:
        data=f"{RESULTS}/{{domain}}/data/source.safetensors",
        checked=ancient(f"{RESULTS}/{{domain}}/data/checked.json"),
    output:
        weights=f"{RESULTS}/{{domain}}/source/{{seed}}/weights.safetensors",
        history=f"{RESULTS}/{{domain}}/source/{{seed}}/history.csv",
        metrics=f"{RESULTS}/{{domain}}/source/{{seed}}/metrics.json",
    log:
        f"{LOGS}/{{domain}}/source/{{seed}}.log",
    params:
        settings=lambda w: as_json(source_settings(w.domain)),
        code=code("train_source.py"),
    shell:
        "python $SCRIPTS/train_source.py --data {input.data} --settings {params.settings:q}"
        " --code {params.code} --seed {wildcards.seed} --device $DWP_DEVICE"
        " --weights {output.weights} --history {output.history} --metrics {output.metrics}"
        " 2>&1 | tee {log}"
