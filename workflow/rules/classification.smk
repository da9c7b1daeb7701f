rule classifier:
    input:
        data=f"{RESULTS}/{{domain}}/data/target.safetensors",
        checked=ancient(f"{RESULTS}/{{domain}}/data/checked.json"),
        priors=run_priors,
        init=run_init,
    output:
        weights=f"{RUN}/weights.safetensors",
        history=f"{RUN}/history.csv",
    log:
        f"{RUN_LOG}/train.log",
    params:
        priors=lambda w: layer_files(run_priors(w)),
        init=lambda w: layer_files(run_init(w)),
        settings=lambda w: as_json(run_settings(w.domain, w.prior)),
        code=lambda w: code("train_classifier.py", *run_modules(w)),
    shell:
        "python $SCRIPTS/train_classifier.py --data {input.data} --priors {params.priors}"
        " --init {params.init} --settings {params.settings:q} --code {params.code}"
        " --n {wildcards.n} --split {wildcards.split} --seed {wildcards.seed}"
        " --device $DWP_DEVICE --weights {output.weights} --history {output.history}"
        " 2>&1 | tee {log}"


rule classifier_test:
    input:
        weights=f"{RUN}/weights.safetensors",
        target=f"{RESULTS}/{{domain}}/data/target.safetensors",
        source=f"{RESULTS}/{{domain}}/data/source.safetensors",
        priors=run_priors,
    output:
        f"{RUN}/metrics.json",
    log:
        f"{RUN_LOG}/test.log",
    params:
        priors=lambda w: layer_files(run_priors(w)),
        settings=lambda w: as_json(
            {"samples": config["domains"][w.domain]["classification"]["samples"]}
        ),
        code=lambda w: code("evaluate_classifier.py", *run_modules(w)),
    shell:
        "python $SCRIPTS/evaluate_classifier.py --weights {input.weights}"
        " --data {input.target} --out-of-domain {input.source} --priors {params.priors}"
        " --settings {params.settings:q} --device $DWP_DEVICE --output {output}"
        " 2>&1 | tee {log}"
