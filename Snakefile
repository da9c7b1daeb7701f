"""The Deep Weight Prior, from source nets to figures."""

from snakemake.utils import min_version

min_version("9.8")

if not workflow.overwrite_configfiles:

    configfile: "config/config.yaml"


report: "workflow/report/workflow.rst"


container: "docker://python:3.11-slim"


include: "workflow/rules/common.smk"
include: "workflow/rules/inputs.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/source.smk"
include: "workflow/rules/kernels.smk"
include: "workflow/rules/priors.smk"
include: "workflow/rules/classification.smk"
include: "workflow/rules/features.smk"
include: "workflow/rules/convergence.smk"
include: "workflow/rules/report.smk"


rule all:
    default_target: True
    input:
        rules.classification.input,
        rules.random_features.input,
        rules.convergence.input,
        rules.prior_study.input,
