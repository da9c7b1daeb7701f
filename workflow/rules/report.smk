# Targets that make no file of their own: an experiment of every domain, and all figures. One domain
# alone: `--config only=DOMAIN`.
rule classification:
    input:
        of_target("classification"),


rule random_features:
    input:
        of_target("random_features"),


rule convergence:
    input:
        of_target("convergence"),


rule prior_study:
    input:
        of_target("prior_study"),


rule figures:
    input:
        of_target("figures"),
