# Targets that make no file of their own: an experiment, of all domains or of one, all figures, and a
# domain. A name that nothing in the config answers to is unknown to Snakemake.
for target, parts in domain_results().items():

    rule:
        name:
            target
        input:
            list(parts.values()),

    for domain, files in parts.items():

        rule:
            name:
                f"{target}_{domain}"
            input:
                files,


for domain in config["domains"]:
    if domain in {"all", *(rule.name for rule in workflow.rules)}:
        sys.exit(
            f"error in the config: domains.{domain}: names a target; call it another"
        )

    rule:
        name:
            domain
        input:
            results_of(domain),
