# The minutes that jobs ask a cluster for, estimated from their settings by counting operations (two a
# product). A job that needs more gets it at its next attempt, and goes on where it was stopped. What
# the small jobs ask for is in the profile.
LEAST, LONGEST = 20, config.get("longest_job_minutes", 24 * 60)
RATE = 1e11  # operations a second of a core: half of what one with AVX-512 does
MOST_IMAGES, MOST_TESTS = 60_000, 10_000  # of any data set
MOST_KERNELS = 100_000  # that a prior is fitted to, unless the settings say so
PRIOR = 13e6  # operations of a VAE and its gradient for a kernel of 5 x 5


def minutes(operations, attempt):
    """What to ask for: more at every attempt, up to what a partition gives."""
    return min(attempt * math.ceil(LEAST + operations / RATE / 60), LONGEST)


@functools.cache
def net_operations(network, *filters):
    """The operations of a net on one image: of its convolutions, and of the layers after them."""
    found = {Conv2d: 0, Linear: 0}

    def count(kind, layer, inputs, output):
        products = layer.weight.numel() * output.shape[2:].numel()
        found[kind] += 2 * products

    with torch.device("meta"):
        net = build_network(network, filters=filters, classes=10).eval()
        for layer in net.modules():
            for kind in found:
                if isinstance(layer, kind):
                    layer.register_forward_hook(functools.partial(count, kind))
        net(torch.empty(1, *net.image_shape))
    return tuple(found.values())


@functools.cache
def net_kernels(network, *filters):
    """How many kernels a net has."""
    with torch.device("meta"):
        net = build_network(network, filters=filters, classes=10)
    layers = (net.get_submodule(name) for name in net.kernel_sizes)
    return sum(layer.weight.shape[:2].numel() for layer in layers)


def source_minutes(domain, runs, attempt):
    settings = source_settings(config["domains"][domain])
    image = sum(net_operations(settings["network"], *settings["filters"]))
    images = 3 * settings["epochs"] * MOST_IMAGES  # a gradient is two passes more
    return minutes(len(runs) * images * image, attempt)


def prior_minutes(w, attempt):
    section = prior_section(w.domain, w.prior)
    if not prior_class(section["kind"]).trained:
        return minutes(0, attempt)
    training = section["training"][w.layer]
    kernels = training.get("kernels", MOST_KERNELS)
    return minutes(training["epochs"] * kernels * PRIOR, attempt)


def run_minutes(w, runs, attempt):
    """Of runs of classification, trained and tested."""
    settings = run_settings(w.domain, w.prior, w.variant)
    net = settings["network"], *settings["filters"]
    image, kernels = sum(net_operations(*net)), net_kernels(*net)
    deterministic = is_deterministic(w.domain, w.prior)
    priors = penalty_names(w) if deterministic else [w.prior]
    bounded = any(kinds(w.domain)[name].density == "bound" for name in priors)
    step = kernels * PRIOR * settings.get("latent_samples", 1) if bounded else 0
    # mean and variance of a Bayesian convolution are two; predictions average over samples
    passes = 1 if deterministic else 2
    predictions = 1 if deterministic else 2 * (settings["samples"] + 1)
    looks = settings["epochs"] / settings["evaluate_every"] * settings["validation"]
    tests = predictions * image * (looks + 2 * MOST_TESTS)
    total = 0
    for run in runs:
        steps = math.ceil(run["n"] / settings["batch_size"])
        epoch = 3 * passes * run["n"] * image + steps * step
        total += settings["epochs"] * epoch + tests
    return minutes(settings.get("members", 1) * total, attempt)


def feature_minutes(domain, runs, attempt):
    """Features are computed once; what sees them is trained."""
    settings, total = feature_settings(domain), 0
    for run in runs:
        filters = scaled(settings["filters"], run["scale"])
        convolutions, rest = net_operations(settings["network"], *filters)
        trained = 3 * settings["epochs"] * MOST_IMAGES * rest
        total += (MOST_IMAGES + MOST_TESTS) * convolutions + trained
    return minutes(total, attempt)


def convergence_minutes(w, runs, attempt):
    """An image VAE has the kernels of MNIST's net, at fewer places."""
    settings = convergence_settings(w)
    image = sum(net_operations(settings.get("network", "mnist"), *settings["filters"]))
    looks = (1 + settings["steps"] / settings["evaluate_every"]) * MOST_TESTS
    images = 3 * settings["steps"] * settings["batch_size"] + looks
    return minutes(len(runs) * images * image, attempt)
