"""What PyTorch's tools do with Bayesian nets: docs/tools.md is made and checked here.

python tests/test_tools.py    write docs/tools.md
"""

import copy
import functools
import io
import pickle
import re
import warnings
from pathlib import Path

import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.nn.utils import parametrizations, parametrize, prune
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.checkpoint import checkpoint

import dwp
from dwp.errors import UserError
from dwp.nn.bayesian import bayesian_layers, prediction
from dwp.priors.normal import StandardNormal
from dwp.priors.vae import KernelVAE

DOCUMENT = Path(__file__).parent.parent / "docs" / "tools.md"
KINDS = ["additive", "multiplicative", "codes"]
IMAGES = torch.rand((4, 1, 6, 6), generator=dwp.generator("tools"))
TARGETS = torch.arange(4) % 3


def prior(kind):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return KernelVAE(3, hidden=2, latent=2) if kind == "codes" else StandardNormal(3)


def plain():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        first, second = nn.Conv2d(1, 3, 3, padding=1), nn.Conv2d(3, 2, 3)
        classifier = nn.Sequential(nn.Flatten(), nn.Linear(2 * 16, 3))
        return nn.Sequential(first, nn.BatchNorm2d(3), nn.ReLU(), second, *classifier).eval()


def make(kind, sampling=True):
    net = dwp.bayesianize(plain(), prior(kind), posterior=kind, log_variance=-3.0)
    for layer in bayesian_layers(net).values():
        layer.sampling = sampling
    return net


def seeded(function, *arguments):
    torch.manual_seed(1)
    return function(*arguments)


def loss(net, images=IMAGES, targets=TARGETS):
    return F.cross_entropy(net(images), targets)


def same_draws(first, second, images=IMAGES):
    """Check two nets: the same noise from the same seed, other noise in every pass."""
    torch.testing.assert_close(seeded(first, images), seeded(second, images), rtol=1e-4, atol=1e-5)
    assert not torch.equal(first(images), first(images))


def same_predictions(*nets):
    for samples in (0, 2):
        found = [dwp.predict(n, IMAGES, samples=samples, generator=dwp.generator(0)) for n in nets]
        torch.testing.assert_close(*found, rtol=1e-4, atol=1e-5)


def alike(first, second):
    same_draws(first, second)
    same_predictions(first, second)


def gradients(value, net):
    trained = [p for p in net.parameters() if p.requires_grad]
    return torch.autograd.grad(value, trained)


def same_gradients(first, second):
    torch.testing.assert_close(first, second, rtol=1e-3, atol=1e-4)


def compiled(kind):
    """`torch.compile`: passes, gradients, predictions"""
    net = make(kind)
    fast = torch.compile(net, backend="aot_eager")
    same_draws(fast, net)
    same_gradients(*(gradients(seeded(loss, each), net) for each in (fast, net)))
    same_predictions(fast, net)
    same_draws(fast, net)  # also after a prediction
    found = []
    for each in (fast, net):
        for layer in bayesian_layers(net).values():
            layer.generator = dwp.generator(0)
        found.append(each(IMAGES))
    torch.testing.assert_close(*found)


def compiled_whole(kind):
    """`torch.compile(fullgraph=True)`"""
    net = make(kind)
    same_draws(torch.compile(net, backend="aot_eager", fullgraph=True), net)


def compiled_kl(kind):
    """`torch.compile` of a training step with `dwp.kl`, which it leaves as it is"""
    net = make(kind)
    step = lambda: seeded(loss, net) + dwp.kl(net)  # noqa: E731
    fast = torch.compile(step, backend="aot_eager")
    same_gradients(*(gradients(seeded(each), net) for each in (fast, step)))


def exported(kind):
    """`torch.export`, with draws or with mean weights"""
    net = make(kind)
    same_draws(torch.export.export(net, (IMAGES,)).module(), net)
    with prediction(net, sampling=False):
        means, expected = torch.export.export(net, (IMAGES,)).module(), net(IMAGES)
    torch.testing.assert_close(means(IMAGES), expected, rtol=1e-4, atol=1e-5)


def scripted(kind):
    """`torch.jit.script`"""
    torch.jit.script(make(kind))


def traced(kind):
    """`torch.jit.trace`"""
    net, means = make(kind), make(kind, sampling=False)
    same_draws(torch.jit.trace(net, IMAGES, check_trace=False), net)
    torch.testing.assert_close(torch.jit.trace(means, IMAGES)(IMAGES), means(IMAGES))


def traced_by_fx(kind):
    """`torch.fx`: Bayesian layers are leaves"""
    net = make(kind)
    graph = torch.fx.symbolic_trace(net)
    assert {node.target for node in graph.graph.nodes if node.op == "call_module"} >= {"0", "3"}
    alike(graph, net)


def functional(kind):
    """`torch.func`: `functional_call`, `grad`, `jvp`"""
    net = make(kind)
    state = dict(net.named_parameters())
    value = lambda state: loss(lambda x: functional_call(net, state, (x,)))  # noqa: E731
    found = seeded(torch.func.grad(value), state)
    trained = [name for name, p in net.named_parameters() if p.requires_grad]
    same_gradients([found[name] for name in trained], gradients(seeded(loss, net), net))
    means = make(kind, sampling=False)
    _, slope = torch.func.jvp(means, (IMAGES,), (torch.ones_like(IMAGES),))
    change = (means(IMAGES.double().add(1e-4).float()) - means(IMAGES)) / 1e-4
    torch.testing.assert_close(slope, change, rtol=0.1, atol=0.05)


def mapped(kind):
    """`torch.vmap`: gradients of each image, stacked nets"""
    net = make(kind)
    state = {name: p.detach() for name, p in net.named_parameters()}

    def one(state, image, target):
        return loss(lambda x: functional_call(net, state, (x,)), image[None], target[None])

    slopes = torch.func.vmap(torch.func.grad(one), (None, 0, 0), randomness="different")
    assert all(len(slope) == len(IMAGES) for slope in slopes(state, IMAGES, TARGETS).values())
    nets = [make(kind, sampling=False) for _ in range(2)]
    stacked, base = torch.func.stack_module_state(nets), copy.deepcopy(nets[0]).to("meta")
    found = torch.func.vmap(lambda s: functional_call(base, s, (IMAGES,)))(stacked)
    torch.testing.assert_close(found[1], nets[1](IMAGES), rtol=1e-4, atol=1e-5)
    for randomness, alike in (("same", True), ("different", False)):
        maps = torch.func.vmap(net[0], randomness=randomness)(IMAGES[:1].expand(2, -1, -1, -1))
        assert torch.equal(*maps) is alike


def checkpointed(kind):
    """`torch.utils.checkpoint`, of either kind, also with generators"""
    for generator, reentrant in ((True, True), (True, False), (False, True), (False, False)):
        found = []
        for run in (lambda net, x: net(x), functools.partial(checkpoint, use_reentrant=reentrant)):
            net, images = make(kind), IMAGES.clone().requires_grad_()
            for layer in bayesian_layers(net).values():
                layer.generator = dwp.generator(0) if generator else None
            torch.manual_seed(1)
            first, second = run(net, images), run(net, images)  # two passes, then their gradients
            (F.cross_entropy(first, TARGETS) + second.square().sum()).backward()
            found.append([p.grad for p in net.parameters() if p.requires_grad])
        same_gradients(*found)


def mixed(kind):
    """`torch.autocast`"""
    net = make(kind)
    with torch.autocast("cpu", torch.bfloat16):
        value = loss(net)
    assert all(g.isfinite().all() for g in gradients(value + dwp.kl(net), net))


def distributed(kind):
    """`DistributedDataParallel`"""
    store = torch.distributed.HashStore()
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        net = make(kind)
        wrapped = nn.parallel.DistributedDataParallel(net)
        alike(wrapped, net)
        loss(wrapped).backward()
        assert all(p.grad is not None for p in net.parameters() if p.requires_grad)
    finally:
        torch.distributed.destroy_process_group()


def data_parallel(kind):
    """`DataParallel` on one device"""
    net = make(kind)
    alike(nn.DataParallel(net), net)


def data_parallel_devices(kind):
    """`DataParallel` on several devices, predictions"""
    net = nn.DataParallel(make(kind))
    net.device_ids = [0, 1]
    dwp.predict(net, IMAGES, samples=2)


def copied(kind):
    """`copy.deepcopy`, also while the net predicts"""
    net = make(kind)
    same_draws(copy.deepcopy(net), net)
    with prediction(net, sampling=False) as draws:
        draws.begin(0)
        net(IMAGES)
        twin = copy.deepcopy(net)
        assert not torch.equal(twin(IMAGES), twin(IMAGES))
    same_draws(twin, net)


def pickled(kind):
    """`pickle`, `torch.save` of whole nets"""
    net = make(kind)
    net[0].generator = dwp.generator(0)
    same_draws(pickle.loads(pickle.dumps(net))[3:], net[3:], torch.rand(2, 3, 6, 6))
    file = io.BytesIO()
    torch.save(net, file)
    file.seek(0)
    same_predictions(torch.load(file, weights_only=False), net)


def state_dict(kind):
    """`state_dict`, `load_state_dict`, also `assign=True`"""
    net = make(kind)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter += 0.1
    for assign in (False, True):
        other = make(kind)
        other.load_state_dict(net.state_dict(), assign=assign)
        same_draws(other, net)


def averaged(kind):
    """`torch.optim.swa_utils`: averages"""
    net = make(kind)
    average = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(0.5))
    average.update_parameters(net)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter += 1
    average.update_parameters(net)
    torch.testing.assert_close(average.module[0].log_variance, net[0].log_variance - 0.5)
    assert average.module[0].prior is not net[0].prior
    dwp.predict(average, IMAGES, samples=2)


def fused(kind):
    """`torch.nn.utils.fusion.fuse_conv_bn_eval`"""
    net = make(kind)
    with torch.no_grad():
        net[1].running_var.fill_(1e-2)
    same_draws(fuse_conv_bn_eval(net[0], net[1]), net[:2])


def fused_modules(kind):
    """`torch.ao.quantization.fuse_modules`"""
    torch.ao.quantization.fuse_modules(make(kind), [["0", "1"]])


def pruned(kind):
    """`torch.nn.utils.prune`"""
    net = make(kind)
    try:
        prune.l1_unstructured(net[0], "weight", 0.5)
    finally:
        same_draws(net, make(kind))  # it is as it was


def parametrised(kind):
    """`torch.nn.utils.parametrize` of `weight`: weight norm"""
    net = make(kind)
    parametrizations.weight_norm(net[0])
    assert all(g.any() for g in gradients(loss(net), net)[-4:])
    same_predictions(net, make(kind))
    assert dwp.kl(net) > 0
    parametrize.remove_parametrizations(net[0], "weight")
    same_draws(net, make(kind))


def quantised_dynamically(kind):
    """Dynamic quantisation: Bayesian layers stay as they are"""
    net = make(kind, sampling=False)
    quantised = torch.ao.quantization.quantize_dynamic(net, {nn.Linear, nn.Conv2d})
    assert type(quantised[0]) is type(net[0])
    torch.testing.assert_close(quantised(IMAGES), net(IMAGES), rtol=0.1, atol=0.1)


def quantised_statically(kind):
    """Static quantisation"""
    stubs = torch.ao.quantization.QuantStub(), torch.ao.quantization.DeQuantStub()
    net = nn.Sequential(stubs[0], make(kind, sampling=False), stubs[1]).eval()
    net.qconfig = torch.ao.quantization.get_default_qconfig("x86")
    prepared = torch.ao.quantization.prepare(net)
    prepared(IMAGES)
    torch.ao.quantization.convert(prepared)(IMAGES)


def channels_last(kind):
    """`torch.channels_last`"""
    net, expected = make(kind), seeded(make(kind), IMAGES)
    net.to(memory_format=torch.channels_last)
    images = IMAGES.to(memory_format=torch.channels_last)
    torch.testing.assert_close(seeded(net, images), expected, rtol=1e-4, atol=1e-5)
    assert net[0](images).is_contiguous(memory_format=torch.channels_last)


def in_float64(kind):
    """float64, of the net or by default"""
    net = make(kind).double()
    value = loss(net, IMAGES.double()) + dwp.kl(net)
    assert value.dtype == dwp.predict(net, IMAGES.double(), samples=2).dtype == torch.float64
    gradients(value, net)
    torch.set_default_dtype(torch.float64)
    try:
        net = make(kind)
        gradients(loss(net, IMAGES.double()) + dwp.kl(net), net)
    finally:
        torch.set_default_dtype(torch.float32)


def lazy(kind):
    """Lazy layers after a pass"""
    net = nn.Sequential(nn.LazyConv2d(2, 3))
    net(IMAGES)
    same_draws(net, dwp.bayesianize(net, prior(kind), posterior=kind))


def lazy_before_a_pass(kind):
    """Lazy layers before a pass"""
    dwp.bayesianize(nn.Sequential(nn.LazyConv2d(2, 3)), prior(kind), posterior=kind)


# The rows of the table; the docstrings say what is tried.
TOOLS = [
    *(compiled, compiled_whole, compiled_kl, exported, scripted, traced),
    *(traced_by_fx, functional, mapped, checkpointed, mixed, distributed),
    *(data_parallel, data_parallel_devices, copied, pickled, state_dict, averaged),
    *(fused, fused_modules, pruned, parametrised, quantised_dynamically, quantised_statically),
    *(channels_last, in_float64, lazy, lazy_before_a_pass),
]


def outcome(tool, kind):
    """Return "works", or the line of a refusal."""
    torch._dynamo.reset()
    with warnings.catch_warnings(), torch.random.fork_rng():
        warnings.simplefilter("ignore")
        try:
            tool(kind)
        except UserError as error:
            return str(error)
        except Exception as error:
            if not re.match("Input type .*should be the same|did not find fuser", str(error)):
                raise
            return f"torch: {re.sub(r' for method.*|: [(].*', '', str(error))}"
    return "works"


def document():
    """Return docs/tools.md: what it says of the table, and the table made anew."""
    lines, notes = [], {}
    for tool in TOOLS:
        cells = []
        for kind in KINDS:
            found = outcome(tool, kind)
            if found != "works":
                found = f"refused ({notes.setdefault(found, len(notes) + 1)})"
            cells.append(found)
        lines.append(f"| {tool.__doc__} | {' | '.join(cells)} |")
    refusals = [f"{number}. {text}" for text, number in notes.items()]
    prose = DOCUMENT.read_text().partition("| tool |")[0]
    head = [f"| tool | {' | '.join(KINDS)} |", "|---|---|---|---|"]
    return prose + "\n".join([*head, *lines, "", *refusals]) + "\n"


def test_the_table_in_the_docs_is_right():
    assert document() == DOCUMENT.read_text()


if __name__ == "__main__":
    DOCUMENT.write_text(document())
