"""(x − mean) / sqrt(mean of squares + eps) · weight + bias, as exporters take layer norm apart, is one operation again."""

from ..graph import Graph, Node, Readers, Value


def fuse_layer_norm(graph: Graph) -> None:
    """First the normalisation, then a weight and a bias that follow any layer norm."""
    for node in list(graph):
        if node.op == "divide":
            _normalisation(node, graph)
    for node in list(graph):
        if node.op == "layer_norm" and len(node.inputs) == 2:
            _affine(node, graph)


def _normalisation(divide: Node, graph: Graph) -> None:
    makers, readers = graph.makers(), graph.readers()
    apart = makers.get(divide.inputs[0])
    below = makers.get(divide.inputs[1])
    if apart is None or apart.op != "subtract" or apart.activation != "none" or below is None or divide.activation != "none":
        return
    root = None
    if below.op == "activation" and below.activation == "sqrt":
        root, below = below, makers.get(below.inputs[0])
    if below is None or below.op != "add" or below.activation != ("none" if root is not None else "sqrt"):
        return
    variance, eps = makers.get(below.inputs[0]), below.inputs[1]
    if variance is None or variance.op != "mean" or eps.number is None:
        return
    square = makers.get(variance.inputs[0])
    if square is None or square.op != "multiply" or square.activation != "none" or square.inputs != [apart.output] * 2:
        return
    mean = makers.get(apart.inputs[1])
    x = apart.inputs[0]
    if mean is None or mean.op != "mean" or mean.inputs != [x] or mean.numbers != variance.numbers or mean.numbers[1] != 1:
        return
    if mean.numbers[0] >= len(x.shape):
        return
    within = [mean, apart, square, variance, below, divide, *([root] if root is not None else [])]
    if any(not stays_within(node, within, readers, graph) for node in within[:-1] if node is not divide):
        return
    divide.op, divide.inputs, divide.numbers = "layer_norm", [x, number(eps)], (mean.numbers[0],)
    graph.remove([node for node in within if node is not divide])


def stays_within(node: Node, within: list[Node], readers: Readers, graph: Graph) -> bool:
    """Whether these nodes alone read what a node makes."""
    return node.output not in graph.outputs and all(reader in within for reader in readers.get(node.output, []))


def number(value: Value) -> Value:
    """A constant of one element without axes."""
    return value if not value.shape or value.constant is None else Value(value.name, (), value.constant.reshape(()))


def _affine(norm: Node, graph: Graph) -> None:
    """Weight and bias are taken in together: a program's layer norm has both."""
    readers = graph.readers()
    scale = following(norm.output, "multiply", readers, graph)
    if scale is None or scale.activation != "none":
        return
    shift = following(scale.output, "add", readers, graph)
    if shift is None or shift.activation != "none":
        return
    last = norm.output.shape[-norm.numbers[0] :]
    weight, bias = scale.inputs[1], shift.inputs[1]
    if weight.constant is None or bias.constant is None or weight.shape != last or bias.shape != last:
        return
    norm.inputs += [weight, bias]
    norm.output = shift.output
    graph.remove([scale, shift])


def following(value: Value, op: str, readers: Readers, graph: Graph) -> Node | None:
    """The node of this kind that alone reads a value, as its first operand."""
    found = graph.only_reader(value, readers)
    return None if found is None or found.op != op or found.inputs[0] is not value else found
