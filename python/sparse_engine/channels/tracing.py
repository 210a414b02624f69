"""Follow channels through a model: its graph from `torch.export`, node by node, as the rules of `rules/` say."""

from typing import Any

from torch import nn

from .export import Arguments, exported
from .rules import RULES, fallback
from .tracer import Held, Tracer, operation


def follow(model: nn.Module, inputs: Arguments) -> Tracer:
    """The channels of `model` that must go together; it stays as it is.

    What evaluation never runs, such as auxiliary classifiers, is looked for in training, too; what is not found there either is
    named by `Tracer.never_run`.

    Args:
        model: in eval mode, without masks (`plain_copy`), anything `torch.export` can follow.
        inputs: a batch of one is enough.
    Raises:
        ValueError: `torch.export` cannot follow the model, with what it says.
    """
    tracer = Tracer(model)
    try:
        program = exported(model, inputs, training=False)
    except Exception as error:
        raise ValueError(
            f"the graph of this model cannot be followed: torch.export says {type(error).__name__}: "
            f'{(str(error).strip() or "no more").splitlines()[0]}; granularity="filter" and "row" need no graph'
        ) from error
    _keep_frozen(tracer, model)
    reached = _walk(tracer, program, model)
    if reached >= tracer.parameters:
        return tracer
    try:
        program = exported(model, inputs, training=True)
    except Exception:  # whatever the model's own code raises in training; never_run tells what follows from it
        also = set()
    else:
        uses, known, tracer.uses = tracer.uses, list(tracer.doubts), {}
        also = _walk(tracer, program, model)
        sure = {doubt.where for doubt in known}
        for doubt in tracer.doubts[len(known) :]:  # trials run in evaluation, where these operations do not
            if doubt.where not in sure:
                tracer.slotting.fix(doubt.slots, f"{doubt.where} may need its sizes, and runs in training only")
        tracer.uses, tracer.doubts = uses, known
    tracer.training_only = sorted({name.rpartition(".")[0] for name in also - reached})
    unseen = tracer.parameters - also - reached
    tracer.never_run = sorted({name.rpartition(".")[0] or name for name in unseen})
    return tracer


def _walk(tracer: Tracer, program: Any, model: nn.Module) -> set[str]:
    """Apply the rule of every operation; returns the parameters that some operation reads."""
    _begin(tracer, program, model)
    for node in program.graph.nodes:
        tracer.node = node
        if node.op == "call_function":
            tracer.values[node] = RULES.get(operation(node), fallback)(tracer, node)
        elif node.op == "output":
            for argument in node.all_input_nodes:
                tracer.fix(tracer.value(argument), reason="it is part of the model's output")
    held = (tracer.values.get(node) for node in program.graph.nodes if node.op == "placeholder" and node.users)
    return {value.name for value in held if isinstance(value, Held)}


def _keep_frozen(tracer: Tracer, model: nn.Module) -> None:
    """Weights that were frozen one by one, such as a convolution that takes a fixed mean, keep their channels."""
    parameters = dict(model.named_parameters())
    if not any(parameter.requires_grad for parameter in parameters.values()):
        return
    for name, parameter in parameters.items():
        if not parameter.requires_grad and parameter.dim() > 1:
            tracer.shapes[name] = tuple(parameter.shape)
            held = Held(name, tuple(range(parameter.dim())))
            tracer.fix(held, reason=f"{name} is frozen (requires_grad=False)")


def _begin(tracer: Tracer, program: Any, model: nn.Module) -> None:
    """Parameters and buffers by the names that `named_parameters` gives; inputs and constants have no channels."""
    names: dict[int, str] = {}
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        names.setdefault(id(tensor), name)
        tracer.shapes[name] = tuple(tensor.shape)
    own = dict(model.named_parameters(remove_duplicate=False)) | dict(model.named_buffers(remove_duplicate=False))
    targets = {spec.arg.name: spec.target for spec in program.graph_signature.input_specs if spec.target in own}
    for node in program.graph.nodes:
        if node.op == "placeholder" and node.name in targets:
            tensor = own[targets[node.name]]
            tracer.values[node] = Held(names[id(tensor)], tuple(range(tensor.dim())))
